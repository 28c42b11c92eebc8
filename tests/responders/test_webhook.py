"""The webhook over real HTTPS on loopback: who gets in, what is taken, and what hostile senders achieve."""

import base64
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from responders.alerts import Alert
from responders.journal import Journal, QueueFullError, Receipt
from responders.options import ResponderOptions, check
from responders.outcomes import RecordsError
from responders.webhook import application, server
from responders.webhook.application import create_app
from responders.webhook.credentials import Credentials, load_credentials
from responders.webhook.server import WebhookServer

TOKEN = "a-token-of-tests-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ALERT: dict[str, Any] = {
    "kibana.alert.uuid": "u-1",
    "host": {"id": "h"},
    "process": {"pid": 4711, "start": "2026-01-02T03:04:05Z"},
}


class Service:
    """A running webhook with a real journal behind it."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        self.authority = directory / "ca.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        (directory / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(str(directory / "key.pem"))
        for name, secret in (("token", TOKEN), ("password", TOKEN)):
            (directory / name).write_text(secret + "\n")
            (directory / name).chmod(0o600)
        self.options = ResponderOptions(
            state_dir=str(directory / "state"),
            port=0,
            tls_certificate=str(directory / "cert.pem"),
            tls_key=str(directory / "key.pem"),
            token_file=str(directory / "token"),
            username="kibana",
            password_file=str(directory / "password"),
        )
        self.journal = Journal(self.options.journal_file)
        self.maximum = 1000
        self.fault: Exception | None = None
        self.healthy = True
        app = create_app(self.submit, lambda: self.healthy, load_credentials(self.options))
        self.server = WebhookServer(app, self.options)
        self.session = self.new_session()

    def submit(self, alerts: Sequence[Alert]) -> tuple[Receipt, ...]:
        """What the responder does, without a worker behind it."""
        if self.fault is not None:
            raise self.fault
        return self.journal.submit(alerts, 0.0, self.maximum)

    def new_session(self) -> requests.Session:
        """A client that trusts this authority and nothing from the environment (REQUESTS_CA_BUNDLE would win)."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.authority)
        return session

    def post(self, body: Any, headers: dict[str, str] | None = None) -> requests.Response:
        """Post bytes, or anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = BEARER if headers is None else headers
        return self.session.post(self.server.url, data=data, headers=sent, timeout=20)

    def raw(self) -> ssl.SSLSocket:
        """A bare TLS connection."""
        context = ssl.create_default_context(cafile=str(self.authority))
        return context.wrap_socket(socket.create_connection(self.server.address, 10), server_hostname="127.0.0.1")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One webhook for all tests of this module."""
    running = Service(tmp_path_factory.mktemp("webhook"))
    with running.server:
        yield running
    running.session.close()
    running.journal.close()


def test_an_accepted_alert_is_on_disk(service: Service) -> None:
    """202 names the incident, and another connection to the journal finds the alert there."""
    answer = service.post({"rule": {"name": "R"}, "context": {"alerts": [ALERT]}})
    assert answer.status_code == 202
    (incident,) = answer.json()["incidents"]
    with Journal(service.options.journal_file) as second:
        kept = second.incident(incident)
    assert kept is not None
    assert [alert.uuid for alert in kept.alerts] == ["u-1"]


def test_the_same_alert_again_is_the_same_incident(service: Service) -> None:
    """A retry by Kibana is answered with the incident of the first time, as a duplicate."""
    first, again = service.post(ALERT).json(), service.post(ALERT).json()
    assert first["incidents"] == again["incidents"]
    assert again["alerts"][0]["status"] == "duplicate"


def test_a_threshold_alert_is_taken_and_called_not_actionable(service: Service) -> None:
    """It is recorded with its reason, and belongs to no incident."""
    answer = service.post({"rule": {"name": "Threshold"}, "alert": {"id": "t-1"}, "context": {"alerts": []}})
    assert answer.status_code == 202
    assert answer.json()["incidents"] == []
    (alert,) = answer.json()["alerts"]
    assert (alert["status"], "names no host" in alert["reason"]) == ("not_actionable", True)
    assert ("t-1", "Threshold") in [row[:2] for row in service.journal.not_actionable()]


