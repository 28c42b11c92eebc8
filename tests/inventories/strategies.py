"""Hypothesis strategies for every value of the vocabulary, made from its own types: new fields take part at once."""

import types
import typing
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import Annotated, Any

import msgspec
from hypothesis import strategies as st

TEXT = st.one_of(
    st.text(max_size=20),
    # what os.fsdecode makes of bytes that are no UTF-8, and surrogates that no decoder makes
    st.text(alphabet=st.characters(codec=None, categories=["Cs", "Cc", "Cf", "Lu"]), max_size=8),
    st.sampled_from(["x" * 5000, "\x1b[2J", "a\nb", "\u202egnp.exe", '"\\', "\x00"]),
)
NUMBERS = st.one_of(st.integers(0, 5000), st.integers())
FLOATS = st.one_of(st.floats(), st.floats(0, 4e9))
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


@cache
def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type of the vocabulary."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        bounds = next(note for note in arguments[1:] if isinstance(note, msgspec.Meta))
        return st.integers(int(bounds.ge or 0), int(bounds.le or 0))
    if origin in {typing.Union, types.UnionType}:
        return st.one_of([values(argument) for argument in arguments])
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _structs(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    return {
        str: TEXT,
        int: NUMBERS,
        float: FLOATS,
        bool: st.booleans(),
        datetime: MOMENTS,
        types.NoneType: st.none(),
    }[kind]


def _structs(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{name: values(hints[name]) for name in kind.__struct_fields__})
