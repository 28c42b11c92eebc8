"""EQL's functions.

https://www.elastic.co/docs/reference/query-languages/eql/eql-function-ref

A null argument makes the result null, and so does one of a type the function does not take: null is never true.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

from detection_rules.language.addresses import address, block
from detection_rules.language.patterns import wildcard as wildcard_matcher
from detection_rules.language.values import as_number, as_text

Kind = Literal["string", "number", "boolean", "any"]
MANY: Final = 1_000
"""Upper bound for "any number of arguments"."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes and gives."""

    name: str
    parameters: tuple[Kind, ...]
    """One kind for each; the last one repeats up to `most`."""
    least: int
    most: int
    result: Kind
    call: Callable[..., Any]
    """Takes `ignore_case` as a keyword where `insensitive` is allowed."""
    insensitive: bool = False
    """Has a `~` form."""


def _null_safe(work: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: bool) -> Any:
        if any(argument is None for argument in arguments):
            return None
        try:
            return work(*arguments, **options)
        except (TypeError, AttributeError, ValueError, OverflowError, ZeroDivisionError):
            return None

    return call


def _numbers(work: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def call(left: Any, right: Any) -> Any:
        if isinstance(left, bool | str) or isinstance(right, bool | str):
            return None
        return work(left, right)

    return _null_safe(call)


def _quotient(dividend: Any, divisor: Any) -> Any:
    """Java's division: of two integers, cut towards zero."""
    if isinstance(dividend, int) and isinstance(divisor, int):
        quotient = abs(dividend) // abs(divisor)
        return quotient if (dividend < 0) == (divisor < 0) else -quotient
    return dividend / divisor


def _remainder(dividend: Any, divisor: Any) -> Any:
    """Java's remainder: it has the dividend's sign."""
    if isinstance(dividend, int) and isinstance(divisor, int):
        remainder = abs(dividend) % abs(divisor)
        return -remainder if dividend < 0 else remainder
    return math.fmod(dividend, divisor)


def _fold(ignore_case: bool, *texts: str) -> tuple[str, ...]:
    return tuple(str.lower(text) for text in texts) if ignore_case else tuple(str.__str__(text) for text in texts)


def _starts_with(source: str, start: str, *, ignore_case: bool) -> bool:
    source, start = _fold(ignore_case, source, start)
    return source.startswith(start)


def _ends_with(source: str, end: str, *, ignore_case: bool) -> bool:
    source, end = _fold(ignore_case, source, end)
    return source.endswith(end)


def _contains(source: str, part: str, *, ignore_case: bool) -> bool:
    source, part = _fold(ignore_case, source, part)
    return bool(source) and bool(part) and part in source


def _index_of(source: str, part: str, start: int = 0, *, ignore_case: bool) -> int | None:
    source, part = _fold(ignore_case, source, part)
    if start > len(source):
        return None
    found = source.find(part, max(0, start))
    return None if found < 0 else found


def _between(source: str, left: str, right: str, greedy: bool = False, *, ignore_case: bool) -> str:
    searched, first, last = _fold(ignore_case, source, left, right)
    begin = searched.find(first)
    if begin < 0:
        return ""
    begin += len(first)
    end = searched.rfind(last, begin) if greedy else searched.find(last, begin)
    return "" if end < 0 else source[begin:end]


def _substring(source: str, start: int, end: int | None = None) -> str:
    return source[start:] if end is None else source[start:end]


def _string(value: Any) -> str | None:
    return as_text(value)


def _concat(*values: Any) -> str | None:
    texts = [as_text(value) for value in values]
    return None if None in texts else "".join(text for text in texts if text is not None)


def _number(text: Any, base: Any = None) -> int | float | None:
    """`base` may be null, which stands for the default; therefore this one looks after nulls itself."""
    if not isinstance(text, str):
        return as_number(text)
    text = text.strip()
    hexadecimal = text.lower().startswith(("0x", "+0x", "-0x"))
    if base is None and not hexadecimal:
        return as_number(text)
    try:
        return int(text[:100], 16 if base is None else base) if len(text) <= 100 else None
    except (ValueError, TypeError):
        return None


def _length(text: Any) -> int | None:
    return len(text) if isinstance(text, str) else None


def _wildcard(source: str, *patterns: str, ignore_case: bool) -> bool:
    return any(_matcher(pattern, ignore_case)(source) for pattern in patterns)


@lru_cache(maxsize=1024)
def _matcher(pattern: str, ignore_case: bool) -> Callable[[str], bool]:
    return wildcard_matcher(pattern, ignore_case=ignore_case)


def _cidr_match(source: str, *blocks: str) -> bool | None:
    known = address(source)
    return None if known is None else any(first <= known <= last for first, last in map(block, blocks))


_ALL: Final = (
    Signature("add", ("number",), 2, 2, "number", _numbers(lambda a, b: a + b)),
    Signature("subtract", ("number",), 2, 2, "number", _numbers(lambda a, b: a - b)),
    Signature("multiply", ("number",), 2, 2, "number", _numbers(lambda a, b: a * b)),
    Signature("divide", ("number",), 2, 2, "number", _numbers(_quotient)),
    Signature("modulo", ("number",), 2, 2, "number", _numbers(_remainder)),
    Signature("between", ("string", "string", "string", "boolean"), 3, 4, "string", _null_safe(_between), True),
    Signature("cidrMatch", ("string",), 2, MANY, "boolean", _null_safe(_cidr_match)),
    Signature("concat", ("any",), 1, MANY, "string", _null_safe(_concat)),
    Signature("endsWith", ("string",), 2, 2, "boolean", _null_safe(_ends_with), True),
    Signature("indexOf", ("string", "string", "number"), 2, 3, "number", _null_safe(_index_of), True),
    Signature("length", ("string",), 1, 1, "number", _null_safe(_length)),
    Signature("number", ("string", "number"), 1, 2, "number", _number),
    Signature("startsWith", ("string",), 2, 2, "boolean", _null_safe(_starts_with), True),
    Signature("string", ("any",), 1, 1, "string", _null_safe(_string)),
    Signature("stringContains", ("string",), 2, 2, "boolean", _null_safe(_contains), True),
    Signature("substring", ("string", "number", "number"), 2, 3, "string", _null_safe(_substring)),
    Signature("wildcard", ("string",), 2, MANY, "boolean", _null_safe(_wildcard), True),
)
FUNCTIONS: Final[Mapping[str, Signature]] = {signature.name.lower(): signature for signature in _ALL}
"""By lower-cased name: Elasticsearch does not tell `startswith` from `startsWith`."""