BASIC = base64.b64encode(f"kibana:{TOKEN}".encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 202),
        (f"bearer {TOKEN}", 202),
        (f"Basic {BASIC}", 202),
        (None, 401),
        ("", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        ("Bearer ", 401),
        (f"Basic {TOKEN}", 401),
        (f"Basic {base64.b64encode(f'kibana:{TOKEN}x'.encode()).decode()}", 401),
        (f"Basic {base64.b64encode(TOKEN.encode()).decode()}", 401),
        ("Basic ÿ", 401),
        (TOKEN, 401),
        (f"Digest {TOKEN}", 401),
    ],
)
def test_who_gets_in(service: Service, authorization: str | None, status: int) -> None:
    """The right token and the right user with password do; everything else is refused and recorded nowhere."""
    uuid = f"auth-{authorization}"
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    answer = service.post({**ALERT, "kibana.alert.uuid": uuid}, headers)  # type: ignore[arg-type] # bytes pass as they are
    assert answer.status_code == status
    with Journal(service.options.journal_file) as journal:
        known = journal._one("SELECT count(*) FROM alerts WHERE uuid = ?", uuid)
    assert known == (1 if status == 202 else 0,)


@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=60), st.binary(max_size=60))
def test_no_guess_gets_in(header: str, secret: bytes) -> None:
    """Any other Authorization header, and any header at all where no secret is set, is refused without a fault."""
    ours = Credentials(token=bytes(32), basic=bytes(31) + b"\x01")
    for shown in (header, f"Basic {base64.b64encode(secret).decode()}", f"Bearer {header}"):
        assert not ours.accept(shown)
        assert not Credentials().accept(shown)


def test_credentials_are_asked_for_before_the_body(service: Service) -> None:
    """Without them the answer comes although not one byte of the announced body was sent."""
    with service.raw() as connection:
        connection.sendall(b"POST /v1/alerts HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_a_large_body_is_cut_off_whatever_its_length_claims(service: Service) -> None:
    """Chunked, without a Content-Length, a body beyond 1 MiB is answered 413."""

    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    answer = service.session.post(service.server.url, data=chunks(), headers=BEARER, timeout=20)
    assert answer.status_code == 413
    assert service.post(b" " * (application.MAXIMUM_BODY + 1)).status_code == 413


def test_a_body_that_never_ends_is_given_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that stops in the middle of its body gets 408."""
    monkeypatch.setattr(application, "BODY_SECONDS", 0.2)
    with service.raw() as connection:
        head = f"POST /v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 100\r\n\r\n"
        connection.sendall(head.encode() + b'{"half')
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_a_silent_connection_is_hung_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects and sends half a head is disconnected."""
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.2)
    with service.raw() as connection:
        connection.sendall(b"POST /v1/al")
        connection.settimeout(10)
        assert connection.recv(65536) == b""


def test_a_full_queue_and_unwritable_records_ask_to_come_back(service: Service) -> None:
    """503 with Retry-After, and nothing of the body is kept."""
    for fault in (QueueFullError("1000 alerts wait already"), RecordsError("disk full")):
        service.fault = fault
        try:
            answer = service.post({**ALERT, "kibana.alert.uuid": "not-kept"})
        finally:
            service.fault = None
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert service.post({**ALERT, "kibana.alert.uuid": "not-kept"}).json()["alerts"][0]["status"] == "accepted"


def test_health_tells_the_truth(service: Service) -> None:
    """200 while the worker works, 503 when it does not; no credentials are needed, nothing else is told."""
    url = service.server.url.replace("/v1/alerts", "/healthz")
    assert service.session.get(url, timeout=10).json() == {"status": "ok"}
    service.healthy = False
    try:
        assert service.session.get(url, timeout=10).status_code == 503
    finally:
        service.healthy = True
    assert service.session.get(service.server.url, timeout=10).status_code == 405


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=300)
    | st.text(alphabet='{}[]",:\\ host.id process pid 123\x00é', max_size=200).map(str.encode)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["context", "alerts", "alert", "rule", "host.id", "process", "pid", "start", "id"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_body_makes_it_fail(service: Service, body: bytes) -> None:
    """Whatever is sent is taken (202) or refused with a reason (400): never a 5xx, always JSON."""
    answer = service.post(body)
    assert answer.status_code in (202, 400)
    assert set(answer.json()) in ({"error"}, {"incidents", "alerts", "notes"})


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_on_the_connection_make_it_fail(service: Service, garbage: bytes) -> None:
    """Bytes that are no HTTP are answered with a 4xx or hung up on, and the next sender is served."""
    with service.raw() as connection:
        connection.sendall(garbage + b"\r\n\r\n")
        connection.settimeout(10)
        answer = connection.recv(65536)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))


