"""A pack: queries that osquery runs on a schedule, with what each looks for and why."""

from typing import Annotated, Literal

import msgspec

from beat_bridge.model.base import Value

Severity = Literal["inventory", "low", "medium", "high", "critical"]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Version = Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d+\.\d+$")]
Technique = Annotated[str, msgspec.Meta(pattern=r"^T\d{4}(\.\d{3})?$")]


class Query(Value, frozen=True, kw_only=True):
    """One scheduled query. `inventory` describes the host; the others find something."""

    interval: Annotated[int, msgspec.Meta(ge=10, le=604_800)]
    """Seconds; osquery refuses more than a week."""
    snapshot: bool
    """True: every result, each time. False: the difference from the last run, added and removed."""
    severity: Severity
    techniques: tuple[Technique, ...]
    """ATT&CK technique ids."""
    why: str
    """What a row means, and what ordinary software comes near it."""
    sql: str
    version: Version
    """The first osquery in which every table and column it uses says what the query relies on."""


class Pack(Value, frozen=True, kw_only=True):
    """Queries that belong together."""

    name: Name
    description: str
    queries: dict[Name, Query]
    discovery: tuple[str, ...] = ()
    """SQL; osquery runs the pack only where each of them returns a row."""
    needs: str = ""
    """What has to be there for it to run; empty where any osquery will do."""
    kibana: bool = True
    """It may be given to Kibana, whose packs have no discovery queries: where they are needed an empty result would
    read as clean."""
    platform: Literal["linux"] = "linux"

    @property
    def version(self) -> str:
        """The oldest osquery that can run one of its queries."""
        return min((query.version for query in self.queries.values()), key=version_number)


def version_number(version: str) -> tuple[int, ...]:
    """`5.10.2` as numbers, so that it comes after `5.9.1`."""
    return tuple(int(part) for part in version.split("."))
