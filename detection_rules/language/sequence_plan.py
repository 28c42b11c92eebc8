"""A sequence or a sample, compiled once: which documents fit where, and under which key."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any, Final

from detection_rules.language import eql_ast as ast
from detection_rules.language.branches import Branch, event_branches
from detection_rules.language.eql_compile import compile_query
from detection_rules.language.fields import Document, Predicate, fetcher
from detection_rules.language.sequence_machine import Gap, Shape, gaps_of
from detection_rules.language.values import as_text

Key = tuple[str | None, ...]
MOST_KEYS: Final = 64
"""Keys of one document in one item: fields with several values stand for each of them."""
LONGEST_PART: Final = 1_024
"""Characters of one field that tell keys apart."""


@dataclass(frozen=True, slots=True)
class Place:
    """An item: what fits, how it is joined, and the bits of the stages it stands for."""

    holds: Predicate
    keys: Callable[[Document], tuple[list[Key], bool]]
    """The keys of a document, and whether there were too many."""
    bits: int
    branches: tuple[Branch, ...]
    """What fits, as alternatives, each with what a document must hold for it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a matcher needs of a query."""

    places: tuple[Place, ...]
    shape: Shape | None
    """None for a sample."""
    holds: Predicate
    """Whether a document fits anywhere in it."""

    def fits(self, document: Document) -> tuple[dict[Key, int], bool]:
        """The bits of a document under each of its keys, and whether it had more keys than are looked at."""
        return keyed([place for place in self.places if place.holds(document)], document)


def keyed(places: Sequence[Place], document: Document) -> tuple[dict[Key, int], bool]:
    """The same, of the places that a document fits."""
    found: dict[Key, int] = {}
    more = False
    for place in places:
        keys, cut = place.keys(document)
        more = more or cut
        for key in keys:
            found[key] = found.get(key, 0) | place.bits
    return found, more


def plan_of(query: ast.Sequence | ast.Sample) -> Plan:
    """Compile a query."""
    if isinstance(query, ast.Sample):
        bits = [1 << at for at in range(len(query.items))]
        return _plan(query.by, list(zip(query.items, bits, strict=True)), None)
    expanded = [item.missing for item in query.items for _ in range(item.runs)]
    stages = len(expanded) - sum(expanded)
    gaps = iter(gaps_of(expanded))
    placed: list[tuple[ast.Item, int]] = []
    found: list[Gap] = []
    stage, free = 0, stages + 1  # the bit at `stages` is that of `until`
    for item in query.items:
        if item.missing:
            for _ in range(item.runs):
                before, after = next(gaps)
            found.append(Gap(1 << free, before, after))
            placed.append((item, 1 << free))
            free += 1
        else:
            placed.append((item, ((1 << item.runs) - 1) << stage))
            stage += item.runs
    if query.until:
        placed.append((query.until, 1 << stages))
    span = None if query.span is None else query.span.milliseconds * 1_000
    return _plan(query.by, placed, Shape(stages, span, 1 << stages if query.until else 0, tuple(found)))


def _plan(by: tuple[ast.Field, ...], placed: Sequence[tuple[ast.Item, int]], shape: Shape | None) -> Plan:
    places = tuple(
        Place(compile_query(item.event), _keys((*by, *item.by)), bits, event_branches(item.event))
        for item, bits in placed
    )
    conditions = [place.holds for place in places]

    def holds(document: Document) -> bool:
        for condition in conditions:  # noqa: SIM110 - as in conditions.py: a generator costs half as much again
            if condition(document):
                return True
        return False

    return Plan(places, shape, holds)


def _keys(fields: tuple[ast.Field, ...]) -> Callable[[Document], tuple[list[Key], bool]]:
    fetches = [(fetcher(field.path), field.optional) for field in fields]
    none: Key = (None,)

    def keys(document: Document) -> tuple[list[Key], bool]:
        columns = []
        single = True
        for fetch, optional in fetches:
            column = _parts(fetch(document)) or (none if optional else ())
            single = single and len(column) == 1
            if not column:
                return [], False  # an event without its key belongs nowhere
            columns.append(column)
        if single:
            return [tuple([part for (part,) in columns])], False
        found: list[Key] = list(islice(product(*columns), MOST_KEYS + 1))
        return found[:MOST_KEYS], len(found) > MOST_KEYS

    return keys


def _parts(value: Any) -> Key:
    """The different parts that what a field was found to hold (see `fetcher`) stands for."""
    if type(value) is list:
        return tuple(dict.fromkeys(part for each in value if (part := _part(each)) is not None))
    part = None if value is None else _part(value)
    return () if part is None else (part,)


def _part(value: Any) -> str | None:
    """A value as a part of a key: as a field of one type would hold it, `12` and `"12"` and `12.0` are the same."""
    if type(value) is str and len(value) <= LONGEST_PART:
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = as_text(value)
    return text if text is None or len(text) <= LONGEST_PART else text[:LONGEST_PART]
