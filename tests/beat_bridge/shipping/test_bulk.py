"""Answers that a real server cannot be made to give on demand, from a loopback HTTPS server with a script.

What a real one does give is in test_survival.py.
"""

import gzip
import json
import os
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.shipping import ElasticsearchOptions, Refusal
from beat_bridge.shipping.bulk import BulkTarget, read_items
from beat_bridge.shipping.connection import QuickAnswers
from beat_bridge.shipping.target import Answered, Malformed, NotNow, TooLarge, Trouble

LINES = [b'{"create":{"_index":"s","_id":"a"}}\n{}\n', b'{"create":{"_index":"s","_id":"b"}}\n{}\n']


class Scripted(ThreadingHTTPServer):
    """Answers every request with the same status, type and body, and keeps what was asked."""

    status = 200
    body = b'{"errors":false}'
    content_type = "application/json"
    product = "Elasticsearch"
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Scripted
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, content))
        self.send_response(self.server.status)
        if self.server.product:
            self.send_header("X-Elastic-Product", self.server.product)
        self.send_header("Content-Type", self.server.content_type)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Signs the server's certificate."""
    return trustme.CA()


@pytest.fixture(scope="module")
def server(authority: trustme.CA) -> Iterator[Scripted]:
    """A server on a free port."""
    scripted = Scripted()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    scripted.socket = context.wrap_socket(scripted.socket, server_side=True)
    thread = threading.Thread(target=scripted.serve_forever)
    thread.start()
    yield scripted
    scripted.shutdown()
    scripted.server_close()
    thread.join()


@pytest.fixture(scope="module")
def options(server: Scripted, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> ElasticsearchOptions:
    """How to reach it."""
    directory = tmp_path_factory.mktemp("tls")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    (directory / "key").write_text("aWQ6a2V5\n")
    return ElasticsearchOptions(
        hosts=(f"https://localhost:{server.server_port}",),
        ca_file=str(directory / "ca.pem"),
        api_key_file=str(directory / "key"),
    )


@pytest.fixture
def target(server: Scripted, options: ElasticsearchOptions) -> Iterator[BulkTarget]:
    """A target on the server, which answers well until told otherwise."""
    server.status, server.body, server.content_type, server.product = (
        200,
        b'{"errors":false}',
        "application/json",
        "Elasticsearch",
    )
    server.requests.clear()
    bulk = BulkTarget(options)
    yield bulk
    bulk.close()


def test_documents_are_sent_as_they_lie_in_the_spool(server: Scripted, target: BulkTarget) -> None:
    """The request's body is the records' lines, byte for byte, and the key is in its header only."""
    assert target.send([memoryview(entry) for entry in LINES]) == Answered((None, None))
    ((path, headers, content),) = server.requests
    assert content == b"".join(LINES)
    assert path.startswith("/_bulk?")
    assert headers["content-type"] == "application/vnd.elasticsearch+x-ndjson; compatible-with=8"
    assert headers["authorization"] == "ApiKey aWQ6a2V5"
    assert "aWQ6a2V5" not in path


def test_requests_are_compressed_where_that_is_asked_for(server: Scripted, options: ElasticsearchOptions) -> None:
    """With compression on, what goes over the wire is gzip of the same bytes."""
    chosen = {name: getattr(options, name) for name in options.__struct_fields__} | {"compress": True}
    server.requests.clear()
    bulk = BulkTarget(ElasticsearchOptions(**chosen))
    bulk.send(LINES * 100)
    bulk.close()
    ((_, headers, content),) = server.requests
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(content) == b"".join(LINES * 100)


def test_a_changed_key_is_used_by_the_next_request(
    server: Scripted, target: BulkTarget, options: ElasticsearchOptions
) -> None:
    """A key that was replaced in its file needs no restart."""
    target.send(LINES)
    path = Path(options.api_key_file)
    path.write_text("bmV3OmtleQ==")
    target.send(LINES)
    path.write_text("aWQ6a2V5\n")
    assert [headers["authorization"] for _, headers, _ in server.requests] == ["ApiKey aWQ6a2V5", "ApiKey bmV3OmtleQ=="]


@pytest.mark.parametrize(
    ("status", "expected", "words"),
    [
        (400, Malformed, "why"),
        (413, TooLarge, "why"),
        (401, Trouble.DENIED, "the credential is refused (401)"),
        (403, Trouble.DENIED, "role does not allow this (403): why"),
        (404, Trouble.DENIED, "answered 404: why"),
        (302, Trouble.DENIED, "answered 302"),
        (429, Trouble.RETRYING, "answered 429: why"),
        (500, Trouble.RETRYING, "answered 500: why"),
        (502, Trouble.RETRYING, "answered 502: why"),
        (503, Trouble.RETRYING, "answered 503: why"),
    ],
)
def test_what_a_refused_request_means(
    server: Scripted, target: BulkTarget, status: int, expected: object, words: str
) -> None:
    """Each status of a whole request has one consequence, told in one line."""
    server.status, server.body = status, b'{"error":{"type":"some_exception","reason":"why"}}'
    outcome = target.send(LINES)
    if isinstance(outcome, NotNow):
        assert outcome.trouble is expected
        assert words in outcome.detail
        assert "\n" not in outcome.detail
    else:
        assert isinstance(outcome, TooLarge | Malformed)
        assert type(outcome) is expected
        assert outcome.refusal == Refusal(type="some_exception", reason=words, status=status)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b'{"errors":tru', "application/json"),
        (b"<html>", "text/html"),
        (b"[]", "application/json"),
        (b'{"errors":true}', "application/json"),
        (b'{"errors":true,"items":[{"create":{"status":201}}]}', "application/json"),
        (b'{"errors":true,"items":[1,2]}', "application/json"),
        (b'{"errors":true,"items":[{"create":{}},{"create":{}}]}', "application/json"),
        (b'{"errors":true,"items":[{},{}]}', "application/json"),
        (
            b'{"errors":true,"items":[{"create":{"status":400,"error":"text"}},{"create":{"status":201}}]}',
            "application/json",
        ),
    ],
)
def test_an_answer_nobody_understands_delivers_nothing(
    server: Scripted, target: BulkTarget, body: bytes, content_type: str
) -> None:
    """An answer that does not say what became of each document is asked for again, never taken for success."""
    server.body, server.content_type = body, content_type
    outcome = target.send(LINES)
    assert isinstance(outcome, NotNow)
    assert outcome.trouble is Trouble.RETRYING


