"""JSON out of files that people and other tools wrote: fast where it is ordinary, exact about what is wrong with it."""

import json
from typing import Any, Never

import msgspec

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONGEST_INTEGER = 4_000
"""Digits; Python refuses to read a little more."""


class NotJsonError(ValueError):
    """What is wrong with a text that is no JSON."""

    def __init__(self, problem: str, line: int = 1) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        """Within the text, from 1."""


def decode(data: bytes) -> Any:
    """Decode a JSON text.

    Raises:
        NotJsonError: It is none.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # the standard library knows the place, and takes what is legal and msgspec refuses: 1e999, half a surrogate
        return _decode_slowly(data)


def _decode_slowly(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"), parse_int=_integer, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start)
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise NotJsonError(f"not UTF-8 text (byte {column} of the line)", line + 1) from error
    except json.JSONDecodeError as error:
        raise NotJsonError(f"not JSON: {error.msg} (column {error.colno})", error.lineno) from error
    except RecursionError as error:
        raise NotJsonError("not JSON that can be read: nested too deep") from error


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _refuse_constant(word: str) -> Never:
    raise NotJsonError(f"not JSON: {word} is no number of JSON's")
