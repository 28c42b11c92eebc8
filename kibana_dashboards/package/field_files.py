"""`fields/*.yml` of a data stream: the same fields with the same types as our own index templates have."""

from typing import Any

from beat_bridge.ecs.ecs_usage import ECS_USAGE
from beat_bridge.ecs.fields import Field, ecs_fields, own_fields
from beat_bridge.ecs.own_fields import OWN_FIELDS

_BASE = ("data_stream.type", "data_stream.dataset", "data_stream.namespace", "@timestamp")
"""What every data stream has to declare by itself."""


def base_fields(dataset: str) -> list[dict[str, Any]]:
    """`base-fields.yml`: what the stack knows a data stream by.

    Args:
        dataset: `doorwatch.finding`.
    """
    return [
        {"name": "data_stream.type", "type": "constant_keyword", "description": "Data stream type."},
        {
            "name": "data_stream.dataset",
            "type": "constant_keyword",
            "description": "Data stream dataset.",
            "value": dataset,
        },
        {"name": "data_stream.namespace", "type": "constant_keyword", "description": "Data stream namespace."},
        {"name": "@timestamp", "type": "date", "description": ECS_USAGE["@timestamp"]},
    ]


def ecs_definitions() -> list[dict[str, Any]]:
    """`ecs.yml`: the fields of ECS that our documents use."""
    return [_definition(ecs_fields()[name], name, use) for name, use in ECS_USAGE.items() if name not in _BASE]


def own_definitions() -> list[dict[str, Any]]:
    """`fields.yml`: our own fields, in a group that refuses every other."""
    names = own_fields()
    return [
        {
            "name": "doorwatch",
            "type": "group",
            "description": "What ECS has no field for.",
            # inherited by every object below: a field nobody declared is an error, and not lost in silence
            "dynamic": "strict",
            "fields": [
                _definition(names[own.name], own.name.removeprefix("doorwatch."), own.description) for own in OWN_FIELDS
            ],
        }
    ]


def _definition(field: Field, name: str, description: str) -> dict[str, Any]:
    definition: dict[str, Any] = {"name": name, "type": field.type, "description": description}
    if field.array:
        definition["normalize"] = ["array"]
    if not field.indexed:
        definition |= {"index": False, "doc_values": False}
    return definition
