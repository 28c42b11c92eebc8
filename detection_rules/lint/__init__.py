"""What is questionable about a rule that nevertheless loads: one small named check for each kind of mistake."""

from collections.abc import Iterable, Iterator

from beat_bridge.errors import DoorwatchError
from detection_rules import queries
from detection_rules.lint import cost, exchange, fields, guide, pitfalls, proofs
from detection_rules.lint.remarks import Check, Level, Place, Remark, Subject
from detection_rules.proof import read_proof
from detection_rules.rule_set import Rule

CHECKS: tuple[Check, ...] = (
    *proofs.CHECKS,
    *fields.CHECKS,
    *pitfalls.CHECKS,
    *cost.CHECKS,
    *guide.CHECKS,
    *exchange.CHECKS,
)
"""In the order in which docs/rules.md lists them."""

__all__ = ["CHECKS", "Check", "Level", "Place", "Remark", "Subject", "lint", "lint_all", "queried_fields"]


def lint(rule: Rule) -> tuple[Remark, ...]:
    """Every remark on a rule, errors first, then in the order of the file."""
    return lint_all([rule])


def lint_all(rules: Iterable[Rule]) -> tuple[Remark, ...]:
    """Every remark on some rules: by rule, errors first, then in the order of the file."""
    together = tuple(rules)
    return tuple(remark for rule in together for remark in sorted(_remarks(rule, together), key=_order))


def queried_fields(rule: Rule) -> tuple[str, ...]:
    """The fields a rule's query reads, sorted."""
    return queries.queried_fields(rule.query, rule.language)


def _remarks(rule: Rule, together: tuple[Rule, ...]) -> Iterator[Remark]:
    try:
        subject = Subject(rule=rule, proof=read_proof(rule), together=together)
    except DoorwatchError as error:
        subject = Subject(rule=rule, proof=None, together=together, problem=str(error))
    for check in CHECKS:
        for problem, place in check.find(subject):
            yield Remark(
                rule=rule.stem,
                check=check.name,
                level=check.level,
                file=str(rule.path),
                line=place,
                problem=problem,
                recommendation=check.recommendation,
            )


def _order(remark: Remark) -> tuple[bool, int, str]:
    return remark.level != "error", remark.line, remark.check
