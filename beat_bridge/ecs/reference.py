"""docs/fields.md, made from the field lists."""

from collections.abc import Iterable

from beat_bridge.ecs.ecs_usage import ECS_USAGE
from beat_bridge.ecs.fields import ECS_VERSION, ecs_fields
from beat_bridge.ecs.own_fields import OWN_FIELDS

_HEAD = f"""\
# Fields

Made from the code by `make docs`; do not edit.

Doorwatch writes to the data streams `logs-doorwatch.finding-*`, `logs-doorwatch.inventory-*`,
`logs-doorwatch.heartbeat-*` and `logs-doorwatch.response-*`. Its documents keep to the Elastic Common Schema
{ECS_VERSION}; what ECS has no field for stands under `doorwatch.*`, where mappings are strict.

A field that could not be had is named in `doorwatch.unavailable` with the reason; it is never just left out. A field
that was too long is cut and named in `doorwatch.truncated`. Characters that do not print are written as `\\x1b`. There
is no `process.entity_id`: only Elastic Defend can make one.
"""


def render_fields() -> str:
    """The field reference in Markdown."""
    own = (
        (f.name, f"{f.type.value}{' (list)' if f.array else ''}", f"{f.description} Example: `{f.example}`")
        for f in OWN_FIELDS
    )
    ecs = (
        (name, f"{ecs_fields()[name].type}{' (list)' if ecs_fields()[name].array else ''}", use)
        for name, use in ECS_USAGE.items()
    )
    return "\n".join([_HEAD, "## Our own\n", *_table(own), "", "## From ECS\n", *_table(ecs), ""])


def _table(rows: Iterable[tuple[str, str, str]]) -> Iterable[str]:
    yield "| field | type | what it holds |"
    yield "|---|---|---|"
    for name, kind, meaning in rows:
        yield f"| `{name}` | {kind} | {meaning.replace('|', chr(92) + '|')} |"
