"""Rules among rules, and among their own versions."""

from collections.abc import Iterator
from typing import Final

from detection_rules.lint.remarks import Check, Place, Subject
from detection_rules.rule_set import Rule
from detection_rules.versions import is_current


def _same(subject: Subject, attribute: str) -> Iterator[Rule]:
    """Earlier rules with the same: a pair is told once."""
    for other in subject.together:
        if other is subject.rule:
            return
        if getattr(other, attribute) == getattr(subject.rule, attribute):
            yield other


def _twice(subject: Subject) -> Iterator[tuple[str, Place]]:
    for other in _same(subject, "rule_id"):
        yield f"its rule_id is also that of {other.path}", subject.line("rule_id")
    for other in _same(subject, "name"):
        yield f"its name is also that of {other.path}", subject.line("name")
    for other in _same(subject, "query"):
        yield f"its query is also that of {other.path}", subject.query_line("")


def _no_changelog(subject: Subject) -> Iterator[tuple[str, Place]]:
    if not subject.rule.source.releases:
        yield "no version and no changelog", 1


def _changed(subject: Subject) -> Iterator[tuple[str, Place]]:
    if not is_current(subject.rule.source):
        yield f"it was changed since version {subject.rule.source.version}", 1


CHECKS: Final = (
    Check("duplicate", "error", "give each rule an id, a name and a query of its own", _twice),
    Check("changelog", "warning", "run `doorwatch rules bump NAME --changelog ...`", _no_changelog),
    Check("version", "warning", "run `doorwatch rules bump NAME --changelog ...`", _changed),
)
