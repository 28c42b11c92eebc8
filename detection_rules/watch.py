"""The rules about several documents, over a stream of them."""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detection_rules.index import Index
from detection_rules.language import Bounds, Matcher, MatcherStatus
from detection_rules.language.sequence_plan import Place, keyed
from detection_rules.rule_set import Rule, RuleSet


@dataclass(frozen=True, slots=True)
class Firing:
    """A sequence or a sample that is complete."""

    rule: Rule
    documents: tuple[Mapping[str, Any], ...]
    """Of a sequence in the order of time, of a sample in the order of its items."""
    references: tuple[Hashable, ...]
    """What the caller called them."""


class _Item:
    """One item of a rule's sequence, asked as a rule is."""

    __slots__ = ("branches", "place", "reads", "rule")

    def __init__(self, rule: Rule, place: Place) -> None:
        self.rule = rule
        self.place = place
        self.reads, self.branches = rule.reads, place.branches


class Watch:
    """The sequences and samples of a rule set, fed with documents as they arrive. Any thread may feed it.

    State is in memory, each rule's within its bounds: a restart begins anew, and a sequence that began before it is not
    seen here (Kibana, which reads the index, sees it).
    """

    def __init__(
        self, rules: RuleSet, *, bounds: Bounds | None = None, clock: Callable[[], float] | None = time.time
    ) -> None:
        """Begin with nothing; see `Matcher` for `bounds`, which are each rule's, and `clock`."""
        items = [_Item(rule, place) for rule in rules if rule.plan for place in rule.plan.places]
        self._items: Index[_Item] = Index(items)
        self._all: Index[Rule | _Item] = Index([*(rule for rule in rules if rule.plan is None), *items])
        self._matchers = {
            rule.stem: (rule, Matcher(rule.plan, bounds=bounds, clock=clock)) for rule in rules if rule.plan
        }
        self._waiting = [rule.stem for rule in rules if rule.plan and rule.plan.shape and rule.plan.shape.trailing]

    def feed(self, document: Mapping[str, Any], reference: Hashable = None) -> tuple[Firing, ...]:
        """What a document completes, and what the time that has passed confirms; each sequence fires once.

        Args:
            document: A decoded JSON object.
            reference: What firings call it (its id); a document whose reference is known is one delivered twice.
        """
        if not self._matchers:
            return ()
        return self._feed(self._items.match(document), document, reference)

    def consider(
        self, document: Mapping[str, Any], reference: Hashable = None
    ) -> tuple[tuple[Rule, ...], tuple[Firing, ...]]:
        """`RuleSet.match` and `feed` in one step: the rules that fire on the document alone, and what it completes."""
        fitting = self._all.match(document)
        if not fitting:
            return (), self._feed((), document, reference)
        items = [item for item in fitting if isinstance(item, _Item)]
        rules = tuple(rule for rule in fitting if isinstance(rule, Rule))
        return rules, self._feed(items, document, reference)

    def _feed(self, items: Sequence[_Item], document: Mapping[str, Any], reference: Hashable) -> tuple[Firing, ...]:
        if not items:
            return self.advance() if self._waiting else ()
        fired: list[Firing] = []
        places: dict[str, list[Place]] = {}
        for item in items:
            places.setdefault(item.rule.stem, []).append(item.place)
        for stem, fitting in places.items():
            rule, matcher = self._matchers[stem]
            found = matcher.feed_to(keyed(fitting, document), document, reference)
            fired += [Firing(rule, match.documents, match.references) for match in found]
        if self._waiting:
            fired += self.advance()
        return tuple(fired)

    def advance(self) -> tuple[Firing, ...]:
        """Let time pass without a document: what must not happen at the end of a sequence did not, once it is over."""
        waiting = [self._matchers[stem] for stem in self._waiting]
        return tuple(
            Firing(rule, match.documents, match.references) for rule, matcher in waiting for match in matcher.advance()
        )

    def status(self) -> dict[str, MatcherStatus]:
        """How each rule is doing, by the name of its file."""
        return {stem: matcher.status() for stem, (_, matcher) in self._matchers.items()}

    def remarks(self) -> tuple[str, ...]:
        """One line for each rule that may have missed something, and why."""
        return tuple(f"{stem}: {status.line()}" for stem, status in self.status().items() if not status.complete)
