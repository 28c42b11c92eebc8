"""What a document must hold for a query to match at all: the ground for asking only the rules that could fire."""

import re
from collections.abc import Iterable
from typing import Final

from detection_rules.language import eql_ast, kql_ast
from detection_rules.language.kql_compile import TEXT_FIELDS

Terms = frozenset[tuple[str, str]]
"""Fields with a value each, of which a document must hold one. In lower case: rules that ignore case and rules that do
not are found by the same term."""
Demands = tuple[Terms, ...]
"""What must be held all together, the rarest first. Empty: nothing is demanded."""
COMMON: Final = frozenset(
    {
        "agent.type",
        "data_stream.dataset",
        "data_stream.type",
        "event.action",
        "event.category",
        "event.dataset",
        "event.kind",
        "event.module",
        "event.outcome",
        "event.type",
        "host.os.type",
    }
)
"""Fields that nearly every document has, with few values: other fields tell documents better apart."""
_WORD: Final = re.compile(r"[A-Za-z_/][A-Za-z0-9_./= -]*")
_EXPRESSIONS: Final = frozenset({eql_ast.Matcher.REGEX, eql_ast.Matcher.REGEX_INSENSITIVE})
_NOT_ONLY_TEXT: Final = frozenset({"true", "false", "inf", "nan"})


def of_event(query: eql_ast.EventQuery) -> Demands:
    """What a document must hold, as text once case is ignored, to fit an EQL event query."""
    category = () if query.category is None else _term("event.category", [query.category])
    return _all_of([of_expression(query.condition), category])


def of_expression(node: eql_ast.Expression) -> Demands:  # noqa: PLR0911 - one return for each kind of node
    """The same for one condition of it."""
    match node:
        case eql_ast.And(operands):
            return _all_of(map(of_expression, operands))
        case eql_ast.Or(operands):
            return _one_of(map(of_expression, operands))
        case eql_ast.Comparison(eql_ast.Field(path), eql_ast.Comparator.EQUAL, eql_ast.Literal(value)):
            return _term(path, [value])
        case eql_ast.Comparison(eql_ast.Literal(value), eql_ast.Comparator.EQUAL, eql_ast.Field(path)):
            return _term(path, [value])
        case eql_ast.Membership(eql_ast.Field(path), choices, negated=False):
            return _term(path, [choice.value for choice in choices])
        case eql_ast.Matching(eql_ast.Field(path), _, patterns) if not is_expression(node):
            return _term(path, patterns)  # one with a wildcard is no word, and so no term
        case _:
            return ()


def of_kql(node: kql_ast.Query) -> Demands:
    """The same for a KQL query."""
    match node:
        case kql_ast.And(operands):
            return _all_of(map(of_kql, operands))
        case kql_ast.Or(operands):
            return _one_of(map(of_kql, operands))
        case kql_ast.Equals(field, kql_ast.Value(text)) if field not in TEXT_FIELDS:
            return _term(field, [text])
        case _:
            return ()


def is_expression(node: eql_ast.Expression) -> bool:
    """Whether it matches regular expressions."""
    return isinstance(node, eql_ast.Matching) and node.matcher in _EXPRESSIONS


def _term(field: str, values: Iterable[object]) -> Demands:
    """Nothing where a value in a document could equal one of the constants without being the same text."""
    terms = set()
    for value in values:
        if not isinstance(value, str) or not _WORD.fullmatch(value) or value.lower() in _NOT_ONLY_TEXT:
            return ()
        terms.add((field, value.lower()))
    return (frozenset(terms),)


def _one_of(alternatives: Iterable[Demands]) -> Demands:
    """Of each alternative its rarest: any of these must be held. Nothing where one alternative demands nothing."""
    together: set[tuple[str, str]] = set()
    for demands in alternatives:
        if not demands:
            return ()
        together |= demands[0]
    return (frozenset(together),)


def _all_of(conditions: Iterable[Demands]) -> Demands:
    return tuple(sorted((terms for demands in conditions for terms in demands), key=_frequency))


def _frequency(terms: Terms) -> tuple[int, int]:
    return sum(field in COMMON for field, _ in terms), len(terms)
