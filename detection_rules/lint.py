"""What is questionable about a rule that nevertheless loads: one check a function, each with its recommendation."""

from collections.abc import Callable, Iterator
from typing import Final, Literal

import msgspec

from beat_bridge.ecs.fields import fields
from beat_bridge.errors import DoorwatchError
from detection_rules.language import eql, eql_ast, kql, kql_ast
from detection_rules.proof import Proof, prove, read_proof
from detection_rules.rule_set import Rule

FOREIGN: Final = ("Endpoint.", "process.Ext.", "file.Ext.", "kibana.alert.")
"""Fields of Elastic Defend and of Kibana that no field list of ours has."""
LEAST_NEGATIVES: Final = 3
"""Ordinary software comes close in more than one way."""


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """One finding of the lint."""

    rule: str
    check: str
    level: Literal["error", "warning"]
    problem: str
    recommendation: str


def lint(rule: Rule) -> tuple[Remark, ...]:
    """Every remark on a rule, errors first."""
    try:
        proof = read_proof(rule)
    except DoorwatchError as error:
        return (_remark(rule, "documents", "error", str(error), "write the documents beside the rule"), *_unknown(rule))
    remarks = [*_unknown(rule)]
    for check in _CHECKS:
        remarks.extend(check(rule, proof))
    return tuple(sorted(remarks, key=lambda remark: remark.level))


def queried_fields(rule: Rule) -> tuple[str, ...]:
    """The fields a rule's query reads, sorted."""
    if rule.language == "eql":
        query = eql.parse(rule.query)
        found = {node.path for node, _ in eql_ast.walk(query.condition) if isinstance(node, eql_ast.Field)}
        return tuple(sorted(found | ({"event.category"} if query.category else set())))
    nodes = (node for node, _ in kql_ast.walk(kql.parse(rule.query)))
    return tuple(sorted({n.field for n in nodes if isinstance(n, kql_ast.Equals | kql_ast.Exists | kql_ast.Range)}))


def _remark(rule: Rule, check: str, level: Literal["error", "warning"], problem: str, recommendation: str) -> Remark:
    return Remark(rule=rule.stem, check=check, level=level, problem=problem, recommendation=recommendation)


def _unknown(rule: Rule) -> Iterator[Remark]:
    for name in queried_fields(rule):
        if name not in fields() and not name.startswith(FOREIGN):
            yield _remark(
                rule, "fields", "warning", f"{name} is neither an ECS field nor one of ours", "check its spelling"
            )


def _failures(rule: Rule, proof: Proof) -> Iterator[Remark]:
    for failure in prove(rule, proof):
        problem = f"{failure.expected} was expected of document {failure.index}: {failure.why}"
        yield _remark(rule, "proof", "error", problem, "run `doorwatch rules test`, and mend the rule or the document")


def _both_sides(rule: Rule, proof: Proof) -> Iterator[Remark]:
    if not proof.must_match:
        yield _remark(rule, "positives", "error", "no document must match", "add what the rule is for")
    if len(proof.must_not_match) < LEAST_NEGATIVES:
        problem = f"only {len(proof.must_not_match)} documents must not match"
        yield _remark(rule, "negatives", "warning", problem, "add the ordinary software that comes closest")


def _triage(rule: Rule, _proof: Proof) -> Iterator[Remark]:
    if not rule.note.strip():
        yield _remark(rule, "note", "warning", "no triage guide", "say in `note` what to look at next, with queries")
    if not rule.threat:
        yield _remark(rule, "threat", "warning", "no ATT&CK technique", "add a [[rule.threat]]")
    if not rule.index:
        yield _remark(rule, "index", "warning", "no index", "name the data streams the rule reads")


_CHECKS: Final[tuple[Callable[[Rule, Proof], Iterator[Remark]], ...]] = (_failures, _both_sides, _triage)
