"""One look at all sockets and filters of a busy host, beside `ss -0pb` on the same load."""

import gc
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from beat_bridge.sensors.host.sockets import look_at_sockets
from tests.bench.figures import Figure, in_turn
from tests.lab import processes as lab

PROCESSES = 1000
SOCKETS_EACH = 25
_TARGET_SECONDS = 0.150


def figures() -> Sequence[Figure]:
    """Bound sockets, whose tables say at once that they carry no filter; and unbound ones, which must each be asked."""
    return [_figure("bound", bound=True), _figure("unbound (each asked)", bound=False)]


def _figure(name: str, bound: bool) -> Figure:
    with _load(bound):
        found = look_at_sockets()
        ours, theirs = in_turn(look_at_sockets, _ss, runs=11)
    examined = next(each.examined for each in found.coverage if each.sensor == "socket_filters")
    within = ours <= _TARGET_SECONDS and ours <= theirs
    return Figure(
        name=f"filter and socket scan, {PROCESSES:,} processes, {PROCESSES * SOCKETS_EACH:,} {name} sockets",
        value=ours * 1000,
        unit="ms",
        target="<= 150 ms and <= ss" if bound else "",
        met=within if bound else None,
        peer="ss -0pb",
        peer_value=theirs * 1000,
        note=f"{examined:,} sockets judged; ss shows packet sockets only",
    )


def _ss() -> None:
    subprocess.run(["ss", "-0pb"], stdout=subprocess.DEVNULL, check=True)


@contextmanager
def _load(bound: bool) -> Iterator[None]:
    """Processes that hold sockets in a user and network namespace of their own, ended with the block."""
    ready, tell = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            os.close(ready)
            os.setsid()
            lab.die_with_parent()
            lab.enter_own_namespaces()
            for number in range(PROCESSES):
                if os.fork() == 0:
                    _hold(number, bound, tell)
            signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    try:
        for _ in range(PROCESSES):
            assert os.read(ready, 1), "the load could not be started"
        yield
    finally:
        os.killpg(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        while os.read(ready, 4096):
            pass  # until the last one has let go of the pipe
        os.close(ready)


def _hold(number: int, bound: bool, tell: int) -> None:
    """Open sockets and sleep."""
    try:
        gc.disable()
        lab.die_with_parent()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * SOCKETS_EACH)), hard))
        held = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SOCKETS_EACH)]
        for each, port in zip(held, range(1024 + number * SOCKETS_EACH, 65536), strict=False):
            if bound:
                each.bind(("127.0.0.1", port))
        if number == 0:
            held.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
            lab.attach(held[-1], lab.BPF_MAGIC_PACKET)
        os.write(tell, b"x")
        signal.pause()
    finally:
        os._exit(1)
