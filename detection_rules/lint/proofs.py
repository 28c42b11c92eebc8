"""The documents beside a rule: are they there, do they hold, do they come close?"""

from collections.abc import Iterator
from typing import Final

from detection_rules.lint.remarks import Check, Place, Subject
from detection_rules.proof import prove

LEAST_NEGATIVES: Final = 3
"""Ordinary software comes close in more than one way."""


def _unreadable(subject: Subject) -> Iterator[tuple[str, Place]]:
    if subject.proof is None:
        yield subject.problem, 1


def _failures(subject: Subject) -> Iterator[tuple[str, Place]]:
    for failure in () if subject.proof is None else prove(subject.rule, subject.proof):
        problem = f"{failure.expected} was expected of document {failure.index}: {failure.why}"
        yield problem, subject.query_line("")


def _no_positive(subject: Subject) -> Iterator[tuple[str, Place]]:
    if subject.proof is not None and not subject.proof.must_match:
        yield "no document must match", 1


def _few_negatives(subject: Subject) -> Iterator[tuple[str, Place]]:
    if subject.proof is not None and len(subject.proof.must_not_match) < LEAST_NEGATIVES:
        yield f"only {len(subject.proof.must_not_match)} documents must not match", 1


CHECKS: Final = (
    Check("documents", "error", "write the documents beside the rule", _unreadable),
    Check("proof", "error", "run `doorwatch rules test`, and mend the rule or the document", _failures),
    Check("positives", "error", "add what the rule is for", _no_positive),
    Check("negatives", "warning", "add the ordinary software that comes closest", _few_negatives),
)
