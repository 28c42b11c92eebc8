"""What an analyst finds in the alert."""

from collections.abc import Iterator
from typing import Final

from detection_rules.kibana import guides
from detection_rules.lint.remarks import Check, Place, Subject

SECTIONS: Final = ("## Triage and analysis", "### False positive analysis", "### Why this severity", "### Response")
"""What a guide says, beginnings of its headings."""
RISKS: Final = {"low": range(22), "medium": range(22, 48), "high": range(48, 74), "critical": range(74, 101)}
"""Kibana's own scale."""


def _guide(subject: Subject) -> Iterator[tuple[str, Place]]:
    note = subject.rule.note
    if not note.strip():
        yield "no triage guide", subject.line("name")
        return
    lines = note.splitlines()
    for section in SECTIONS:
        if not any(line.startswith(section) for line in lines):
            yield f"the guide has no section {section!r}", subject.line("note")


def _next_queries(subject: Subject) -> Iterator[tuple[str, Place]]:
    if subject.rule.note.strip() and not subject.rule.source.file.transform.get("investigate"):
        yield "the guide has no query to go on with", subject.line("note")


def _buttons(subject: Subject) -> Iterator[tuple[str, Place]]:
    for placeholder in guides.missing(subject.rule.note, subject.rule.source.file.transform):
        yield f"{placeholder} stands in only one of `note` and [transform]", subject.line("note")


def _threat(subject: Subject) -> Iterator[tuple[str, Place]]:
    if not subject.rule.threat:
        yield "no ATT&CK technique", subject.line("name")
    for number, threat in enumerate(subject.rule.threat):
        for technique in threat.technique:
            for one in (technique, *technique.subtechnique):
                wanted = f"https://attack.mitre.org/techniques/{one.id.replace('.', '/')}/"
                if one.reference.rstrip("/") + "/" != wanted:
                    yield f"{one.id} refers to {one.reference}", subject.line(f"threat[{number}].technique")


def _tactic(subject: Subject) -> Iterator[tuple[str, Place]]:
    for tactic in dict.fromkeys(threat.tactic.name for threat in subject.rule.threat):
        if f"Tactic: {tactic}" not in subject.rule.tags:
            yield f"no tag says Tactic: {tactic}", subject.line("tags")


def _empty(subject: Subject) -> Iterator[tuple[str, Place]]:
    table = subject.rule.source.file.rule
    for key in ("false_positives", "setup", "investigation_fields"):
        if not getattr(table, key):
            yield f"no {key}", subject.line("name")


def _risk(subject: Subject) -> Iterator[tuple[str, Place]]:
    if subject.rule.risk_score not in RISKS[subject.rule.severity]:
        severity = next(name for name, scores in RISKS.items() if subject.rule.risk_score in scores)
        problem = (
            f"severity {subject.rule.severity}, and a risk score of {subject.rule.risk_score}, which is {severity}"
        )
        yield problem, subject.line("risk_score")


CHECKS: Final = (
    Check("note", "warning", "say in `note` what it means, how to tell it apart, and what to do", _guide),
    Check("next_query", "warning", "add [[transform.investigate]], and $investigate_0 to the note", _next_queries),
    Check("button", "error", "number the placeholders from 0, one for each entry", _buttons),
    Check("threat", "warning", "add a [[rule.threat]] with the technique's own page", _threat),
    Check("tactic", "warning", "add the tag, by which Kibana filters rules", _tactic),
    Check("empty", "warning", "name what looks alike, what the rule needs, and the fields to see first", _empty),
    Check("risk", "warning", "keep to Kibana's scale: low to 21, medium to 47, high to 73, critical to 100", _risk),
)
