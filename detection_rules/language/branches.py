"""A query as alternatives, each with what a document must hold for it: the ground for asking only what could match.

Rules of several sources are of the form `(ours and ...) or (Elastic Defend's and ...)`. Asked apart, each half is asked
only about documents that hold what it demands, and an index finds these without asking (`rule_set.Selection`).
"""

from dataclasses import dataclass
from typing import Final

from detection_rules.language import eql, eql_ast, eql_compile, kql, kql_ast, kql_compile, terms
from detection_rules.language.conditions import every
from detection_rules.language.fields import Predicate
from detection_rules.language.terms import Demands

EXPRESSION: Final = 8
"""What a regular expression costs, a plain comparison costing one."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One alternative. A document matches the query exactly when `holds` of one of its branches does."""

    demands: Demands
    """A document for which `holds` holds at least one term of each of these."""
    holds: Predicate


def branches(text: str, language: str) -> tuple[Branch, ...]:
    """The alternatives of a query that `compile_query` accepts; of a sequence or a sample those of all its items."""
    if language == "kuery":
        return _of_kql(kql.parse(text))
    return tuple(branch for event in eql_ast.events(eql.parse_query(text)) for branch in event_branches(event))


def event_branches(query: eql_ast.EventQuery) -> tuple[Branch, ...]:
    """The same for one EQL event query, such as an item of a sequence."""
    condition = query.condition
    alternatives = condition.operands if isinstance(condition, eql_ast.Or) else (condition,)
    return tuple(_of_event(eql_ast.EventQuery(query.category, _arranged(each))) for each in alternatives)


def _of_event(event: eql_ast.EventQuery) -> Branch:
    condition = eql_compile.compile_query(eql_ast.EventQuery(None, event.condition))
    if event.category is not None:
        condition = every([condition, eql_compile.of_category(event.category)])
    return Branch(terms.of_event(event), condition)


def _of_kql(query: kql_ast.Query) -> tuple[Branch, ...]:
    alternatives = query.operands if isinstance(query, kql_ast.Or) else (query,)
    return tuple(Branch(terms.of_kql(node), kql_compile.compile_query(_arranged_kql(node))) for node in alternatives)


def _arranged(node: eql_ast.Expression) -> eql_ast.Expression:
    """Cheap conditions first; last what tells least, or the index has asked. No order changes the answer."""
    if not isinstance(node, eql_ast.And):
        return node
    return eql_ast.And(tuple(sorted(node.operands, key=_cost)))


def _cost(node: eql_ast.Expression) -> tuple[int, int]:
    nodes = [each for each, _ in eql_ast.walk(node)]
    if isinstance(node, eql_ast.Or):
        asked = all(not isinstance(each, eql_ast.And) and terms.of_expression(each) for each in node.operands)
    else:
        asked = bool(terms.of_expression(node))
    common = all(each.path in terms.COMMON for each in nodes if isinstance(each, eql_ast.Field))
    return asked + common, sum(EXPRESSION if terms.is_expression(each) else 1 for each in nodes)


def _arranged_kql(node: kql_ast.Query) -> kql_ast.Query:
    if not isinstance(node, kql_ast.And):
        return node
    return kql_ast.And(tuple(sorted(node.operands, key=lambda operand: bool(terms.of_kql(operand)))))
