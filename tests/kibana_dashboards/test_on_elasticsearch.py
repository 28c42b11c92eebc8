"""Every panel's query on Elastic's own server, against what the pictures are drawn from."""

from datetime import datetime
from typing import Any

import pytest

from beat_bridge.ecs import templates
from kibana_dashboards.dashboards import dashboards, evaluate, lens
from kibana_dashboards.pictures import recorded_documents, recorded_span
from tests.kibana_dashboards import aggregations
from tests.lab.elasticsearch import Cluster
from tests.lab.mappings import degraded

pytestmark = pytest.mark.elasticsearch

BOARDS = dashboards("logs-*")
PANELS = [(board, panel) for board in BOARDS for panel in lens.panels(board)]
NAMESPACE = "dashboards"


@pytest.fixture(scope="module")
def shipped(elasticsearch: Cluster) -> Cluster:
    """The cluster with our templates and the documents of the lab."""
    for name, body in templates.component_templates().items():
        elasticsearch.admin.cluster.put_component_template(name=name, body=degraded(body))
    for name, body in templates.index_templates().items():
        elasticsearch.admin.indices.put_index_template(name=name, body=degraded(body))
    operations: list[Any] = []
    for document in recorded_documents():
        index = f"logs-{document['data_stream']['dataset']}-{NAMESPACE}"
        operations += [{"create": {"_index": index, "_id": document["event"]["id"]}}, document]
    answer = elasticsearch.admin.bulk(operations=operations, refresh=True)
    assert not answer["errors"], answer["items"]
    return elasticsearch


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=[f"{board['id']}: {panel.title}" for board, panel in PANELS])
def test_a_panel_shows_what_the_server_says(shipped: Cluster, board: dict[str, Any], panel: lens.Panel) -> None:
    """The server takes the panel's query, and its rows are those that are worked out here, in the same order."""
    span = recorded_span()
    body = aggregations.request(panel, span, lens.filtered_datasets(board))
    answer = shipped.admin.search(index=f"logs-doorwatch.*-{NAMESPACE}", **body)
    assert not answer["timed_out"]
    assert answer["_shards"]["failed"] == 0
    told = aggregations.rows(panel, answer.body)
    worked_out = evaluate.rows(panel, recorded_documents(), span)
    assert [_comparable(panel, row) for row in told] == [_comparable(panel, row) for row in worked_out]


def _comparable(panel: lens.Panel, row: dict[str, Any]) -> dict[str, Any]:
    """Moments as milliseconds, which is what aggregations know of them."""
    dates = {column.id for column in panel.columns if column.data_type == "date"}
    return {name: _milliseconds(value) if name in dates else value for name, value in row.items()}


def _milliseconds(value: Any) -> int | None:
    if isinstance(value, str):
        return int(datetime.fromisoformat(value).timestamp() * 1000)
    return None if value is None else int(value)
