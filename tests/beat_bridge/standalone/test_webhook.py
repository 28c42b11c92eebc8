"""Posting alerts: a real HTTPS server on loopback, right and wrong authorities, tokens and answers."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from beat_bridge.errors import DoorwatchError
from beat_bridge.standalone.engine import NotDeliveredError
from beat_bridge.standalone.webhook import Webhook

TOKEN = "a-token-of-some-length"


class Server(ThreadingHTTPServer):
    """A responder that answers what it is told to."""

    status = 202
    received: list[tuple[str, str, bytes]]


class Handler(BaseHTTPRequestHandler):
    """Remembers a request and answers."""

    server: Server

    def do_POST(self) -> None:
        """Take one alert."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, self.headers.get("Authorization", ""), body))
        self.send_response(self.server.status)
        self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs the responder's certificate."""
    return trustme.CA()


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[Server]:
    """A responder with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    running = Server(("127.0.0.1", 0), Handler)
    running.received = []
    running.socket = context.wrap_socket(running.socket, server_side=True)
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    yield running
    running.shutdown()
    thread.join(30)
    running.server_close()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """The authority's certificate."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with the token."""
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n", "ascii")
    return path


def address(server: Server) -> str:
    """Where the responder listens."""
    return f"https://localhost:{server.server_address[1]}/v1/alerts"


def failure(webhook: Webhook) -> NotDeliveredError:
    """How a post fails."""
    with pytest.raises(NotDeliveredError) as caught:
        webhook(b"{}")
    webhook.close()
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)
    return caught.value


def test_a_body_arrives_as_it_was(server: Server, ca_file: Path, token_file: Path) -> None:
    """Body, path and bearer token arrive; a token that changed on disk is used from the next post on."""
    webhook = Webhook(address(server), ca_file=ca_file, token_file=token_file)
    webhook(b'{"alert": 1}')
    token_file.write_text("another", "ascii")
    webhook(b'{"alert": 2}')
    webhook.close()
    assert server.received == [
        ("/v1/alerts", f"Bearer {TOKEN}", b'{"alert": 1}'),
        ("/v1/alerts", "Bearer another", b'{"alert": 2}'),
    ]


def test_another_authority_is_not_believed(server: Server, tmp_path: Path, token_file: Path) -> None:
    """A certificate signed by somebody else is refused, and the token never leaves."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    error = failure(Webhook(address(server), ca_file=other, token_file=token_file))
    assert "ca_file" in str(error)
    assert not error.permanent
    assert server.received == []


def test_another_name_is_not_believed(server: Server, ca_file: Path) -> None:
    """A certificate for another name is refused."""
    error = failure(Webhook(address(server).replace("localhost", "127.0.0.1"), ca_file=ca_file))
    assert "TLS" in str(error)
    assert server.received == []


@pytest.mark.parametrize(
    ("status", "permanent"),
    [
        (400, True),
        (413, True),
        (422, True),
        (302, False),
        (401, False),
        (403, False),
        (404, False),
        (429, False),
        (500, False),
        (503, False),
    ],
)
def test_answers_that_are_no_success(server: Server, ca_file: Path, status: int, permanent: bool) -> None:
    """A refusal of the body itself is final, what a person or time can mend is not, and no redirect is followed."""
    server.status = status
    error = failure(Webhook(address(server), ca_file=ca_file))
    assert error.permanent is permanent
    assert str(status) in str(error)
    assert len(server.received) == 1


def test_nobody_there(ca_file: Path) -> None:
    """A port where nobody listens is one line that names the address."""
    error = failure(Webhook("https://localhost:1/", ca_file=ca_file))
    assert "https://localhost:1/" in str(error)
    assert "refused" in str(error)
    assert not error.permanent


def test_a_token_that_went_away_is_said(server: Server, ca_file: Path, token_file: Path) -> None:
    """Without its token nothing is posted; the alert waits."""
    webhook = Webhook(address(server), ca_file=ca_file, token_file=token_file)
    token_file.unlink()
    assert "token" in str(failure(webhook))
    assert server.received == []


@pytest.mark.parametrize(
    "url", ["", "localhost:8443", "ftp://localhost/", "http://responder.example/", "https://", "https://u:p@localhost/"]
)
def test_bad_addresses_are_refused(url: str) -> None:
    """What is no address, or would send the token in the clear, is refused before anything is sent."""
    with pytest.raises(DoorwatchError):
        Webhook(url)
