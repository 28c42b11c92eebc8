"""The kernel itself is the second source: what it accepts is what the evaluator and the path conditions say."""

import ctypes
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beat_bridge.cbpf.check import obstacle
from beat_bridge.cbpf.evaluate import Packet, run
from beat_bridge.cbpf.follow import follow
from beat_bridge.cbpf.link import Link
from beat_bridge.model.filters import Instruction, Program
from tests.beat_bridge.cbpf.assembler import packets, programs

SO_ATTACH_FILTER = 26
pytestmark = pytest.mark.live


class Pair:
    """A pair of datagram sockets, the second of which may carry a filter; delivery is immediate."""

    def __init__(self) -> None:
        self.sender, self.receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.receiver.setblocking(False)

    def attach(self, program: Program) -> None:
        """Attach a program to the receiver; OSError where the kernel refuses it."""
        records = b"".join(struct.pack("=HBBI", i.code, i.jt, i.jf, i.k) for i in program)
        buffer = ctypes.create_string_buffer(records, max(len(records), 1))
        descriptor = struct.pack("@HP", len(program), ctypes.addressof(buffer))
        self.receiver.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, descriptor)

    def accepted(self, data: bytes) -> int | None:
        """How many bytes of a packet come through, or None where it is dropped."""
        self.sender.send(data)
        try:
            return len(self.receiver.recv(0x10000))
        except BlockingIOError:
            return None


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """One pair for all programs: attaching replaces the filter."""
    made = Pair()
    yield made
    made.sender.close()
    made.receiver.close()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(program=programs(), datas=st.lists(packets(), min_size=1, max_size=12))
def test_the_kernel_accepts_what_the_evaluator_and_the_paths_accept(
    pair: Pair, program: Program, datas: list[bytes]
) -> None:
    """For any program and packet, kernel, evaluator and path conditions agree."""
    pair.attach(program)
    following = follow(program, Link.MESSAGE)
    exact = following.complete and all(path.exact for path in following.paths)
    for data in datas:
        packet = Packet(data=data)
        returned = run(program, packet)
        assert pair.accepted(data) == (min(returned, len(data)) if returned else None)
        met = any(path.holds(packet) for path in following.paths)
        assert met == (returned != 0) or (met and not exact)


@settings(max_examples=300, deadline=None)
@given(
    records=st.lists(
        st.tuples(
            st.one_of(st.integers(0, 0xB1), st.sampled_from([0x06, 0x15, 0x05, 0x60, 0x02, 0x20])),
            st.integers(0, 4),
            st.integers(0, 4),
            st.one_of(st.integers(0, 40), st.integers(0xFFFFF000, 0xFFFFF044), st.just(0xFFFFFFFF)),
        ),
        max_size=6,
    )
)
def test_the_kernel_attaches_what_the_check_lets_pass(pair: Pair, records: list[tuple[int, int, int, int]]) -> None:
    """`obstacle` refuses exactly what the kernel refuses to attach."""
    program = (*(Instruction(*record) for record in records), Instruction(0x06, 0, 0, 1))
    try:
        pair.attach(program)
        refused = False
    except OSError:
        refused = True
    assert bool(obstacle(program)) == refused
