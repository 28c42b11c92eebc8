"""Every panel's query on Elastic's own server, against what the pictures are drawn from."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from beat_bridge.ecs import templates
from kibana_dashboards.dashboards import dashboards, evaluate, lens
from kibana_dashboards.pictures import recorded_documents, recorded_span
from tests.kibana_dashboards import aggregations, varied
from tests.lab.elasticsearch import Cluster
from tests.lab.mappings import degraded

pytestmark = pytest.mark.elasticsearch

BOARDS = dashboards("logs-*")
PANELS = [(board, panel) for board in BOARDS for panel in lens.panels(board)]
SETS: dict[str, tuple[Sequence[evaluate.Document], evaluate.Span]] = {
    # namespace: what is shipped to it, and the time that the dashboards show
    "recorded": (recorded_documents(), recorded_span()),
    "varied1": varied.documents(1),
    "varied2": varied.documents(2),
}


@pytest.fixture(scope="module")
def shipped(elasticsearch: Cluster) -> Cluster:
    """The cluster with our templates and all documents."""
    for name, body in templates.component_templates().items():
        elasticsearch.admin.cluster.put_component_template(name=name, body=degraded(body))
    for name, body in templates.index_templates().items():
        elasticsearch.admin.indices.put_index_template(name=name, body=degraded(body))
    for namespace, (documents, _) in SETS.items():
        operations: list[Any] = []
        for document in documents:
            index = f"logs-{document['data_stream']['dataset']}-{namespace}"
            operations += [{"create": {"_index": index, "_id": document["event"]["id"]}}, document]
        answer = elasticsearch.admin.bulk(operations=operations, refresh=True)
        assert not answer["errors"], answer["items"]
    return elasticsearch


@pytest.mark.parametrize("namespace", SETS)
@pytest.mark.parametrize(("board", "panel"), PANELS, ids=[f"{board['id']}: {panel.title}" for board, panel in PANELS])
def test_a_panel_shows_what_the_server_says(
    shipped: Cluster, board: dict[str, Any], panel: lens.Panel, namespace: str
) -> None:
    """The server takes the panel's query, and its rows are those that are worked out here, in the same order."""
    documents, span = SETS[namespace]
    body = aggregations.request(panel, span, lens.filtered_datasets(board))
    answer = shipped.admin.search(index=f"logs-doorwatch.*-{namespace}", **body)
    assert not answer["timed_out"]
    assert answer["_shards"]["failed"] == 0
    told = aggregations.rows(panel, answer.body)
    worked_out = evaluate.rows(panel, documents, span)
    assert [_comparable(panel, row) for row in told] == [_comparable(panel, row) for row in worked_out]


def _comparable(panel: lens.Panel, row: dict[str, Any]) -> dict[str, Any]:
    """Moments as milliseconds, which is what aggregations know of them."""
    dates = {column.id for column in panel.columns if column.data_type == "date"}
    return {name: _milliseconds(value) if name in dates else value for name, value in row.items()}


def _milliseconds(value: Any) -> int | None:
    if isinstance(value, str):
        return int(datetime.fromisoformat(value).timestamp() * 1000)
    return None if value is None else int(value)
