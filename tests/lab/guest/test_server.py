"""The guest's command server and the tester's end of its channel, on this machine and without a guest."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.guest.channel import Channel, GuestError, GuestTimeoutError
from tests.lab.guest.server import OUTPUT_LIMIT

ROOT = Path(__file__).parents[3]


@pytest.fixture
def server() -> Iterator[tuple[Channel, subprocess.Popen[bytes]]]:
    """A server as the guest has it, on a pair of sockets."""
    near, far = socket.socketpair()
    with far:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.lab.guest.server"], cwd=ROOT, stdin=far.fileno(), stdout=far.fileno()
        )
    channel = Channel(near, grace=20)
    try:
        assert channel.wait_ready(20) == os.uname().release
        yield channel, process
    finally:
        channel.close()
        assert process.wait(20) in (0, -signal.SIGKILL)  # it ends when its tester hangs up


@pytest.fixture
def channel(server: tuple[Channel, subprocess.Popen[bytes]]) -> Channel:
    """The tester's end."""
    return server[0]


def _run(channel: Channel, *argv: str, stdin: bytes = b"", timeout: float = 20) -> tuple[dict[str, Any], bytes]:
    answer = channel.ask("run", stdin, timeout, argv=list(argv))
    return answer.header, answer.payload


def test_a_command_is_run(channel: Channel) -> None:
    """Input, both outputs and the exit code pass through, binary as they are."""
    header, payload = _run(channel, "sh", "-c", "cat; printf 'b\\0d' >&2; exit 3", stdin=b"\x00\xff")
    assert (header["code"], payload[: header["out"]], payload[header["out"] :]) == (3, b"\x00\xff", b"b\0d")
    assert not header["timed_out"]


def test_a_signal_is_told(channel: Channel) -> None:
    """A command that a signal ends has that signal's negative number for its code."""
    assert _run(channel, "sh", "-c", "kill -SEGV $$")[0]["code"] == -signal.SIGSEGV


def test_a_hang_is_bounded_and_leaves_nothing(channel: Channel) -> None:
    """A command past its deadline is killed with its process group, and the next command runs."""
    header, payload = _run(channel, "sh", "-c", "sleep 1000 & echo $!; wait", timeout=0.5)
    assert header["timed_out"]
    with contextlib.suppress(ProcessLookupError), os.fdopen(os.pidfd_open(int(payload))) as child:
        assert select.select([child], [], [], 20)[0], "the command's child lives on"
    assert _run(channel, "true")[0]["code"] == 0


def test_a_child_with_the_pipe_does_not_hold_the_answer(channel: Channel) -> None:
    """A command has ended when its own process has, though a child of its keeps the output open."""
    channel._grace = -980  # the tester loses patience long before the command's deadline
    header, payload = _run(channel, "sh", "-c", "sleep 1000 & echo $!", timeout=1000)
    os.kill(int(payload), signal.SIGKILL)
    assert (header["code"], header["timed_out"]) == (0, False)


def test_output_is_bounded(channel: Channel) -> None:
    """Of an output without end the first bytes are kept, and the deadline ends it."""
    header, payload = _run(channel, "sh", "-c", f"head -c {OUTPUT_LIMIT + 100_000} /dev/zero; echo done >&2")
    assert header["out"] == OUTPUT_LIMIT
    assert payload[header["out"] :] == b"done\n"


def test_files_round_trip_in_parts(channel: Channel, tmp_path: Path) -> None:
    """Parts of a file are written and read at their offsets, with the mode asked for; a new file replaces the old."""
    path = str(tmp_path / "made" / "file")
    channel.ask("put", b"old and longer", path=path, offset=0, mode=0o644)
    channel.ask("put", b"\x00\xff", path=path, offset=0, mode=0o600)
    channel.ask("put", b"tail", path=path, offset=2, mode=0o600)
    assert channel.ask("get", path=path, offset=1).payload == b"\xfftail"
    assert channel.ask("get", path=path, offset=6).payload == b""
    assert Path(path).stat().st_mode & 0o777 == 0o600


def test_a_started_process_stays_until_stopped(channel: Channel) -> None:
    """A process is started when it says `ready`, lives on, and is reaped when it is stopped."""
    started = channel.ask("start", b"echo fact; echo ready; sleep 1000", 20, argv=["sh"])
    pid = started.header["pid"]
    assert started.payload == b"fact\nready\n"
    assert Path(f"/proc/{pid}").exists()
    channel.ask("stop", pid=pid)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("script", [b"echo broken; exit 1", b"echo broken; sleep 1000"])
def test_what_is_never_ready_is_told(channel: Channel, script: bytes) -> None:
    """A process that ends, or hangs, before it is ready is an error that quotes it."""
    with pytest.raises(GuestError, match="broken"):
        channel.ask("start", script, 1, argv=["sh"])


@pytest.mark.parametrize(
    ("operation", "header"),
    [
        ("run", {"argv": ["/no/such/command"]}),
        ("run", {}),
        ("get", {"path": "/no/such/file", "offset": 0}),
        ("stop", {"pid": 2**22 + 1}),
        ("dance", {}),
    ],
)
def test_what_cannot_be_done_is_told(channel: Channel, operation: str, header: dict[str, Any]) -> None:
    """A request that fails is one error, after which the server answers as before."""
    with pytest.raises(GuestError, match=operation):
        channel.ask(operation, **header)
    assert _run(channel, "true")[0]["code"] == 0


def test_silence_is_bounded(server: tuple[Channel, subprocess.Popen[bytes]]) -> None:
    """A server that does not answer is a time-out, and its late answer is not taken for the next request's."""
    channel, process = server
    channel._grace = 0.2
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(GuestTimeoutError):
        channel.ask("run", timeout=0.1, argv=["echo", "late"])
    process.send_signal(signal.SIGCONT)
    channel._grace = 20
    assert _run(channel, "echo", "new")[1] == b"new\n"


def test_a_dead_server_is_told(server: tuple[Channel, subprocess.Popen[bytes]]) -> None:
    """A server that is gone is an error at once."""
    channel, process = server
    process.kill()
    process.wait()
    with pytest.raises(GuestError, match="gone"):
        channel.ask("run", argv=["true"])
