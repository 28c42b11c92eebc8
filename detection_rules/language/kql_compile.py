"""KQL as functions over documents.

A field with several values matches when any of them does; `not` is the exact opposite, so it also holds where the
field is missing. Fields compare as keyword fields do (the whole value, with its case), except the few that ECS maps as
text: there a phrase in quotes must occur, and of words without quotes one must, whatever their case.
"""

from typing import Any, Final

from detection_rules.language import kql_ast as ast
from detection_rules.language.addresses import address, block
from detection_rules.language.conditions import any_value, every, opposite, some
from detection_rules.language.fields import Document, Predicate, fetcher, leaves, objects, reader
from detection_rules.language.patterns import segments
from detection_rules.language.values import (
    Test,
    as_boolean,
    as_number,
    as_text,
    equals,
    is_date,
    moment_equals,
    moment_ordered,
    ordered,
)
from detection_rules.language.words import words

TEXT_FIELDS: Final = frozenset({"message", "error.message"})
"""What ECS maps as text (`match_only_text`), without a keyword beside it."""
_STAR: Final = "\0"
"""Stands for a wildcard: no query holds it."""


def compile_query(query: ast.Query, within: str = "") -> Predicate:  # noqa: PLR0911 - one return for each kind of node
    """Compile a query once; the function may be called with any number of documents.

    Args:
        query: The query.
        within: The path of the nested objects it is asked of, with a dot at its end; empty for whole documents.
    """
    match query:
        case ast.MatchAll():
            return lambda _document: True
        case ast.Exists():
            read = reader(query.field.removeprefix(within))
            return lambda document: bool(read(document))
        case ast.Range() | ast.Equals():
            return any_value(fetcher(query.field.removeprefix(within)), _test(query.field, query))
        case ast.InFields():
            return _in_fields(query, within)
        case ast.Nested():
            held, inner = objects(query.path.removeprefix(within)), compile_query(query.operand, query.path + ".")
            return lambda document: any(inner(each) for each in held(document))
        case ast.And():
            return every([compile_query(operand, within) for operand in query.operands])
        case ast.Or():
            return some([compile_query(operand, within) for operand in query.operands])
        case ast.Not():
            return opposite(compile_query(query.operand, within))


def _in_fields(query: ast.InFields, within: str) -> Predicate:
    """The condition on any field with a name that fits."""
    fits = segments(query.pieces, ignore_case=False, one=False)
    of_keyword, of_text = _test("", query.condition), _test(next(iter(TEXT_FIELDS)), query.condition)

    def holds(document: Document) -> bool:
        for name, value in leaves(document):
            if fits(within + name) and (of_text if within + name in TEXT_FIELDS else of_keyword)(value):
                return True
        return False

    return holds


def _test(field: str, condition: ast.Equals | ast.Exists | ast.Range) -> Test:
    match condition:
        case ast.Exists():
            return lambda _value: True
        case ast.Range():
            return _bound(condition)
        case ast.Equals():
            return _equality(field, condition.value)


def _equality(field: str, value: ast.Value | ast.Pattern) -> Test:
    if isinstance(value, ast.Pattern):
        return _pattern(field, value.pieces)
    return _phrase(value) if field in TEXT_FIELDS else _value(value.text)


def _value(text: str) -> Test:
    """Equality with a value whose type only the field knows: text, number, boolean, date, or block of addresses."""
    same_text, number, boolean = equals(text), as_number(text), as_boolean(text)
    same_moment = moment_equals(text)
    try:
        first, last = block(text)
    except ValueError:
        first, last = 1, 0  # no address lies between

    def test(value: Any) -> bool:
        if isinstance(value, bool):
            return value is boolean
        if isinstance(value, int | float) and number is not None:
            return value == number
        if last and (known := address(value)) is not None:
            return first <= known <= last
        return same_text(value) or (same_moment is not None and same_moment(value))

    return test


def _bound(query: ast.Range) -> Test:
    number = as_number(query.bound)
    textual = ordered(query.operator, query.bound)
    home = address(query.bound)
    if home is not None:
        of_address = ordered(query.operator, home)
        return lambda value: textual(value) if (known := address(value)) is None else of_address(known)
    if number is None:
        return textual
    numeric, temporal = ordered(query.operator, number), moment_ordered(query.operator, query.bound)

    def test(value: Any) -> bool:
        if as_number(value) is not None:
            return numeric(value)
        return temporal(value) if temporal is not None and is_date(value) else textual(value)

    return test


def _pattern(field: str, pieces: tuple[str, ...]) -> Test:
    if field in TEXT_FIELDS:
        return _any_word(pieces)
    matches = segments(pieces, ignore_case=False, one=False)
    return lambda value: (text := as_text(value)) is not None and matches(text)


def _any_word(pieces: tuple[str, ...]) -> Test:
    """A wildcard in a text field is matched against single words, and of several such patterns one must match."""
    plain: set[str] = set()
    patterns = []
    for part in _STAR.join(pieces).split():
        if _STAR in part:
            patterns.append(segments(part.split(_STAR), ignore_case=True, one=False))
        else:
            plain.update(words(part))

    def test(value: Any) -> bool:
        return any(word in plain or any(matches(word) for matches in patterns) for word in _words(value))

    return test


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
    return words(as_text(value) or "")
