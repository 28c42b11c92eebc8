"""Templates and documents on Elastic's own server (mapper types it lacks are replaced, see tests/lab/mappings.py)."""

import json
from typing import Any

import pytest
from elasticsearch import BadRequestError, ConflictError

from beat_bridge.ecs import templates
from beat_bridge.ecs.findings import finding_document
from beat_bridge.model.documents import Document, serialise
from tests.inventories.samples import documents, event
from tests.lab.elasticsearch import Cluster
from tests.lab.mappings import degraded

pytestmark = pytest.mark.elasticsearch


@pytest.fixture(scope="module")
def prepared(elasticsearch: Cluster) -> Cluster:
    """The cluster with our templates."""
    for name, body in templates.component_templates().items():
        elasticsearch.admin.cluster.put_component_template(name=name, body=degraded(body))
    for name, body in templates.index_templates().items():
        elasticsearch.admin.indices.put_index_template(name=name, body=degraded(body))
    return elasticsearch


def create(cluster: Cluster, document: Document) -> Any:
    """Add a document as the forwarder does."""
    return cluster.admin.create(index=document.data_stream, id=document.id, document=document.body, refresh=True)


def test_every_document_is_taken_and_found(prepared: Cluster) -> None:
    """One of each kind goes in under its own id, comes back byte for byte, and a second time is a conflict."""
    for document in documents():
        created = create(prepared, document)
        assert created["_id"] == document.id
        stored = prepared.admin.get(index=created["_index"], id=document.id)["_source"]
        assert stored == document.body == json.loads(serialise(document).source)
        with pytest.raises(ConflictError):
            create(prepared, document)


@pytest.mark.parametrize(
    "query",
    [
        {"term": {"doorwatch.filter.magic": "udp[8:2] = 0x7255"}},
        {"term": {"doorwatch.finding.kind": "backdoor_process"}},
        {"term": {"process.args": "/sbin/udevd -d"}},
        {"range": {"process.start": {"gte": "2026-01-01", "lt": "2026-01-02"}}},
        {"range": {"doorwatch.socket.holders": {"gte": 812, "lte": 812}}},
        {"match": {"message": "secret"}},
    ],
)
def test_what_analysts_ask_for_is_indexed(prepared: Cluster, query: dict[str, Any]) -> None:
    """Searches over our fields and ECS's find the finding."""
    document = finding_document(event(), "search")
    prepared.admin.bulk(
        operations=[{"create": {"_index": document.data_stream, "_id": document.id}}, document.body], refresh=True
    )
    hits = prepared.admin.search(index="logs-doorwatch.finding-search", query=query)["hits"]["hits"]
    assert [hit["_id"] for hit in hits] == [document.id]


def test_an_undeclared_field_of_ours_is_refused(prepared: Cluster) -> None:
    """Strict mappings turn a field nobody declared into an error, at any depth."""
    for path in ("surprise", "finding.surprise"):
        document = finding_document(event(sequence=7), "strict")
        place = document.body["doorwatch"]
        *parents, leaf = path.split(".")
        for parent in parents:
            place = place[parent]
        place[leaf] = "x"
        with pytest.raises(BadRequestError, match="strict_dynamic_mapping_exception"):
            create(prepared, document)


def test_an_undeclared_field_elsewhere_is_kept_and_not_mapped(prepared: Cluster) -> None:
    """Outside doorwatch an unknown field stays in the document and grows no mapping."""
    document = finding_document(event(sequence=8), "lenient")
    document.body["labels"] = {"site": "x"}
    created = create(prepared, document)
    assert prepared.admin.get(index=created["_index"], id=document.id)["_source"]["labels"] == {"site": "x"}
    mapping = prepared.admin.indices.get_mapping(index=created["_index"])[created["_index"]]["mappings"]
    assert "labels" not in mapping["properties"]
