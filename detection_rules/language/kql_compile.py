"""KQL as functions over documents.

A field with several values matches when any of them does; `not` is the exact opposite, so it also holds where the
field is missing. Fields compare as keyword fields do (the whole value, with its case), except the few that ECS maps as
text: there a phrase in quotes must occur, and of words without quotes one must, whatever their case.
"""

import re
from ipaddress import ip_network
from typing import Any, Final

from detection_rules.language import kql_ast as ast
from detection_rules.language.conditions import any_value, every, opposite, some
from detection_rules.language.eql_functions import address
from detection_rules.language.fields import Predicate, reader
from detection_rules.language.patterns import segments
from detection_rules.language.values import Test, as_boolean, as_number, as_text, equals, ordered

TEXT_FIELDS: Final = frozenset({"message", "error.message"})
"""What ECS maps as text (`match_only_text`), without a keyword beside it."""
_WORD: Final = re.compile(r"\w+")


def compile_query(query: ast.Query) -> Predicate:  # noqa: PLR0911 - one return for each kind of node
    """Compile a query once; the function may be called with any number of documents."""
    match query:
        case ast.MatchAll():
            return lambda _document: True
        case ast.Exists():
            read = reader(query.field)
            return lambda document: bool(read(document))
        case ast.Range():
            return any_value(reader(query.field), _bound(query))
        case ast.Equals():
            return any_value(reader(query.field), _equality(query.field, query.value))
        case ast.And():
            return every([compile_query(operand) for operand in query.operands])
        case ast.Or():
            return some([compile_query(operand) for operand in query.operands])
        case ast.Not():
            return opposite(compile_query(query.operand))


def _equality(field: str, value: ast.Value | ast.Pattern) -> Test:
    if isinstance(value, ast.Pattern):
        return _pattern(field, value.pieces)
    return _phrase(value) if field in TEXT_FIELDS else _value(value.text)


def _value(text: str) -> Test:
    """Equality with a value whose type only the field knows: text, number, boolean, date, or block of addresses."""
    same_text, number, boolean = equals(text), as_number(text), as_boolean(text)
    try:
        block = ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        block = None

    def test(value: Any) -> bool:
        if isinstance(value, bool):
            return value is boolean
        if isinstance(value, int | float) and number is not None:
            return value == number
        if block is not None and (known := address(value)) is not None:
            return known in block
        return same_text(value)

    return test


def _bound(query: ast.Range) -> Test:
    number = as_number(query.bound)
    textual = ordered(query.operator, query.bound)
    if number is None:
        return textual
    numeric = ordered(query.operator, number)
    return lambda value: numeric(value) if as_number(value) is not None else textual(value)


def _pattern(field: str, pieces: tuple[str, ...]) -> Test:
    matches = segments(pieces, ignore_case=field in TEXT_FIELDS, one=False)
    if field in TEXT_FIELDS:  # a wildcard there is matched against single words
        return lambda value: any(matches(word) for word in _words(value))
    return lambda value: (text := as_text(value)) is not None and matches(text)


def _phrase(value: ast.Value) -> Test:
    wanted = _words(value.text)
    if not value.quoted:
        return lambda held: not set(wanted).isdisjoint(_words(held))
    width = len(wanted)

    def test(held: Any) -> bool:
        words = _words(held)
        return bool(width) and any(words[at : at + width] == wanted for at in range(len(words) - width + 1))

    return test


def _words(value: Any) -> list[str]:
    return _WORD.findall((as_text(value) or "").lower())
