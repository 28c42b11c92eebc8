"""Dashboards as Kibana's saved objects, from the templates beside this file."""

import json
from typing import Any

from kibana_dashboards.dashboards.rendering import render

SavedObject = dict[str, Any]

DASHBOARDS = ("overview", "kernel_integrity", "socket_filters", "response")
"""Templates, in the order in which people want to see them."""
DATASETS = ("doorwatch.finding", "doorwatch.inventory", "doorwatch.heartbeat", "doorwatch.response")
DATA_VIEW = "doorwatch-logs"
"""Id of our own data view."""
FLEET_DATA_VIEW = "logs-*"
"""Id of the data view that Fleet keeps for the integrations it installs."""
CORE_MIGRATION = "8.8.0"
DASHBOARD_MIGRATION = "10.2.0"
DATA_VIEW_MIGRATION = "8.0.0"
"""Versions of the forms below: what Kibana 8.19 itself exports, and what any later Kibana migrates by itself."""


def saved_objects() -> tuple[SavedObject, ...]:
    """What `doorwatch setup kibana` imports: our data view, then the dashboards that stand on it.

    Every object is what Kibana's export writes on one line: `attributes` whose long parts are JSON in a string.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    return (data_view(), *dashboards(DATA_VIEW))


def dashboards(data_view: str) -> tuple[SavedObject, ...]:
    """The dashboards alone.

    Args:
        data_view: Id of the data view their panels read.
    """
    return tuple(_dashboard(name, data_view) for name in DASHBOARDS)


def data_view() -> SavedObject:
    """The data view over our own data streams."""
    return {
        "id": DATA_VIEW,
        "type": "index-pattern",
        "attributes": {"title": "logs-doorwatch.*", "name": "Doorwatch", "timeFieldName": "@timestamp"},
        "references": [],
        "managed": False,
        "coreMigrationVersion": CORE_MIGRATION,
        "typeMigrationVersion": DATA_VIEW_MIGRATION,
    }


def _dashboard(name: str, data_view: str) -> SavedObject:
    written = json.loads(render("kibana_dashboards.dashboards", f"{name}.json.j2"))
    panels = [_panel(f"p{number}", panel, data_view) for number, panel in enumerate(written["panels"])]
    references = [
        {**reference, "name": f"{panel['panelIndex']}:{reference['name']}"}
        for panel in panels
        for reference in panel["embeddableConfig"]["attributes"]["references"]
    ]
    search, reference = _search_source(data_view)
    return {
        "id": f"doorwatch-{name.replace('_', '-')}",
        "type": "dashboard",
        "attributes": {
            "title": written["title"],
            "description": written["description"],
            "panelsJSON": _text(panels),
            "optionsJSON": _text(
                {
                    "useMargins": True,
                    "syncColors": True,
                    "syncCursor": True,
                    "syncTooltips": False,
                    "hidePanelTitles": False,
                }
            ),
            "kibanaSavedObjectMeta": {"searchSourceJSON": _text(search)},
            "timeRestore": True,
            "timeFrom": "now-7d",
            "timeTo": "now",
            "refreshInterval": {"pause": True, "value": 60_000},
            "version": 1,
        },
        "references": [reference, *references],
        "managed": False,
        "coreMigrationVersion": CORE_MIGRATION,
        "typeMigrationVersion": DASHBOARD_MIGRATION,
    }


def _panel(index: str, written: dict[str, Any], data_view: str) -> dict[str, Any]:
    return {
        "type": "lens",
        "panelIndex": index,
        "gridData": {**written["grid"], "i": index},
        "embeddableConfig": {
            "title": written["title"],
            "enhancements": {},
            "hidePanelTitles": False,
            **({"timeRange": {"from": written["since"], "to": "now"}} if written["since"] else {}),
            "attributes": {
                "title": written["title"],
                "description": "",
                "type": "lens",
                "visualizationType": written["visualizationType"],
                "references": [
                    {"type": "index-pattern", "id": data_view, "name": "indexpattern-datasource-layer-data"}
                ],
                "state": {
                    "adHocDataViews": {},
                    "internalReferences": [],
                    "datasourceStates": {"formBased": {"layers": {"data": written["layer"]}}},
                    "filters": [],
                    "query": {"language": "kuery", "query": written["query"]},
                    "visualization": written["visualization"],
                },
            },
        },
    }


def _search_source(data_view: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The dashboard's own filter, so that no panel ever asks other data, and the reference it stands on."""
    name = "kibanaSavedObjectMeta.searchSourceJSON.filter[0].meta.index"
    source = {
        "query": {"language": "kuery", "query": ""},
        "filter": [
            {
                "$state": {"store": "appState"},
                "meta": {
                    "alias": "Doorwatch",
                    "disabled": False,
                    "negate": False,
                    "type": "phrases",
                    "key": "data_stream.dataset",
                    "field": "data_stream.dataset",
                    "params": list(DATASETS),
                    "indexRefName": name,
                },
                "query": {
                    "bool": {
                        "minimum_should_match": 1,
                        "should": [{"match_phrase": {"data_stream.dataset": dataset}} for dataset in DATASETS],
                    }
                },
            }
        ],
    }
    return source, {"type": "index-pattern", "id": data_view, "name": name}


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
