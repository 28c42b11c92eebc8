"""Rules, loaded, compiled, and asked about documents."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beat_bridge.errors import DoorwatchError
from detection_rules.index import Index, stream_of
from detection_rules.language import Document, Match, Plan, Predicate, QueryError, compile_rule_query, match_all
from detection_rules.language.branches import Branch, branches
from detection_rules.language.fields import reader
from detection_rules.language.patterns import wildcard
from detection_rules.language.values import as_number, as_text
from detection_rules.rule_file import (
    RiskScoreMapping,
    SeverityMapping,
    Source,
    Threat,
    fail,
    obstacle,
    query_line,
    read_source,
)

SHIPPED = Path(__file__).parent / "rules"
"""The rules that come with Doorwatch."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, ready to be asked."""

    stem: str
    """The file's name without `.toml`: what `doorwatch rules match` calls it."""
    path: Path
    rule_id: str
    name: str
    severity: str
    risk_score: int
    description: str
    language: str
    query: str
    index: tuple[str, ...]
    tags: tuple[str, ...]
    threat: tuple[Threat, ...]
    note: str
    severity_mapping: tuple[SeverityMapping, ...]
    risk_score_mapping: tuple[RiskScoreMapping, ...]
    source: Source = field(compare=False, repr=False)
    """The files it was read from."""
    holds: Predicate = field(compare=False, repr=False)
    """Whether a document fulfils the query, wherever it lives; of a sequence or sample: whether it fits one item."""
    reads: Callable[[str], bool] = field(compare=False, repr=False)
    """Whether a data stream is among the rule's indices."""
    branches: tuple[Branch, ...] = field(compare=False, repr=False)
    """The query's alternatives, each with what a document must hold for it; of a sequence those of all its items."""
    plan: Plan | None = field(default=None, compare=False, repr=False)
    """How several documents match together; None where the query is about one document."""

    def matches(self, document: Document) -> bool:
        """Whether the rule fires on a document, with nothing before or after it.

        It is asked only about documents of its indices, as in Kibana. A document that does not say where it lives
        (`data_stream.*`) is asked whatever the rule reads.
        """
        return bool(self.match_all([document])) if self.plan else self.asked(document) and self.holds(document)

    def asked(self, document: Document) -> bool:
        """Whether a document lives where the rule looks."""
        stream = stream_of(document)
        return stream is None or self.reads(stream)

    def match_all(self, documents: Iterable[Document]) -> list[Match]:
        """Every match among documents that are all there; references are their places, from 0."""
        if self.plan is None:
            found = ((at, document) for at, document in enumerate(documents) if self.matches(document))
            return [Match((document,), (at,), ()) for at, document in found]
        return match_all(self.plan, (document if self.asked(document) else {} for document in documents))

    def rated(self, document: Mapping[str, Any]) -> tuple[str, int]:
        """Severity and risk score of an alert about a document: the rule's own, or what it maps from the document."""
        severity, risk_score = self.severity, self.risk_score
        for mapped in self.severity_mapping:  # the last one that applies, as in Kibana
            if any(as_text(value) == mapped.value for value in reader(mapped.field)(document)):
                severity = mapped.severity
        for source in self.risk_score_mapping[:1]:
            numbers = [number for value in reader(source.field)(document) if (number := as_number(value)) is not None]
            if numbers and 0 <= numbers[0] <= 100:
                risk_score = round(numbers[0])
        return severity, risk_score


class RuleSet:
    """Rules with distinct names and ids, in the order of their names."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: rule.stem))
        self._index = Index([rule for rule in self.rules if rule.plan is None])

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)

    def match(self, document: Mapping[str, Any]) -> tuple[Rule, ...]:
        """The rules about one document that fire on it, in the order of their names. `Watch` asks the others."""
        return tuple(self._index.match(document))


def load_rules(directories: Sequence[Path] | None = None) -> RuleSet:
    """Load and compile every `*.toml` in some directories.

    Args:
        directories: Where rules lie; by default those that come with Doorwatch.

    Raises:
        DoorwatchError: A rule cannot be used; the line says which file, which line in it, and why. No rule is ever
            left out in silence.
    """
    rules: list[Rule] = []
    for directory in [SHIPPED] if directories is None else directories:
        paths = sorted(directory.glob("*.toml"))
        if not paths:
            problem = "holds no rule (*.toml)" if directory.is_dir() else "is no directory of rules"
            raise DoorwatchError(f"{directory}: {problem}")
        rules.extend(load_rule(path) for path in paths)
    for attribute in ("rule_id", "stem"):
        seen: dict[str, Rule] = {}
        for rule in rules:
            known = seen.setdefault(getattr(rule, attribute), rule)
            if known is not rule:
                text = rule.source.text
                what = "rule_id" if attribute == "rule_id" else "file name"
                raise fail(
                    rule.path, text, "rule_id", f"its {what} {getattr(rule, attribute)} is also that of {known.path}"
                )
    return RuleSet(rules)


def load_rule(path: Path) -> Rule:
    """Load and compile one rule file.

    Raises:
        DoorwatchError: One line, `FILE:LINE: what is wrong`.
    """
    source = read_source(path)
    table, text = source.file.rule, source.text
    if (problem := obstacle(table)) is not None:
        raise fail(path, text, *problem)
    try:
        compiled = compile_rule_query(table.query, table.language)
    except QueryError as error:
        line = query_line(text) + error.line - 1
        raise DoorwatchError(f"{path}:{line}: query: {error.problem} (column {error.column})") from error
    return Rule(
        stem=path.stem,
        path=path,
        rule_id=table.rule_id,
        name=table.name,
        severity=table.severity,
        risk_score=table.risk_score,
        description=re.sub(r"\s+", " ", table.description).strip(),
        language=table.language,
        query=table.query,
        index=table.index,
        tags=table.tags,
        threat=table.threat,
        note=table.note,
        severity_mapping=table.severity_mapping,
        risk_score_mapping=table.risk_score_mapping,
        source=source,
        holds=compiled.holds if isinstance(compiled, Plan) else compiled,
        reads=_reads(table.index),
        branches=branches(table.query, table.language),
        plan=compiled if isinstance(compiled, Plan) else None,
    )


def _reads(index: Sequence[str]) -> Callable[[str], bool]:
    """Whether a name is among index patterns, of which those with a leading `-` exclude."""
    if not index:
        return lambda _stream: True
    wanted = [wildcard(pattern, ignore_case=False, one=False) for pattern in index if not pattern.startswith("-")]
    unwanted = [wildcard(pattern[1:], ignore_case=False, one=False) for pattern in index if pattern.startswith("-")]

    def reads(stream: str) -> bool:
        return any(matches(stream) for matches in wanted) and not any(matches(stream) for matches in unwanted)

    return reads
