"""Packs in the two forms that Kibana takes: a saved object in a package, and the body of its API.

Both map the columns of a result to ECS fields, so that a row can be searched beside every other document. Only columns
that the query returns are mapped: Kibana refuses others.
"""

import uuid
from typing import Any

from osquery_packs import tables
from osquery_packs.model import Pack, Query

_NAMESPACE = uuid.UUID("b1f3b2d2-3f0e-5b5a-9e1c-6f0c9a1f4d11")
"""Under which a pack's name gives its id: the same on every machine, so that a pack is updated and not doubled."""
ECS_FIELDS = {
    # column of a result -> ECS field
    "pid": "process.pid",
    "name": "process.name",
    "path": "process.executable",
    "cmdline": "process.command_line",
    "cwd": "process.working_directory",
    "parent": "process.parent.pid",
    "start_time": "process.start",
    "uid": "user.id",
    "file_path": "file.path",
    "file_size": "file.size",
    "file_mode": "file.mode",
    "file_uid": "file.uid",
    "file_mtime": "file.mtime",
    "file_ctime": "file.ctime",
    "local_port": "destination.port",
    "src_ip": "source.ip",
}
_MOMENTS = {"start_time", "file_mtime", "file_ctime"}
"""Seconds since the epoch, which Elasticsearch would read as milliseconds: mapped for none of them."""


def ecs_mapping(pack: Pack, query: Query) -> dict[str, dict[str, Any]]:
    """ECS fields with the result columns or the fixed values they get, in the form of Kibana's API."""
    with tables.database() as database:
        returned = tables.result_columns(database, query.sql)
    mapped: dict[str, dict[str, Any]] = {
        ECS_FIELDS[column]: {"field": column} for column in returned if column in ECS_FIELDS and column not in _MOMENTS
    }
    mapped["tags"] = {"value": [pack.name, f"severity:{query.severity}", *query.techniques]}
    return dict(sorted(mapped.items()))


def api_body(pack: Pack) -> dict[str, Any]:
    """The body of `POST /api/osquery/packs`; the policies it runs on are a person's choice, and not part of it."""
    return {
        "name": pack.name,
        "description": pack.description,
        "enabled": True,
        "queries": {
            name: {**_query(query), "ecs_mapping": ecs_mapping(pack, query)} for name, query in pack.queries.items()
        },
    }


def saved_object(pack: Pack) -> dict[str, Any]:
    """The pack as a saved object of type `osquery-pack-asset`, as a package carries it."""
    return {
        "attributes": {
            "description": pack.description,
            "name": pack.name,
            "queries": [
                {
                    "id": name,
                    **_query(query),
                    "ecs_mapping": [
                        {"key": field, "value": value} for field, value in ecs_mapping(pack, query).items()
                    ],
                }
                for name, query in pack.queries.items()
            ],
            "version": 1,
        },
        "coreMigrationVersion": "8.8.0",
        "id": f"doorwatch-{uuid.uuid5(_NAMESPACE, pack.name)}",
        "references": [],
        "type": "osquery-pack-asset",
    }


def _query(query: Query) -> dict[str, Any]:
    """What both forms say of a query in the same words."""
    return {
        "query": query.sql.strip(),
        "interval": query.interval,
        "platform": "linux",
        "version": query.version,
        "snapshot": query.snapshot,
        # Kibana's words for osquery's: of a difference, also the rows that are gone
        "removed": not query.snapshot,
    }
