"""What a document must hold for a query to match at all: the ground for asking only the rules that could fire."""

import re
from collections.abc import Iterable
from typing import Final

from detection_rules.language import eql, eql_ast, kql, kql_ast
from detection_rules.language.kql_compile import TEXT_FIELDS

Terms = frozenset[tuple[str, str]]
"""Fields with a value each, in lower case: rules that ignore case and rules that do not are found by the same term."""
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
_WORD: Final = re.compile(r"[A-Za-z_/][A-Za-z0-9_./ -]*")
_EXPRESSIONS: Final = frozenset({eql_ast.Matcher.REGEX, eql_ast.Matcher.REGEX_INSENSITIVE})
_NOT_ONLY_TEXT: Final = frozenset({"true", "false", "inf", "nan"})


def demanded_terms(text: str, language: str) -> Terms | None:
    """Terms of which every matching document holds at least one as text, once case is ignored.

    Args:
        text: A query that `compile_query` accepts.
        language: `kuery` or `eql`.

    Returns:
        The terms, as few and as rare as can be told from the query; None where it demands none.
    """
    if language == "kuery":
        return _of_kql(kql.parse(text))
    return _one_of(event_terms(event) for event in eql_ast.events(eql.parse_query(text)))


def event_terms(query: eql_ast.EventQuery) -> Terms | None:
    """The same for one EQL event query, such as an item of a sequence."""
    condition = _of_eql(query.condition)
    if query.category is None:
        return condition
    return _rarest([condition, _term("event.category", [query.category])])


def _of_eql(node: eql_ast.Expression) -> Terms | None:  # noqa: PLR0911 - one return for each kind of node
    match node:
        case eql_ast.And(operands):
            return _rarest(_of_eql(operand) for operand in operands)
        case eql_ast.Or(operands):
            return _one_of(_of_eql(operand) for operand in operands)
        case eql_ast.Comparison(eql_ast.Field(path), eql_ast.Comparator.EQUAL, eql_ast.Literal(value)):
            return _term(path, [value])
        case eql_ast.Comparison(eql_ast.Literal(value), eql_ast.Comparator.EQUAL, eql_ast.Field(path)):
            return _term(path, [value])
        case eql_ast.Membership(eql_ast.Field(path), choices, negated=False):
            return _term(path, [choice.value for choice in choices])
        case eql_ast.Matching(eql_ast.Field(path), matcher, patterns) if matcher not in _EXPRESSIONS:
            return _term(path, patterns)  # one with a wildcard is no word, and so no term
        case _:
            return None


def _of_kql(node: kql_ast.Query) -> Terms | None:
    match node:
        case kql_ast.And(operands):
            return _rarest(_of_kql(operand) for operand in operands)
        case kql_ast.Or(operands):
            return _one_of(_of_kql(operand) for operand in operands)
        case kql_ast.Equals(field, kql_ast.Value(text)) if field not in TEXT_FIELDS:
            return _term(field, [text])
        case _:
            return None


def _term(field: str, values: Iterable[object]) -> Terms | None:
    """None where a value in a document could equal one of the constants without being the same text."""
    terms = set()
    for value in values:
        if not isinstance(value, str) or not _WORD.fullmatch(value) or value.lower() in _NOT_ONLY_TEXT:
            return None
        terms.add((field, value.lower()))
    return frozenset(terms)


def _one_of(alternatives: Iterable[Terms | None]) -> Terms | None:
    together: set[tuple[str, str]] = set()
    for terms in alternatives:
        if terms is None:
            return None
        together |= terms
    return frozenset(together)


def _rarest(demands: Iterable[Terms | None]) -> Terms | None:
    known = [terms for terms in demands if terms is not None]
    return min(known, key=_frequency, default=None)


def _frequency(terms: Terms) -> tuple[int, int]:
    return sum(field in COMMON for field, _ in terms), len(terms)
