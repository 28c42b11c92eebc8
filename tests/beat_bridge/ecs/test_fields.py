"""The field list and the checker."""

import json
from importlib import resources
from typing import Any

import pytest
from hypothesis import given

from beat_bridge.ecs.ecs_usage import ECS_USAGE
from beat_bridge.ecs.fields import ECS_VERSION, check, ecs_fields, fields, flatten, own_fields, unknown_fields
from beat_bridge.ecs.findings import finding_document
from beat_bridge.ecs.own_fields import OWN_FIELDS, FieldType, OwnField
from beat_bridge.ecs.reference import render_fields
from beat_bridge.model.findings import FindingEvent
from docs import make
from tests.inventories.strategies import values


def test_the_list_is_the_whole_of_ecs() -> None:
    """The project's copy has as many fields as ECS 9.4.0 has, with the types and arrays it gives them."""
    assert len(ecs_fields()) == 2605
    kinds = {name: (ecs_fields()[name].type, ecs_fields()[name].array) for name in ("process.args", "host.id", "tags")}
    assert kinds == {"process.args": ("keyword", True), "host.id": ("keyword", False), "tags": ("keyword", True)}


def test_documents_claim_the_release_that_the_list_is_of() -> None:
    """The version in `ecs.version` is the release the field list was made from, and no later field is in it."""
    data = resources.files("beat_bridge.ecs").joinpath("data")
    assert f"release {ECS_VERSION}," in json.loads(data.joinpath("ecs-fields.json").read_bytes())["origin"]
    assert f"release {ECS_VERSION}," in data.joinpath("NOTICE").read_text()
    # 9.4.0 has the first, 9.5 the second in its place (elastic/ecs, CHANGELOG.md)
    assert "gen_ai.system" in ecs_fields()
    assert "gen_ai.provider.name" not in ecs_fields()


def test_our_fields_are_ours() -> None:
    """Every own field lies under doorwatch, is declared once, and shadows no ECS field."""
    names = [field.name for field in OWN_FIELDS]
    assert len(set(names)) == len(names)
    assert all(name.startswith("doorwatch.") for name in names)
    assert not set(names) & set(ecs_fields())


def test_no_field_is_an_object_and_a_leaf() -> None:
    """No field of ours, nor any ECS field we use, is the parent of another: Elasticsearch could not map both."""
    names = {*own_fields(), *ECS_USAGE}
    assert not [name for name in names if any(other.startswith(f"{name}.") for other in names)]


@pytest.mark.parametrize("field", OWN_FIELDS, ids=lambda field: field.name)
def test_each_example_fits_its_field(field: OwnField) -> None:
    """The example in the reference is a value that the checker takes."""
    readers: dict[FieldType, Any] = {
        FieldType.LONG: int,
        FieldType.FLOAT: float,
        FieldType.BOOLEAN: lambda text: {"true": True, "false": False}[text],
    }
    value = readers.get(field.type, str)(field.example)
    assert check(nested(field.name, [value] if field.array else value)) == ()


def nested(name: str, value: Any) -> dict[str, Any]:
    """A document with one leaf."""
    for part in reversed(name.split(".")):
        value = {part: value}
    body: dict[str, Any] = value
    return body


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"process": {"filter": "x"}}, "process.filter: unknown field"),
        ({"doorwatch": {"finding": {"kid": "x"}}}, "doorwatch.finding.kid: unknown field"),
        ({"process.pid": 5}, "process.pid: a dotted key inside a document"),
        ({"process": {"pid": "5"}}, "process.pid: '5' is no long"),
        ({"process": {"pid": True}}, "process.pid: True is no long"),
        ({"process": {"pid": 2**63}}, "process.pid: 9223372036854775808 is no long"),
        ({"process": {"name": 5}}, "process.name: 5 is no keyword"),
        ({"process": {"args": "x"}}, "process.args: must be a list"),
        ({"process": {"args": [5]}}, "process.args: 5 is no keyword"),
        ({"process": {"name": ["x"]}}, "process.name: must not be a list"),
        ({"event": {"risk_score": float("nan")}}, "event.risk_score: nan is no float"),
        ({"doorwatch": {"process": {"deleted": "yes"}}}, "doorwatch.process.deleted: 'yes' is no boolean"),
        ({"@timestamp": "noon"}, "@timestamp: 'noon' is no date"),
        ({"@timestamp": "2026-01-01T00:00:00"}, "@timestamp: '2026-01-01T00:00:00' is no date"),
        ({"event": {"kind": "finding"}}, "event.kind: 'finding' is not an allowed value"),
        ({"event": {"category": ["backdoor"]}}, "event.category: 'backdoor' is not an allowed value"),
        (
            {"event": {"category": ["malware"], "type": ["start"]}},
            "event.type: start is not expected for category malware",
        ),
    ],
)
def test_each_mistake_is_named(body: dict[str, Any], problem: str) -> None:
    """The checker names the field and what is wrong with it."""
    assert problem in check(body)


@pytest.mark.parametrize("name", ["process.pid", "event.category", "host.boot.id", "doorwatch.filter.magic"])
def test_a_right_document_has_no_mistakes(name: str) -> None:
    """What the checker asks for passes it."""
    right: dict[str, Any] = {
        "process.pid": 5,
        "event.category": ["process"],
        "host.boot.id": "x",
        "doorwatch.filter.magic": ["udp[8:2] = 0x7255"],
    }
    assert check(nested(name, right[name])) == ()


@given(values(FindingEvent))
def test_one_unknown_leaf_is_always_found(told: FindingEvent) -> None:
    """A field in neither list is named, whatever else the document holds."""
    body = finding_document(told).body
    body["doorwatch"]["surprise"] = {"inner": 1}
    assert unknown_fields(body) == ("doorwatch.surprise.inner",)


def test_flatten_names_leaves_by_their_path() -> None:
    """Nested objects become dotted names; lists stay values."""
    assert dict(flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": {}})) == {"a.b": 1, "a.c.d": [2]}


def test_every_used_field_is_ecs() -> None:
    """The usage table names ECS fields only."""
    assert set(ECS_USAGE) <= set(ecs_fields())
    assert set(fields()) == {*ecs_fields(), *own_fields()}


def test_the_reference_on_disk_is_the_reference() -> None:
    """docs/fields.md is what the code says it is: `make docs` writes it."""
    assert (make.FOLDER / "fields.md").read_text(encoding="utf-8") == render_fields()


def test_the_reference_names_every_field() -> None:
    """No field is missing from the reference."""
    text = render_fields()
    assert not [name for name in (*own_fields(), *ECS_USAGE) if f"| `{name}` |" not in text]
