"""Ways to hide a packet socket without a kernel module: each is found, or said to be where one could be.

docs/sensors.md tells the whole list.
"""

import ctypes
import mmap
import os
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.sensors.host import proc
from beat_bridge.sensors.host.sockets import SocketLook, look_at_sockets
from tests.lab import processes as lab

pytestmark = pytest.mark.live

_CLONE_NEWNS = 0x20000
_MS_BIND, _MS_REC_PRIVATE = 0x1000, 0x44000
_SYS_IO_URING_SETUP, _SYS_IO_URING_REGISTER = 425, 427
_SOL_PACKET, _PACKET_RX_RING = 263, 5
_libc = ctypes.CDLL(None, use_errno=True)
_kept: list[object] = []

Setup = Callable[[], Sequence[int]]


def _packet_socket() -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    lab.attach(made, lab.BPF_MAGIC_PACKET)
    return made


def _datagram_socket() -> socket.socket:
    """One that is in no table: it is bound to nothing yet."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    lab.attach(made, lab.BPF_MAGIC_PACKET)
    return made


def _in_thread(setup: Setup) -> Sequence[int]:
    """Run in a thread that then sleeps."""
    told: list[int] = []
    ready = threading.Event()

    def work() -> None:
        told.extend(setup())
        ready.set()
        threading.Event().wait()

    threading.Thread(target=work, daemon=True).start()
    assert ready.wait(20)
    return told


def _aside(setup: Setup) -> Sequence[int]:
    """Run in a network namespace of its own, which this process leaves again."""
    with Path("/proc/self/ns/net").open() as back:
        lab.unshare(lab.CLONE_NEWNET)
        told = setup()
        lab.set_namespace(back.fileno())
    return told


def _park(made: socket.socket) -> int:
    """Send a socket to a queue that nobody reads, and let go of it."""
    told = lab.inode(made)
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    socket.send_fds(left, [b"x"], [made.fileno()])
    made.close()
    _kept.extend((left, right))
    return told


def _register(made: socket.socket) -> int:
    """Hand a socket to an io_uring instance, and let go of its descriptor."""
    told = lab.inode(made)
    ring = _libc.syscall(_SYS_IO_URING_SETUP, 8, ctypes.create_string_buffer(120))
    assert ring >= 0
    files = (ctypes.c_int * 1)(made.fileno())
    assert _libc.syscall(_SYS_IO_URING_REGISTER, ring, 2, files, 1) == 0  # IORING_REGISTER_FILES
    made.close()
    return told


def _map(made: socket.socket) -> int:
    """Map a socket's receive ring, and let go of its descriptor."""
    told = lab.inode(made)
    made.setsockopt(_SOL_PACKET, _PACKET_RX_RING, struct.pack("=IIII", mmap.PAGESIZE, 1, mmap.PAGESIZE // 2, 2))
    _libc.mmap.restype = ctypes.c_void_p
    access, shared = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED
    assert _libc.mmap(None, mmap.PAGESIZE, access, shared, made.fileno(), 0) != ctypes.c_void_p(-1).value
    made.close()
    return told


def _held(make: Callable[[], socket.socket], *leave: int) -> Setup:
    def setup() -> Sequence[int]:
        for each in leave:
            lab.unshare(each)
        made = make()
        _kept.append(made)
        return [lab.inode(made)]

    return setup


def _bound_elsewhere() -> Sequence[int]:
    """A namespace kept only by a mount that nobody outside sees, with a socket that is in nobody's hands."""
    lab.unshare(_CLONE_NEWNS)
    _libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None)
    assert _libc.mount(b"tmpfs", b"/mnt", b"tmpfs", 0, None) == 0
    Path("/mnt/name").touch()

    def setup() -> Sequence[int]:
        assert _libc.mount(b"/proc/self/ns/net", b"/mnt/name", None, _MS_BIND, None) == 0
        return [_park(_packet_socket())]

    return _aside(setup)


def _kept_by_descriptor() -> Sequence[int]:
    def setup() -> Sequence[int]:
        os.open("/proc/self/ns/net", os.O_RDONLY)  # never closed
        return [_park(_packet_socket())]

    return _aside(setup)


_WITH_HOLDER: dict[str, Setup] = {
    "thread with descriptors and a network namespace of its own": lambda: _in_thread(
        _held(_packet_socket, lab.CLONE_FILES, lab.CLONE_NEWNET)
    ),
    "thread with descriptors of its own, socket in no table": lambda: _in_thread(
        _held(_datagram_socket, lab.CLONE_FILES)
    ),
    "registered with io_uring": lambda: [_register(_packet_socket())],
    "only its ring is mapped": lambda: [_map(_packet_socket())],
}
_WITHOUT_HOLDER: dict[str, Setup] = {
    "in flight": lambda: [_park(_packet_socket())],
    "in flight in a namespace kept by a descriptor": _kept_by_descriptor,
    "in flight in a namespace kept by another's mount": _bound_elsewhere,
}
_IN_NO_TABLE: dict[str, Setup] = {
    "registered with io_uring in a namespace nobody is in": lambda: _aside(lambda: [_register(_packet_socket())]),
    "in flight in a namespace nobody is in": lambda: _aside(lambda: [_park(_packet_socket())]),
    "in flight and in no table": lambda: [_park(_datagram_socket())],
}


def _look(setup: Setup) -> tuple[SocketLook, lab.Fixture]:
    with lab.running(setup) as fixture:
        return look_at_sockets(), fixture


@pytest.mark.parametrize("name", _WITH_HOLDER)
def test_it_is_found_with_its_filter_and_its_holder(name: str) -> None:
    """A socket that no descriptor of its process leads to is told with the program attached and with that process."""
    found, fixture = _look(_WITH_HOLDER[name])
    told = next(each for each in found.sockets if each.inode == fixture.told[0])
    assert [(i.code, i.jt, i.jf, i.k) for i in told.filter.program] == list(lab.BPF_MAGIC_PACKET)
    assert [holder.pid for holder in told.holders] == [fixture.pid]


@pytest.mark.parametrize("name", _WITHOUT_HOLDER)
def test_it_is_found_with_its_filter_and_nobody_holds_it(name: str) -> None:
    """A socket in flight is told with the program attached, and coverage names the process whose queue it may be in."""
    found, fixture = _look(_WITHOUT_HOLDER[name])
    told = next(each for each in found.sockets if each.inode == fixture.told[0])
    assert [(i.code, i.jt, i.jf, i.k) for i in told.filter.program] == list(lab.BPF_MAGIC_PACKET)
    assert told.holders == ()
    assert str(fixture.pid) in found.coverage[0].detail


@pytest.mark.parametrize("name", _IN_NO_TABLE)
def test_what_cannot_be_reached_is_a_gap_that_names_the_process(name: str) -> None:
    """Where the socket itself is out of reach, the filter sensor is not complete and says which process to look at."""
    found, fixture = _look(_IN_NO_TABLE[name])
    account = next(each for each in found.coverage if each.sensor == "socket_filters")
    assert account.status is CoverageStatus.PARTIAL
    assert str(fixture.pid) in account.detail
    assert account.missed >= 1


def test_descriptors_that_are_received_are_no_gap() -> None:
    """A socket that was sent and received again leaves no trace in coverage."""

    def setup() -> Sequence[int]:
        made = _packet_socket()
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        socket.send_fds(left, [b"x"], [made.fileno()])
        _kept.extend((left, right, made, socket.recv_fds(right, 1, 1)))
        return []

    found, fixture = _look(setup)
    assert all(str(fixture.pid) not in account.detail for account in found.coverage)


def test_a_mount_over_a_process_is_said() -> None:
    """A file system mounted over /proc/PID makes a line that names the process."""

    def setup() -> Sequence[int]:
        lab.unshare(_CLONE_NEWNS)
        before = len(proc.covered())
        assert _libc.mount(b"tmpfs", f"/proc/{os.getppid()}".encode(), b"tmpfs", 0, None) == 0
        return [before, int(str(os.getppid()) in proc.covered())]

    with lab.running(setup) as fixture:
        assert fixture.told == (0, 1)
