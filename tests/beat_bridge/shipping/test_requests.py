"""Every request the product makes of a cluster, held against Elastic's own description of its interfaces.

Here the cluster is played: what the tests' real server lacks (lifecycle management, some mapper types) is in these
requests, as it goes to a full one.
"""

import json
from pathlib import Path
from urllib.parse import unquote

import pytest
from click.testing import CliRunner
from elastic_transport import ApiResponseMeta, HttpHeaders, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse

from beat_bridge.commands.setup import setup
from beat_bridge.ecs import templates
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.documents import serialise
from beat_bridge.shipping import ElasticsearchOptions, Spool
from beat_bridge.shipping.bulk import BulkTarget
from tests.inventories.samples import documents
from tests.lab.elastic_schema import Schema, description
from tests.lab.shipper import ship_all

pytestmark = pytest.mark.elasticsearch
URL = "http://localhost:9200"
Request = tuple[str, str, bytes | None]


@pytest.fixture(scope="module")
def schema() -> Schema:
    """Elastic's description."""
    return Schema(description())


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What was asked of a cluster that has nothing yet and takes everything."""
    asked: list[Request] = []

    def answer(
        node: Urllib3HttpNode, method: str, target: str, body: bytes | None = None, **_: object
    ) -> NodeApiResponse:
        asked.append((method, target, body))
        missing = method == "GET" and "_template" in target
        content = {"errors": False} if target.startswith("/_bulk") else {}
        headers = HttpHeaders({"x-elastic-product": "Elasticsearch", "content-type": "application/json"})
        meta = ApiResponseMeta(404 if missing else 200, "1.1", headers, 0.0, node.config)
        return NodeApiResponse(meta, json.dumps(content).encode())

    monkeypatch.setattr(Urllib3HttpNode, "perform_request", answer)
    return asked


def test_shipping(schema: Schema, requests: list[Request], tmp_path: Path) -> None:
    """Documents of every kind, and the probe that writes nothing, go to Elasticsearch as it describes `_bulk`."""
    options = ElasticsearchOptions(hosts=(URL,))
    with Spool(tmp_path) as spool:
        spool.append(serialise(document) for document in documents())
        ship_all(spool, options)
    target = BulkTarget(options)
    assert target.understands()
    target.close()
    assert len(requests) == 2
    for request in requests:
        assert schema.problems(*request) == []


def test_setting_up(schema: Schema, requests: list[Request]) -> None:
    """Lifecycle policy, component and index templates, in full, and the questions before them, are as described."""
    CliRunner().invoke(setup, ["elasticsearch", "--url", URL], catch_exceptions=False)
    made = {unquote(target) for method, target, _ in requests if method == "PUT"}
    assert made == {
        f"/_ilm/policy/{templates.POLICY}",
        *(f"/_component_template/{name}" for name in templates.component_templates()),
        *(f"/_index_template/{name}" for name in templates.index_templates()),
    }
    for request in requests:
        assert schema.problems(*request) == []


def test_the_role(schema: Schema) -> None:
    """The role that is printed for the forwarder can be put as it stands."""
    for name, body in templates.roles().items():
        assert schema.problems("PUT", f"/_security/role/{name}", json.dumps(body).encode()) == []


@pytest.mark.parametrize(
    ("method", "target", "body", "place"),
    [
        ("POST", "/_bulk?require_data_streams=true", "{}", "?require_data_streams: unknown"),
        ("POST", "/_bulk?require_data_stream=perhaps", "{}", "?require_data_stream: 'perhaps'"),
        ("POST", "/_bulk", '{"creat":{"_index":"a"}}\n{}\n', "operation[0]"),
        ("POST", "/_bulk", '{"create":{"_indx":"a"}}\n{}\n', "operation[0].create._indx: unknown"),
        ("POST", "/_bulk", '{"create":{"_index":"a"}}\n{}', "line break"),
        ("POST", "/_bulks", "{}", "no such interface"),
        ("PUT", "/_index_template/t", '{"index_patterns":["a"],"priority":"high"}', "body.priority"),
        ("PUT", "/_index_template/t", '{"index_patterns":["a"],"composed_off":[]}', "body.composed_off: unknown"),
        ("PUT", "/_component_template/t", '{"template":{"mappings":{"dinamic":"strict"}}}', "mappings.dinamic"),
        (
            "PUT",
            "/_component_template/t",
            '{"template":{"mappings":{"properties":{"a":{"properties":{"b":{"type":"keywrd"}}}}}}}',
            "a.properties.b.type: 'keywrd'",
        ),
        ("PUT", "/_component_template/t", "{}", "body.template: missing"),
        ("PUT", "/_ilm/policy/p", '{"policy":{"phases":{"hott":{}}}}', "phases.hott: unknown"),
        ("PUT", "/_ilm/policy/p", '{"policy":{"phases":{"hot":{"actions":{"rolover":{}}}}}}', "rolover: unknown"),
        ("PUT", "/_security/role/r", '{"indices":[{"privileges":["read"]}]}', "names: missing"),
    ],
)
def test_a_wrong_request_is_noticed(schema: Schema, method: str, target: str, body: str, place: str) -> None:
    """Misspelt parameters, properties, operations and values are found, with their place."""
    problems = schema.problems(method, target, body.encode())
    assert any(place in problem for problem in problems), problems


@pytest.mark.parametrize("content", [b"[]", b"1", b'{"version":[]}', b'{"component_templates":[{}],"policies":3}'])
def test_answers_of_something_else(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """What answers in another shape than Elasticsearch is one line in `setup`, not a traceback."""

    def answer(node: Urllib3HttpNode, *_: object, **__: object) -> NodeApiResponse:
        headers = HttpHeaders({"x-elastic-product": "Elasticsearch", "content-type": "application/json"})
        return NodeApiResponse(ApiResponseMeta(200, "1.1", headers, 0.0, node.config), content)

    monkeypatch.setattr(Urllib3HttpNode, "perform_request", answer)
    with pytest.raises(DoorwatchError, match="the answer cannot be understood: is this Elasticsearch") as error:
        CliRunner().invoke(setup, ["elasticsearch", "--url", URL], catch_exceptions=False)
    assert "\n" not in str(error.value)
