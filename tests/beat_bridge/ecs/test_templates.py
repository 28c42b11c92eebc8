"""What a cluster is prepared with."""

from typing import Any

import pytest

from beat_bridge.ecs import templates
from beat_bridge.ecs.ecs_usage import ECS_USAGE
from beat_bridge.ecs.fields import LONGEST_KEYWORD, fields, own_fields
from tests.lab.mappings import degraded


def mapped(dataset: str) -> dict[str, Any]:
    """The mapping that Elasticsearch composes for a data set, by dotted name."""
    template = templates.index_templates()[f"logs-doorwatch.{dataset}"]
    components = templates.component_templates()
    bodies = [components[name] for name in template["composed_of"] if name in components]
    leaves: dict[str, Any] = {}
    for body in (*bodies, template):
        leaves.update(_leaves(body["template"].get("mappings", {}).get("properties", {}), ""))
    return leaves


def _leaves(properties: dict[str, Any], prefix: str) -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, mapping in properties.items():
        if "properties" in mapping:
            leaves.update(_leaves(mapping["properties"], f"{prefix}{name}."))
        else:
            leaves[f"{prefix}{name}"] = mapping
    return leaves


@pytest.mark.parametrize("dataset", templates.DATASETS)
def test_exactly_the_used_fields_are_mapped_with_their_types(dataset: str) -> None:
    """Every ECS field we use and every field of ours is mapped with the type of the field list, and nothing else."""
    leaves = mapped(dataset)
    assert set(leaves) == {*ECS_USAGE, *own_fields()}
    assert {name: leaf["type"] for name, leaf in leaves.items()} == {name: fields()[name].type for name in leaves}


def test_our_own_fields_are_strict_and_the_rest_is_not() -> None:
    """An undeclared field under doorwatch is refused; elsewhere it is kept without being mapped."""
    components = templates.component_templates()
    assert components["logs-doorwatch@own"]["template"]["mappings"]["properties"]["doorwatch"]["dynamic"] == "strict"
    assert components["logs-doorwatch@ecs"]["template"]["mappings"]["dynamic"] is False


def test_keywords_have_the_limit_that_documents_keep_to() -> None:
    """ignore_above is what texts are cut to, so that nothing is silently left out of the index."""
    leaves = mapped("finding")
    limits = {name: leaf.get("ignore_above") for name, leaf in leaves.items() if leaf["type"] == "keyword"}
    assert limits.pop("doorwatch.filter.program") is None
    assert set(limits.values()) == {LONGEST_KEYWORD}
    assert leaves["doorwatch.filter.program"] == {"type": "keyword", "index": False, "doc_values": False}


@pytest.mark.parametrize("dataset", templates.DATASETS)
def test_each_data_set_has_a_data_stream_above_elastics_template(dataset: str) -> None:
    """The template makes data streams for every namespace and outranks Elastic's own for logs-*-*, which has 100."""
    template = templates.index_templates()[f"logs-doorwatch.{dataset}"]
    assert template["index_patterns"] == [f"logs-doorwatch.{dataset}-*"]
    assert template["data_stream"] == {}
    assert template["priority"] > 200
    missing = set(template["composed_of"]) - set(templates.component_templates())
    assert missing == set(template["ignore_missing_component_templates"])


def test_the_lifecycle_is_the_one_the_settings_name() -> None:
    """Indices roll over at 30 days or 50 GB and are deleted when the operator says."""
    settings = templates.component_templates()["logs-doorwatch@settings"]["template"]["settings"]
    assert settings["index"]["lifecycle"]["name"] == templates.POLICY
    phases = templates.lifecycle_policy(delete_after_days=7)["policy"]["phases"]
    assert phases["hot"]["actions"]["rollover"] == {"max_age": "30d", "max_primary_shard_size": "50gb"}
    assert phases["delete"] == {"min_age": "7d", "actions": {"delete": {}}}


def test_the_writer_can_add_and_nothing_else() -> None:
    """The role has two index privileges on our data streams and none on the cluster."""
    (role,) = templates.roles().values()
    assert role == {
        "cluster": [],
        "indices": [{"names": ["logs-doorwatch.*"], "privileges": ["auto_configure", "create_doc"]}],
    }


def test_degrading_leaves_no_type_the_test_server_lacks() -> None:
    """After degrading no wildcard, constant_keyword or match_only_text is left, and the names are the same."""
    before = _leaves(templates.component_templates()["logs-doorwatch@own"]["template"]["mappings"]["properties"], "")
    body = degraded(templates.component_templates()["logs-doorwatch@own"])
    after = _leaves(body["template"]["mappings"]["properties"], "")
    assert set(after) == set(before)
    assert {leaf["type"] for leaf in after.values()} <= {"keyword", "text", "long", "float", "date", "boolean"}
