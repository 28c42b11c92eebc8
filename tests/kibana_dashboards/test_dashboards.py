"""Dashboards as saved objects: their form, and that everything they ask for exists."""

import builtins
import copy
import json
import re
from itertools import combinations
from typing import Any

import msgspec
import pytest

from beat_bridge.ecs.ecs_usage import ECS_USAGE
from beat_bridge.ecs.fields import fields, own_fields
from beat_bridge.ecs.parts import FAMILIES, TYPES
from beat_bridge.ecs.templates import component_templates, index_templates
from beat_bridge.errors import DoorwatchError, MissingExtraError
from beat_bridge.model.base import Verdict, Viewpoint
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.model.filters import FilterKind
from beat_bridge.model.findings import Change, FindingKind
from beat_bridge.model.responses import StepState
from detection_rules.language import kql, kql_ast
from kibana_dashboards.dashboards import DASHBOARDS, lens, rendering, saved_objects
from tests.kibana_dashboards import saved_object_schema as schema

OBJECTS = saved_objects()
BOARDS = OBJECTS[1:]
PANELS = [(board["id"], panel) for board in BOARDS for panel in lens.panels(board)]


def mapped_fields() -> set[str]:
    """Every field that the index templates of a cluster map, read from the templates themselves."""
    found: set[str] = set()

    def walk(properties: dict[str, Any], prefix: str) -> None:
        for name, body in properties.items():
            if "properties" in body:
                walk(body["properties"], f"{prefix}{name}.")
            else:
                found.add(prefix + name)

    for template in (*component_templates().values(), *index_templates().values()):
        walk(template["template"].get("mappings", {}).get("properties", {}), "")
    return found


@pytest.mark.parametrize("saved", OBJECTS, ids=[saved["id"] for saved in OBJECTS])
def test_every_saved_object_is_of_the_form_that_kibana_keeps(saved: dict[str, Any]) -> None:
    """The object, and the JSON in its strings, decode strictly: every key is known, every value of its type."""
    told = msgspec.convert(saved, schema.DataView | schema.Dashboard)
    if isinstance(told, schema.Dashboard):
        msgspec.json.decode(told.attributes.panelsJSON, type=list[schema.Panel])
        msgspec.json.decode(told.attributes.optionsJSON, type=schema.Options)
        msgspec.json.decode(told.attributes.kibanaSavedObjectMeta.searchSourceJSON, type=schema.SearchSource)


def test_the_form_is_strict() -> None:
    """A key more, an operation nobody knows, and a panel wider than the dashboard are refused."""
    (panel, *_) = json.loads(BOARDS[0]["attributes"]["panelsJSON"])
    for path, value in (
        ("gridData w", 49),
        ("embeddableConfig savedObjectId", "x"),
        (
            "embeddableConfig attributes state datasourceStates formBased layers data columns c0 operationType",
            "static_value",
        ),
    ):
        changed = copy.deepcopy(panel)
        *parents, last = path.split()
        place = changed
        for key in parents:
            place = place[key]
        place[last] = value
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(changed, schema.Panel)


def test_there_are_the_four_dashboards_and_their_data_view() -> None:
    """A data view and four dashboards, each with panels, under ids that stay the same."""
    assert [saved["id"] for saved in OBJECTS] == [
        "doorwatch-logs",
        "doorwatch-overview",
        "doorwatch-kernel-integrity",
        "doorwatch-socket-filters",
        "doorwatch-response",
    ]
    assert len(BOARDS) == len(DASHBOARDS)
    assert all(len(lens.panels(board)) >= 8 for board in BOARDS)
    assert saved_objects() == OBJECTS


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=[f"{board}: {panel.title}" for board, panel in PANELS])
def test_every_field_of_a_panel_is_mapped_and_searchable(board: str, panel: lens.Panel) -> None:
    """What a panel asks for, in columns and queries, is in the index templates; what it counts or sorts has values."""
    assert lens.used_fields(panel) <= mapped_fields(), board
    for column in panel.columns:
        if column.field:
            field = fields()[column.field]
            assert field.indexed
            assert field.type != "match_only_text", f"{column.label}: text cannot be told apart into values"


def test_mapped_is_what_documents_use() -> None:
    """The walk through the templates finds our own fields and those of ECS that we use, and no other."""
    assert mapped_fields() == {*own_fields(), *ECS_USAGE}


@pytest.mark.parametrize("board", BOARDS, ids=[board["id"] for board in BOARDS])
def test_panels_stand_beside_each_other(board: dict[str, Any]) -> None:
    """No panel covers another or leaves the 48 columns, and titles are different."""
    read = lens.panels(board)
    assert all(x + w <= 48 for x, _, w, _ in (panel.grid for panel in read))
    for one, other in combinations(read, 2):
        (x, y, w, h), (x2, y2, w2, h2) = one.grid, other.grid
        assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y, f"{one.title} / {other.title}"
    assert len({panel.title for panel in read}) == len(read)