@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers(100, 600) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["errors", "items", "create", "status", "error", "type"]), inner, max_size=4
            )
        ),
        max_leaves=12,
    )
)
@settings(max_examples=150, deadline=None)
def test_any_json_is_survived(body: object) -> None:
    """Whatever JSON comes back, there is an outcome and no exception; success is only said by the word itself."""
    written = json.dumps(body, separators=(",", ":")).encode()
    try:
        answer = QuickAnswers().json_loads(written)
    except ValueError:
        return
    items = read_items(answer, 2)
    if items is not None and not (isinstance(body, dict) and body.get("errors") is False):
        assert len(items) == 2


def test_something_else_on_the_port_is_said(server: Scripted, target: BulkTarget) -> None:
    """A server that is not Elasticsearch gets no documents marked as delivered, and is named."""
    server.product = ""
    outcome = target.send(LINES)
    assert isinstance(outcome, NotNow)
    assert "this is not Elasticsearch" in outcome.detail


def test_each_item_has_its_own_answer(server: Scripted, target: BulkTarget) -> None:
    """Created, and refused with Elasticsearch's reason and its cause."""
    error = {"type": "document_parsing_exception", "reason": "no", "caused_by": {"reason": "because"}}
    items = [{"create": {"status": 201}}, {"create": {"status": 400, "error": error}}]
    server.body = json.dumps({"errors": True, "items": items}).encode()
    refusal = Refusal(type="document_parsing_exception", reason="no: because", status=400)
    assert target.send(LINES) == Answered((None, refusal))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hosts": ("localhost:9200",)}, "not a URL with scheme and port"),
        ({"hosts": ("https://localhost",)}, "not a URL with scheme and port"),
        ({"hosts": ("https://[::1:9200",)}, "not a URL with scheme and port"),
        ({"hosts": ("https://user:word@localhost:9200",)}, "credentials do not belong into the URL"),
        ({"hosts": ("http://elastic.example:9200",)}, "refusing to send a credential without TLS"),
        ({"username": "u"}, "either an API key file or a user"),
        ({"api_key_file": "", "username": "u"}, "a user needs a password file"),
        ({"fingerprint": "AB" * 32}, "either a CA file or a fingerprint"),
        ({"ca_file": "", "fingerprint": "nonsense"}, "not a SHA-256 fingerprint"),
        ({"ca_file": "/nowhere"}, "no such CA file"),
        ({"ca_file": __file__}, "not a usable CA file"),
        ({"api_key_file": "/nowhere"}, "cannot read the secret: No such file"),
        ({"api_key_file": __file__}, "holds one line of text"),
    ],
)
def test_options_that_cannot_work(options: ElasticsearchOptions, changes: dict[str, object], message: str) -> None:
    """What is wrong with the options is one line before anything is sent, and never shows a secret."""
    chosen = {name: getattr(options, name) for name in options.__struct_fields__} | changes
    with pytest.raises(DoorwatchError, match=message) as error:
        BulkTarget(ElasticsearchOptions(**chosen))
    assert "\n" not in str(error.value)
    assert "word@" not in str(error.value)


@pytest.mark.usefixtures("target")
def test_a_key_from_a_pipe_is_read_once(server: Scripted, options: ElasticsearchOptions) -> None:
    """A key handed over through a pipe, as from a password store, lasts for every request."""
    chosen = {name: getattr(options, name) for name in options.__struct_fields__}
    reading, writing = os.pipe()
    os.write(writing, b"cGlwZTprZXk=\n")
    os.close(writing)
    bulk = BulkTarget(ElasticsearchOptions(**chosen | {"api_key_file": f"/dev/fd/{reading}"}))
    bulk.send(LINES)
    bulk.send(LINES)
    bulk.close()
    os.close(reading)
    assert [headers["authorization"] for _, headers, _ in server.requests] == ["ApiKey cGlwZTprZXk="] * 2
