"""How a value in a document compares with a constant in a query.

A query is evaluated without a mapping. A mapping would give a field one type; here the constant decides: a value is
read as the type of the constant it is compared with, which is what indexing `0` into a keyword field or `"12"` into a
long does. A value that cannot be read so differs from every constant of that type.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

Test = Callable[[Any], bool]
_ISO_DATE = re.compile(
    r"\d{4}-\d{2}(?P<day>-\d{2}(?P<hour>[T ]\d{2}(?P<minute>:\d{2}(?P<second>:\d{2}(?P<fraction>[.,]\d+)?)?)?"
    r"(Z|[+-]\d.*)?)?)?"
)
_DIGITS = re.compile(r"-?[0-9]{1,16}")
_YEAR = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WIDTHS = (
    ("second", timedelta(seconds=1)),
    ("minute", timedelta(minutes=1)),
    ("hour", timedelta(hours=1)),
)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_LONGEST_NUMBER = 400
_SMALLEST = timedelta(microseconds=1)


def as_text(value: Any) -> str | None:
    """The value as a keyword field would index it; None for an object."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else None


def as_number(value: Any) -> int | float | None:
    """The value as a numeric field would index it; None where it is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and _NUMBER.fullmatch(value):
        return int(value) if value.lstrip("+-").isdigit() else float(value)
    return None


def as_boolean(value: Any) -> bool | None:
    """The value as a boolean field would index it."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value) if isinstance(value, str) else None


def as_instant(value: Any) -> datetime | None:
    """The value as a date field would index it: ISO 8601, or milliseconds since the epoch. Without a zone it is UTC."""
    if isinstance(value, str):
        if _DIGITS.fullmatch(value) and len(value) != _YEAR:
            value = int(value)
        else:
            span = _span(value)
            return span[0] if span else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return _EPOCH + timedelta(milliseconds=value)
    except (OverflowError, ValueError):
        return None


def is_date(value: Any) -> bool:
    """Whether it is a text that a date field reads as ISO 8601."""
    return isinstance(value, str) and _span(value) is not None


def _moment(value: Any) -> datetime | None:
    """The same to the millisecond, as a date field holds it."""
    instant = as_instant(value)
    return None if instant is None else instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def _span(text: str) -> tuple[datetime, datetime] | None:
    """First and last moment that an ISO date covers: `2026-01-01` is a day, `...T10:00` a minute."""
    shape = _ISO_DATE.fullmatch(text)
    if shape is None:
        return None
    try:
        start = datetime.fromisoformat(_padded(text, shape))
        start = start.astimezone(UTC) if start.tzinfo else start.replace(tzinfo=UTC)
        if shape["fraction"]:
            return start, start
        width = next((width for part, width in _WIDTHS if shape[part]), timedelta(days=1))
        return start, start + width - _SMALLEST
    except (ValueError, OverflowError):
        return None


def _padded(text: str, shape: re.Match[str]) -> str:
    """A month or an hour is not enough for Python. A month is its first day, to Elasticsearch too."""
    if shape["day"] is None:
        return text + "-01"
    if shape["hour"] and not shape["minute"]:
        return text[: shape.end("hour")] + ":00" + text[shape.end("hour") :]
    return text


def equals(constant: str | float | bool) -> Test:
    """A test for equality with a constant."""
    if isinstance(constant, bool):
        return lambda value: as_boolean(value) is constant
    if isinstance(constant, int | float):
        return lambda value: as_number(value) == constant
    span = _span(constant)
    if span is None:
        return lambda value: value == constant if isinstance(value, str) else as_text(value) == constant
    first, last = _to_milliseconds(span)

    def test(value: Any) -> bool:
        moment = _moment(value)
        return as_text(value) == constant if moment is None else first <= moment <= last

    return test


def _to_milliseconds(span: tuple[datetime, datetime]) -> tuple[datetime, datetime]:
    first, last = (moment.replace(microsecond=moment.microsecond // 1000 * 1000) for moment in span)
    return first, last


def moment_equals(digits: str) -> Test | None:
    """A test whether an ISO date is a moment given in milliseconds since the epoch; None for other constants."""
    moment = _moment(digits) if _DIGITS.fullmatch(digits) else None
    return None if moment is None else lambda value: is_date(value) and _moment(value) == moment


def moment_ordered(operator: str, digits: str) -> Test | None:
    """A test for an ISO date before or after a moment given in milliseconds since the epoch."""
    moment = _moment(digits) if _DIGITS.fullmatch(digits) else None
    return None if moment is None else _ordered(operator, moment, _moment)


def ordered(operator: str, constant: str | float) -> Test:
    """A test for `value < constant` and the like.

    Args:
        operator: `<`, `<=`, `>`, `>=`.
        constant: A number compares as a number, an ISO date as an instant (`<=` and `>` mean its last moment, as in
            Elasticsearch's range query), any other text by its characters.
    """
    if isinstance(constant, int | float):
        return _ordered(operator, constant, as_number)
    span = _span(constant)
    if span is not None:
        first, last = _to_milliseconds(span)
        return _ordered(operator, last if operator in ("<=", ">") else first, _moment)
    return _ordered(operator, constant, as_text)


def _ordered(operator: str, constant: Any, read: Callable[[Any], Any]) -> Test:
    def test(value: Any) -> bool:
        known = read(value)
        if known is None:
            return False
        if operator == "<":
            return bool(known < constant)
        if operator == "<=":
            return bool(known <= constant)
        if operator == ">":
            return bool(known > constant)
        return bool(known >= constant)

    return test
