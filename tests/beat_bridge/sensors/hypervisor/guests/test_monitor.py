"""A QMP socket's other end may be anything: every call ends, with one clear line."""

import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.guests import GuestGone, GuestState
from beat_bridge.sensors.hypervisor.guests.monitor import MAX_ANSWER, Monitor
from beat_bridge.sensors.hypervisor.guests.qmp import open_qmp
from tests.beat_bridge.sensors.hypervisor.guests.peers import GREETING, answering, impostor, qemu, requests
from tests.beat_bridge.sensors.hypervisor.refusals import answered_or_refused

SHORT = 0.3
"""Seconds; what is waited for here never comes."""


def _until_hung_up(client: socket.socket) -> None:
    while client.recv(4096):
        pass


def _greets_only(client: socket.socket) -> None:
    client.sendall(GREETING)
    _until_hung_up(client)


def _hangs_up(_client: socket.socket) -> None:
    return


def _long_line(client: socket.socket) -> None:
    with suppress(OSError):
        for _ in range(100):
            client.sendall(b"x" * (1 << 20))
        _until_hung_up(client)


def _endless_events(client: socket.socket) -> None:
    client.sendall(GREETING)
    with suppress(OSError):
        while True:
            client.sendall(b'{"event": "RESET", "data": {}, "timestamp": {"seconds": 1, "microseconds": 1}}\n' * 100)


def _says(line: bytes) -> Callable[[socket.socket], None]:
    def serve(client: socket.socket) -> None:
        client.sendall(line + b"\n")
        _until_hung_up(client)

    return serve


@pytest.mark.parametrize(
    ("serve", "line"),
    [
        (_until_hung_up, "did not give its greeting in 0.3 s"),
        (_greets_only, "did not give its greeting in 0.3 s"),
        (_hangs_up, "hung up|does not speak QMP|did not give"),
        (_long_line, "does not speak QMP"),
        (_endless_events, "does not speak QMP|did not give"),
        (_says(b"HTTP/1.1 400 Bad Request"), "does not speak QMP"),
        (_says(b"\xff\xfe\x00"), "does not speak QMP"),
        (_says(b"[]"), "does not speak QMP"),
        (_says(b"{}"), "does not speak QMP"),
        (_says(b'{"QMP": 7}'), "does not speak QMP"),
        (_says(b"[" * 200_000), "does not speak QMP"),
        (_says(GREETING.strip() + b'\n{"error": 1}'), "does not speak QMP"),
    ],
)
def test_who_does_not_speak_qmp_is_told_in_one_line(
    serve: Callable[[socket.socket], None], line: str, tmp_path: Path
) -> None:
    """Silence, hanging up, garbage, 100 MB without an end of line, nests and floods: one line with the socket each."""
    with impostor(tmp_path / "s", serve) as path, pytest.raises(DoorwatchError, match=line) as caught:
        open_qmp(path, timeout=SHORT)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["running", "status", "name", "UUID"]), inner),
        max_leaves=6,
    )
)
def test_answers_of_any_shape_are_checked(tmp_path: Path, answer: object) -> None:
    """Whatever a peer answers in place of a state, a name or a UUID, it is taken for what it is, or refused."""
    path = tmp_path / "s"
    path.unlink(missing_ok=True)
    answers = dict.fromkeys(("query-name", "query-uuid", "query-status", "query-memdev"), answer)
    with impostor(path, answering(answers)), answered_or_refused(str(path)):
        guest = open_qmp(path, timeout=5)
        assert isinstance(guest.state(), GuestState)
        guest.memory()


def test_no_answer_to_a_command_is_a_time_out(tmp_path: Path) -> None:
    """A peer that greets and then says nothing costs the time-out, not more."""

    def serve(client: socket.socket) -> None:
        client.sendall(GREETING)
        client.recv(4096)
        client.sendall(b'{"return": {}}\n')
        _until_hung_up(client)

    with (
        impostor(tmp_path / "s", serve) as path,
        pytest.raises(DoorwatchError, match=r"an answer to query-status .* it hangs, or is very busy"),
        Monitor(path, SHORT) as monitor,
    ):
        monitor.ask("query-status")


def test_an_answer_too_long_is_refused(tmp_path: Path) -> None:
    """An answer beyond the limit is not kept, however well it is made."""
    answers: dict[str, object] = {"query-status": {"status": "x" * (3 * MAX_ANSWER), "running": True}}
    with (
        impostor(tmp_path / "s", answering(answers)) as path,
        pytest.raises(DoorwatchError, match=r"hung up|speak QMP"),
        Monitor(path, 10) as monitor,
    ):
        monitor.ask("query-status")