@pytest.mark.parametrize("board", BOARDS, ids=[board["id"] for board in BOARDS])
def test_references_lead_to_the_data_view(board: dict[str, Any]) -> None:
    """Each panel's layer and the dashboard's filter name a reference, each reference is used, all lead to our view."""
    panels = json.loads(board["attributes"]["panelsJSON"])
    wanted = {"kibanaSavedObjectMeta.searchSourceJSON.filter[0].meta.index"}
    wanted |= {f"{panel['panelIndex']}:indexpattern-datasource-layer-data" for panel in panels}
    assert {reference["name"] for reference in board["references"]} == wanted
    assert {reference["id"] for reference in board["references"]} == {OBJECTS[0]["id"]}
    assert len(board["references"]) == len(wanted)


@pytest.mark.parametrize("board", BOARDS, ids=[board["id"] for board in BOARDS])
def test_columns_name_each_other(board: dict[str, Any]) -> None:
    """Every column is in the order, and whatever an order, a formula or a chart refers to is a column."""
    for panel in json.loads(board["attributes"]["panelsJSON"]):
        state = panel["embeddableConfig"]["attributes"]["state"]
        layer = state["datasourceStates"]["formBased"]["layers"]["data"]
        known = set(layer["columns"])
        assert set(layer["columnOrder"]) == known
        assert len(layer["columnOrder"]) == len(known)
        assert {name for name in _strings(state["visualization"]) if re.fullmatch(r"c\d+", name)} <= known
        for column in layer["columns"].values():
            assert set(column.get("references", ())) <= known
            assert column["params"].get("orderBy", {}).get("columnId", "c0") in known


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for part in value.values() for text in _strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in _strings(part)]
    return [value] if isinstance(value, str) and value else []


def test_every_dashboard_keeps_to_our_data() -> None:
    """The dashboards' filter lets our four data sets through, and every panel names one of them."""
    datasets = {name.removeprefix("logs-") for name in index_templates()}
    for board in BOARDS:
        assert set(lens.filtered_datasets(board)) == datasets
        (only,) = json.loads(board["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])["filter"]
        asked = only["query"]["bool"]
        assert asked["minimum_should_match"] == 1
        assert {phrase["match_phrase"]["data_stream.dataset"] for phrase in asked["should"]} == datasets
        assert all(panel.query.startswith('data_stream.dataset: "doorwatch.') for panel in lens.panels(board))


def test_a_field_nobody_maps_stops_the_rendering() -> None:
    """A template that asks for a field which is not in our mappings is an error that names it."""
    with pytest.raises(DoorwatchError, match=r"the field host\.uptime, which no mapping has"):
        rendering.data_type("host.uptime")


def test_an_operation_nobody_knows_is_an_error() -> None:
    """A column that the reader does not know is not passed over."""
    board = copy.deepcopy(BOARDS[0])
    panels = json.loads(board["attributes"]["panelsJSON"])
    columns = panels[0]["embeddableConfig"]["attributes"]["state"]["datasourceStates"]["formBased"]["layers"]["data"]
    columns["columns"]["c0"]["operationType"] = "counter_rate"
    board["attributes"]["panelsJSON"] = json.dumps(panels)
    with pytest.raises(DoorwatchError, match="the operation counter_rate is not known"):
        lens.panels(board)


def test_without_jinja_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The optional library's absence is an error that names the extra."""
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "jinja2":
            raise ImportError(name)
        return real(name, *arguments, **options)

    rendering._environment.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"doorwatch\[kibana\]"):
        saved_objects()
    monkeypatch.undo()
    rendering._environment.cache_clear()


VOCABULARY: dict[str, set[str]] = {
    # field: what our documents may hold there
    "doorwatch.finding.kind": {kind.value for kind in FindingKind},
    "doorwatch.finding.verdict": {verdict.value for verdict in Verdict},
    "doorwatch.finding.state": {change.value for change in Change},
    "doorwatch.filter.verdict": {verdict.value for verdict in Verdict},
    "doorwatch.filter.kind": {kind.value for kind in FilterKind},
    "doorwatch.coverage.status": {status.value for status in CoverageStatus},
    "doorwatch.response.state": {state.value for state in StepState},
    "doorwatch.response.action": {"capture_evidence", "stop_process", "isolate_network", "verify_cure"},
    "doorwatch.view.seen_by": {viewpoint.value for viewpoint in Viewpoint},
    "doorwatch.socket.family": set(FAMILIES.values()),
    "doorwatch.socket.type": set(TYPES.values()),
    "data_stream.dataset": {name.removeprefix("logs-") for name in index_templates()},
    "event.action": {"coverage-reported", "socket-seen"},
}


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=[f"{board}: {panel.title}" for board, panel in PANELS])
def test_every_value_asked_for_is_one_that_documents_have(board: str, panel: lens.Panel) -> None:
    """What a query compares a field with is a word of the model: a misspelt one would show nothing, for ever."""
    for text in (panel.query, *(text for column in panel.columns for text in (column.only, column.less))):
        for node, _ in kql_ast.walk(kql.parse(text)):
            if isinstance(node, kql_ast.Equals):
                assert isinstance(node.value, kql_ast.Value), board
                assert node.value.text in VOCABULARY[node.field]
