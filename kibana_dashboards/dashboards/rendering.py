"""Templates of this room, rendered strictly: a name that is not there is an error, never an empty string."""

from functools import cache
from typing import TYPE_CHECKING, Any

from beat_bridge.ecs.ecs_usage import ECS_USAGE
from beat_bridge.ecs.fields import Field, ecs_fields, own_fields
from beat_bridge.errors import DoorwatchError, MissingExtraError

if TYPE_CHECKING:
    from jinja2 import Environment

COLORS = {"malicious": "#BD271E", "suspicious": "#F5A700", "unknown": "#98A2B3", "calm": "#54B399"}
"""Of Elastic's own palette, by what they say."""
_DATA_TYPES = {"date": "date", "boolean": "boolean", "ip": "ip"}
_NUMBERS = frozenset({"long", "integer", "float", "double", "scaled_float"})


def render(package: str, name: str, **values: Any) -> str:
    """A template as text.

    Args:
        package: The Python package whose folder `templates` holds it.
        name: File name.
        values: What it may use, besides `colors` and the filters `data_type` and `is_array`.

    Raises:
        MissingExtraError: jinja2 is not installed.
        jinja2.UndefinedError: The template names something that is not there.
    """
    return _environment(package).get_template(name).render(**values)


@cache
def _environment(package: str) -> "Environment":
    try:
        from jinja2 import (  # noqa: PLC0415 - an optional library
            Environment,
            PackageLoader,
            StrictUndefined,
            select_autoescape,
        )
    except ImportError as error:
        raise MissingExtraError("jinja2", "kibana", "rendering dashboards") from error
    # what is written is JSON, where every value passes `tojson`, and Markdown; SVG is escaped by its name
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=select_autoescape(enabled_extensions=("svg.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["colors"] = COLORS
    environment.filters["data_type"] = data_type
    environment.filters["is_array"] = lambda name: known(name).array
    return environment


def known(name: str) -> Field:
    """A field of our mappings: one of our own, or one of those of ECS that our documents use.

    Raises:
        DoorwatchError: There is none of that name.
    """
    field = own_fields().get(name) or (ecs_fields()[name] if name in ECS_USAGE else None)
    if field is None:
        raise DoorwatchError(f"a dashboard uses the field {name}, which no mapping has: see docs/fields.md")
    return field


def data_type(name: str) -> str:
    """What Lens calls a field's type: string, number, date, boolean or ip."""
    kind = known(name).type
    return "number" if kind in _NUMBERS else _DATA_TYPES.get(kind, "string")
