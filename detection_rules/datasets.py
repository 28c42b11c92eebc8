"""Which fields the documents of a data stream have: ours, Elastic Defend's on Linux, Auditd Manager's."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Final

import msgspec

from beat_bridge.ecs.ecs_usage import ECS_USAGE
from beat_bridge.ecs.fields import Field, ecs_fields, fields, own_fields

_OWN: Final = {
    # which of our data streams have the fields under a prefix; all others are about findings and inventories
    "doorwatch.agent.": ("heartbeat",),
    "doorwatch.bridge.": ("heartbeat",),
    "doorwatch.coverage.": ("inventory",),
    "doorwatch.finding.": ("finding",),
    "doorwatch.response.": ("response",),
    "doorwatch.truncated": ("finding", "heartbeat", "inventory", "response"),
    "doorwatch.unavailable": ("finding", "heartbeat", "inventory", "response"),
}
_STREAMS: Final = ("finding", "heartbeat", "inventory", "response")
_EVERYWHERE: Final = ("event.ingested",)
"""What Elasticsearch adds on arrival."""


class _Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ecs: frozenset[str]
    own: dict[str, str]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    origin: str
    datasets: dict[str, _Listed]


@cache
def datasets() -> Mapping[str, Mapping[str, Field]]:
    """For each dataset (`endpoint.events.file`) the fields its documents may have, by name."""
    data = resources.files("detection_rules").joinpath("data/datasets.json").read_bytes()
    foreign = msgspec.json.decode(data, type=_File).datasets
    found: dict[str, Mapping[str, Field]] = {
        name: {
            **{field: ecs_fields()[field] for field in listed.ecs},
            **{field: Field(name=field, type=kind) for field, kind in listed.own.items()},
        }
        for name, listed in foreign.items()
    }
    shared = {name: ecs_fields()[name] for name in (*ECS_USAGE, *_EVERYWHERE) if name in ecs_fields()}
    for stream in _STREAMS:
        ours = {name: field for name, field in own_fields().items() if stream in _streams(name)}
        found[f"doorwatch.{stream}"] = {**shared, **ours}
    return found


@cache
def known_fields() -> Mapping[str, Field]:
    """Every field of ECS, of ours, of Defend and of Auditd Manager."""
    return {**{name: field for listed in datasets().values() for name, field in listed.items()}, **fields()}


def read_by(reads: Callable[[str], bool]) -> tuple[str, ...]:
    """The known datasets among a rule's indices, sorted.

    Args:
        reads: Whether a data stream (`logs-endpoint.events.file-default`) is among them.
    """
    return tuple(sorted(name for name in datasets() if reads(f"logs-{name}-default")))


def _streams(name: str) -> tuple[str, ...]:
    return next((streams for prefix, streams in _OWN.items() if name.startswith(prefix)), ("finding", "inventory"))
