"""What a cluster needs before the first document: index templates, their components, lifecycle, and the writer's role.

Pure values, built from the field list; `doorwatch setup elasticsearch` installs them.
"""

from collections.abc import Iterable
from typing import Any

from beat_bridge.ecs.ecs_usage import ECS_USAGE
from beat_bridge.ecs.fields import LONGEST_KEYWORD, Field, ecs_fields, own_fields

Body = dict[str, Any]

DATASETS = ("finding", "inventory", "heartbeat", "response")
POLICY = "logs-doorwatch"
"""Name of the lifecycle policy."""
WRITER_ROLE = "doorwatch_writer"
PRIORITY = 250
"""Above Elastic's own template for `logs-*-*`, which has 100."""
_SETTINGS = "logs-doorwatch@settings"
_ECS = "logs-doorwatch@ecs"
_OWN = "logs-doorwatch@own"
_CUSTOM = "logs-doorwatch@custom"
"""Left to the site; need not exist."""


def component_templates() -> dict[str, Body]:
    """Bodies of `PUT _component_template/NAME`, by name."""
    own = properties(own_fields().values())
    # inherited by every object below: a field nobody declared is refused, and lands in the dead letters, not in silence
    own["doorwatch"]["dynamic"] = "strict"
    ecs = properties(ecs_fields()[name] for name in ECS_USAGE)
    return {
        _SETTINGS: {"template": {"settings": {"index": {"lifecycle": {"name": POLICY}, "codec": "best_compression"}}}},
        _ECS: {"template": {"mappings": {"dynamic": False, "date_detection": False, "properties": ecs}}},
        _OWN: {"template": {"mappings": {"properties": own}}},
    }


def index_templates() -> dict[str, Body]:
    """Bodies of `PUT _index_template/NAME`, by name: one for each data set, for every namespace."""
    return {f"logs-doorwatch.{dataset}": _index_template(dataset) for dataset in DATASETS}


def _index_template(dataset: str) -> Body:
    constant = {"type": "constant_keyword", "value": f"doorwatch.{dataset}"}
    return {
        "index_patterns": [f"logs-doorwatch.{dataset}-*"],
        "data_stream": {},
        "priority": PRIORITY,
        "composed_of": [_SETTINGS, _ECS, _OWN, _CUSTOM],
        "ignore_missing_component_templates": [_CUSTOM],
        "template": {"mappings": {"properties": {"data_stream": {"properties": {"dataset": constant}}}}},
        "_meta": {"description": f"Doorwatch: {dataset} documents", "managed_by": "doorwatch"},
    }


def lifecycle_policy(delete_after_days: int = 90) -> Body:
    """Body of `PUT _ilm/policy/POLICY`: a new index each 30 days or 50 GB, deleted some days after that.

    Args:
        delete_after_days: Days after rollover.
    """
    return {
        "policy": {
            "phases": {
                "hot": {"actions": {"rollover": {"max_age": "30d", "max_primary_shard_size": "50gb"}}},
                "delete": {"min_age": f"{delete_after_days}d", "actions": {"delete": {}}},
            }
        }
    }


def roles() -> dict[str, Body]:
    """Bodies of `PUT _security/role/NAME`, by name: the bridge may add documents, and nothing else.

    `auto_configure` lets the first document make its data stream; reading, changing and deleting are refused.
    """
    return {
        WRITER_ROLE: {
            "cluster": [],
            "indices": [{"names": ["logs-doorwatch.*"], "privileges": ["auto_configure", "create_doc"]}],
        }
    }


def properties(fields: Iterable[Field]) -> dict[str, Any]:
    """Elasticsearch mapping of some fields: `properties` nested as their names are."""
    root: dict[str, Any] = {}
    for field in fields:
        *path, leaf = field.name.split(".")
        place = root
        for name in path:
            place = place.setdefault(name, {"type": "object", "properties": {}})["properties"]
        place[leaf] = _mapping(field)
    return root


def _mapping(field: Field) -> dict[str, Any]:
    if not field.indexed:
        return {"type": field.type, "index": False, "doc_values": False}
    if field.type == "keyword":
        return {"type": "keyword", "ignore_above": LONGEST_KEYWORD}
    return {"type": field.type}
