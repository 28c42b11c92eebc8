"""The field list: ECS (data/ecs-fields.json) and our own, and the checker that holds documents against it."""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from beat_bridge.ecs.own_fields import OWN_FIELDS
from beat_bridge.model.base import Value

ECS_VERSION = "9.4.0"
"""What our documents claim in `ecs.version`, and the release that the field list is of."""
LONGEST_KEYWORD = 1024
"""Characters; Elasticsearch keeps a longer keyword in the document but does not index it (`ignore_above`)."""
INT64 = range(-(2**63), 2**63)
"""What Elasticsearch's `long` can hold."""

_TEXT = frozenset({"keyword", "constant_keyword", "wildcard", "match_only_text", "ip", "version"})
_INTEGERS = frozenset({"long", "integer"})
_FLOATS = frozenset({"float", "double", "scaled_float"})


class Field(Value, frozen=True, kw_only=True):
    """One leaf a document may have."""

    name: str
    type: str
    """Elasticsearch field type."""
    array: bool = False
    """The value is always a list, and never is where this is false."""
    indexed: bool = True


class _EcsData(msgspec.Struct, frozen=True):
    origin: str
    fields: dict[str, str]
    allowed_values: dict[str, frozenset[str]]
    expected_event_types: dict[str, frozenset[str]]


@cache
def _ecs_data() -> _EcsData:
    data = resources.files("beat_bridge.ecs").joinpath("data/ecs-fields.json").read_bytes()
    return msgspec.json.decode(data, type=_EcsData)


@cache
def ecs_fields() -> Mapping[str, Field]:
    """Every ECS field by its dotted name."""
    return {
        name: Field(name=name, type=kind.removesuffix("[]"), array=kind.endswith("[]"))
        for name, kind in _ecs_data().fields.items()
    }


@cache
def own_fields() -> Mapping[str, Field]:
    """Every `doorwatch.*` field by its dotted name."""
    return {
        field.name: Field(name=field.name, type=field.type.value, array=field.array, indexed=field.indexed)
        for field in OWN_FIELDS
    }


@cache
def fields() -> Mapping[str, Field]:
    """Every field a document may have."""
    return {**ecs_fields(), **own_fields()}


def flatten(body: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a nested document as (dotted name, value), in the document's order."""
    for key, value in body.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def unknown_fields(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Dotted names of the leaves that are in neither list, sorted."""
    return tuple(sorted(name for name, _ in flatten(body) if name not in fields()))


def check(body: Mapping[str, Any]) -> tuple[str, ...]:
    """What is wrong with a document, one line each; empty where nothing is.

    Names must be known and nested rather than dotted, values must fit their type, lists stand exactly where ECS has
    arrays, and `event.kind`, `event.category`, `event.type` and `event.outcome` hold allowed values of which each
    type is expected for each category.
    """
    problems = [f"{name}: a dotted key inside a document" for name in _dotted_keys(body)]
    for name, value in flatten(body):
        field = fields().get(name)
        if field is None:
            problems.append(f"{name}: unknown field")
        else:
            problems.extend(_misfits(field, value))
    return (*problems, *_category_misfits(body.get("event", {})))


def _dotted_keys(body: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in body.items():
        if "." in key:
            yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _dotted_keys(value, f"{prefix}{key}.")


def _misfits(field: Field, value: Any) -> Iterator[str]:
    if isinstance(value, list) != field.array:
        yield f"{field.name}: {'must be a list' if field.array else 'must not be a list'}"
    allowed = _ecs_data().allowed_values.get(field.name)
    for item in value if isinstance(value, list) else [value]:
        if not _fits(field.type, item):
            yield f"{field.name}: {item!r:.80} is no {field.type}"
        elif allowed is not None and item not in allowed:
            yield f"{field.name}: {item!r:.80} is not an allowed value"


def _fits(kind: str, value: Any) -> bool:
    if kind in _TEXT:
        return isinstance(value, str)
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in _INTEGERS:
        return isinstance(value, int) and not isinstance(value, bool) and value in INT64
    if kind in _FLOATS:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind == "date":
        return isinstance(value, str) and _is_moment(value)
    return False


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _category_misfits(event: Mapping[str, Any]) -> Iterator[str]:
    expected = _ecs_data().expected_event_types
    for category in event.get("category", ()):
        for kind in event.get("type", ()):
            if kind not in expected.get(category, frozenset()):
                yield f"event.type: {kind} is not expected for category {category}"