def test_many_senders_at_once(service: Service) -> None:
    """Forty alerts by eight senders at once: every one accepted once."""
    statuses: list[int] = []

    def send(first: int) -> None:
        with service.new_session() as session:
            for number in range(first, first + 5):
                body = {**ALERT, "kibana.alert.uuid": f"many-{number}"}
                statuses.append(session.post(service.server.url, json=body, headers=BEARER, timeout=20).status_code)

    senders = [threading.Thread(target=send, args=(first * 5,)) for first in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert statuses == [202] * 40


def test_plaintext_is_not_spoken(service: Service) -> None:
    """HTTP without TLS on the TLS port gets no HTTP answer."""
    with socket.create_connection(service.server.address, 10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/" not in connection.recv(65536)


SAFE = ResponderOptions(state_dir="s", token_file="t", tls_certificate="c", tls_key="k")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tls_certificate": "", "tls_key": ""}, "no TLS certificate"),
        ({"tls_key": ""}, "belong together"),
        ({"token_file": ""}, "nobody could authenticate"),
        ({"username": "kibana"}, "belong together"),
        ({"tls_certificate": "", "tls_key": "", "allow_plaintext": True, "host": "0.0.0.0"}, "plaintext on 0.0.0.0"),  # noqa: S104 - refused
        (
            {"tls_certificate": "", "tls_key": "", "allow_plaintext": True, "host": "localhost"},
            "plaintext on localhost",
        ),
    ],
)
def test_an_unprotected_configuration_is_refused(changes: dict[str, Any], reason: str) -> None:
    """TLS is the default; plaintext needs a loopback address and the explicit word; somebody must authenticate."""
    check(SAFE)
    check(msgspec.structs.replace(SAFE, tls_certificate="", tls_key="", allow_plaintext=True))
    with pytest.raises(DoorwatchError, match=reason):
        check(msgspec.structs.replace(SAFE, **changes))


@pytest.mark.parametrize(
    ("mode", "secret", "reason"), [(0o640, TOKEN, "others may read"), (0o600, "short", "needs 16")]
)
def test_a_loose_or_short_secret_is_refused(tmp_path: Path, mode: int, secret: str, reason: str) -> None:
    """The line says what to do and never what the secret is."""
    path = tmp_path / "token"
    path.write_text(secret)
    path.chmod(mode)
    with pytest.raises(DoorwatchError, match=reason) as caught:
        load_credentials(ResponderOptions(state_dir="s", token_file=str(path)))
    assert secret not in str(caught.value).replace(str(path), "")
    assert TOKEN not in repr(Credentials(token=TOKEN.encode()))


def test_an_address_in_use_and_a_bad_certificate_are_one_line(service: Service, tmp_path: Path) -> None:
    """Both are errors where the server is made, not in a thread later."""
    host, port = service.server.address
    taken = msgspec.structs.replace(service.options, host=host, port=port)
    app = create_app(service.submit, lambda: True, Credentials())
    with pytest.raises(DoorwatchError, match=f"cannot listen on {host} port {port}"):
        WebhookServer(app, taken)
    (tmp_path / "bad.pem").write_text("no certificate")
    bad = msgspec.structs.replace(service.options, tls_certificate=str(tmp_path / "bad.pem"))
    with pytest.raises(DoorwatchError, match="not a certificate and its key"):
        WebhookServer(app, bad)
    assert os.listdir(tmp_path) == ["bad.pem"]  # noqa: PTH208 - names are what is compared