def test_a_socket_nobody_listens_on_is_a_guest_that_is_gone(tmp_path: Path) -> None:
    """No socket, and a socket whose QEMU has ended, mean the same."""
    path = tmp_path / "s"
    with pytest.raises(GuestGone, match="no QEMU listens"):
        open_qmp(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    with pytest.raises(GuestGone, match="no QEMU listens"):
        open_qmp(path)


def test_what_is_no_socket_is_told(tmp_path: Path) -> None:
    """A file, and a path longer than a socket's may be, are one line each."""
    (tmp_path / "file").touch()
    with pytest.raises(DoorwatchError, match=r"no QEMU listens|cannot connect"):
        open_qmp(tmp_path / "file")
    with pytest.raises(DoorwatchError, match=r"cannot connect.*too long"):
        open_qmp(tmp_path / ("x" * 120))


def test_a_queue_that_is_full_is_told(tmp_path: Path) -> None:
    """Where as many clients wait as may, nobody waits with them."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(path))
        listener.listen(0)
        first.connect(str(path))
        with pytest.raises(DoorwatchError, match="too many clients"):
            open_qmp(path, timeout=SHORT)


def test_who_accepts_nobody_is_not_called_busy(tmp_path: Path) -> None:
    """Where nobody has been served either, no other client is blamed."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)
        with pytest.raises(DoorwatchError, match="it hangs, or is very busy"):
            open_qmp(path, timeout=SHORT)


@pytest.mark.guest
def test_a_busy_socket_is_named(tmp_path: Path) -> None:
    """A second client is told that a first one holds the socket; when that has left, it is served."""
    with qemu(tmp_path):
        path = tmp_path / "idle.qmp"
        with Monitor(path, 10), pytest.raises(DoorwatchError, match="another client holds this socket"):
            open_qmp(path, timeout=SHORT)
        assert open_qmp(path, timeout=10).state() is GuestState.PAUSED


@pytest.mark.guest
def test_a_stopped_qemu_is_named(tmp_path: Path) -> None:
    """A QEMU that stands still itself is told apart from one that hangs; nothing is left to be done to it."""
    with qemu(tmp_path) as process:
        guest = open_qmp(tmp_path / "idle.qmp", timeout=10)
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(DoorwatchError, match=f"process {process.pid} is stopped"):
            open_qmp(tmp_path / "idle.qmp", timeout=SHORT)
        os.kill(process.pid, signal.SIGCONT)
        assert guest.state() is GuestState.PAUSED


@pytest.mark.guest
def test_a_name_and_a_uuid_are_qemus(tmp_path: Path) -> None:
    """A guest is called what QEMU calls it, and by its socket where that calls it nothing."""
    uuid = "5ac58d25-6b0d-4c0e-9c1b-9c1d2a3e4f50"
    with qemu(tmp_path, name="web", uuid=uuid):
        guest = open_qmp(tmp_path / "web.qmp", timeout=10)
        assert (guest.name, guest.uuid) == ("web", uuid)
    with impostor(tmp_path / "nameless.qmp", answering({"query-name": {}, "query-uuid": {"UUID": "0" * 8}})) as path:
        assert open_qmp(path).name == "nameless"


def test_a_stop_that_comes_too_late_is_undone(tmp_path: Path) -> None:
    """A peer that answers `stop` after its time has passed is told to go on, on the same connection."""
    said: list[str] = []
    patience = socket.socketpair()

    def serve(client: socket.socket) -> None:
        client.sendall(GREETING)
        for request in requests(client):
            if request["execute"] == "stop":
                patience[0].recv(1)  # until the caller has given up
            said.append(request["execute"])
            client.sendall(json.dumps({"return": {}, "id": request.get("id")}).encode() + b"\n")
            if request["execute"] == "cont":
                patience[0].sendall(b"!")

    with impostor(tmp_path / "s", serve) as path:
        with pytest.raises(DoorwatchError, match="an answer to stop"), Monitor(path, SHORT) as monitor:
            monitor.stop()
        patience[1].sendall(b"!")
        patience[1].settimeout(30)
        assert patience[1].recv(1) == b"!"
    assert said[-2:] == ["stop", "cont"]
    for end in patience:
        end.close()
