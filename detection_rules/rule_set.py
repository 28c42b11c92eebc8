"""Rules, loaded, compiled, and asked about documents."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beat_bridge.errors import DoorwatchError
from detection_rules.language import Document, Predicate, QueryError, compile_query
from detection_rules.language.fields import reader
from detection_rules.language.patterns import wildcard
from detection_rules.language.values import as_number, as_text
from detection_rules.rule_file import (
    RiskScoreMapping,
    RuleTable,
    SeverityMapping,
    Threat,
    fail,
    query_line,
    read_rule_file,
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
    matches: Predicate = field(compare=False, repr=False)
    """Whether the rule fires on a document."""

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

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)

    def match(self, document: Mapping[str, Any]) -> tuple[Rule, ...]:
        """The rules that fire on one document, in the order of their names."""
        return tuple(rule for rule in self.rules if rule.matches(document))


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
                _, text = read_rule_file(rule.path)
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
    file, text = read_rule_file(path)
    table = file.rule
    try:
        predicate = compile_query(table.query, table.language)
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
        matches=_within_index(table, predicate),
    )


def _within_index(table: RuleTable, predicate: Predicate) -> Predicate:
    """Ask only documents from the rule's indices, as Kibana does.

    A document that does not say where it lives (`data_stream.*`) is asked whatever the rule reads.
    """
    if not table.index:
        return predicate
    wanted = [wildcard(pattern, ignore_case=False, one=False) for pattern in table.index if not pattern.startswith("-")]
    unwanted = [
        wildcard(pattern[1:], ignore_case=False, one=False) for pattern in table.index if pattern.startswith("-")
    ]
    parts = [reader(f"data_stream.{part}") for part in ("type", "dataset", "namespace")]
    known: dict[str, bool] = {}

    def reads(name: str) -> bool:
        return any(matches(name) for matches in wanted) and not any(matches(name) for matches in unwanted)

    def holds(document: Document) -> bool:
        words = [values[0] for part in parts if (values := part(document)) and isinstance(values[0], str)]
        if len(words) < len(parts):
            return predicate(document)
        name = "-".join(words)
        answer = known.get(name)
        if answer is None:
            answer = reads(name)
            if len(known) < 1_000:  # data streams are few; names out of hostile documents need not be
                known[name] = answer
        return answer and predicate(document)

    return holds
