"""The sock_diag wire format, torn, hostile and well formed."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.sensors.sock_diag import messages as m

UDP = next(table for table in m.BULK_TABLES if table.name == "udp_diag")
words = st.integers(0, 0xFFFFFFFF)
instructions = st.lists(
    st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.integers(0, 0xFF), words), max_size=20
)


def attribute(kind: int, value: bytes) -> bytes:
    """A netlink attribute, padded."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(payload: bytes, kind: int = m.SOCK_DIAG_BY_FAMILY) -> bytes:
    """A netlink message, padded."""
    return struct.pack("=IHHII", 16 + len(payload), kind, 2, 1, 0) + payload + bytes(-len(payload) % 4)


def udp(inode: int, charge: int, *before: bytes) -> bytes:
    """An inet_diag message whose memory attribute follows some others."""
    memory = attribute(7, struct.pack("=9I", 1, 2, 3, 4, 5, 6, charge, 8, 9))
    return bytes(68) + struct.pack("=I", inode) + b"".join(before) + memory


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Whatever arrives as a datagram is either taken apart or refused as torn; nothing else can happen."""
    try:
        for _, payload in m.messages(data):
            m.packet_socket(payload)
            m.inode_and_memory(payload, UDP)
    except m.TornError:
        pass
    m.sort_by_memory(data, UDP, m.OptionMemory())


@given(
    st.tuples(words, st.sampled_from([2, 3, 10]), st.integers(0, 0xFFFF)), st.tuples(words, words, words), instructions
)
def test_a_packet_socket_comes_back_as_it_was_told(
    first: tuple[int, int, int], second: tuple[int, int, int], program: list[tuple[int, int, int, int]]
) -> None:
    """Every field of a packet_diag message, and its filter, is read from its place."""
    (inode, kind, protocol), (interface, low, high) = first, second
    code = b"".join(struct.pack("=HBBI", *each) for each in program)
    payload = struct.pack("=BBHIII", 17, kind, protocol, inode, low, high)
    payload += attribute(m.PACKET_DIAG_INFO, struct.pack("=5I", interface, 0, 0, 0, 0))
    payload += attribute(m.PACKET_DIAG_FILTER, code)
    ((_, received),) = m.messages(message(payload))
    found = m.packet_socket(received)
    assert (found.inode, found.kind, found.protocol, found.interface_index) == (inode, kind, protocol, interface)
    assert (found.cookie, found.program) == (low | high << 32, tuple(program))


@given(st.lists(st.tuples(words, words), min_size=1, max_size=30), st.booleans())
def test_the_fast_way_and_the_plain_way_agree(sockets: list[tuple[int, int]], uneven: bool) -> None:
    """Sorting a whole datagram at once puts each socket where reading its message alone would put it."""
    extra = [attribute(20, b"abcd")] if uneven else []
    payloads = [udp(inode, charge, *(extra if n == 0 else ())) for n, (inode, charge) in enumerate(sockets)]
    datagram = b"".join(map(message, payloads))
    memory = m.OptionMemory()
    quick = m.sort_by_memory(datagram, UDP, memory)
    plain = [m.inode_and_memory(payload, UDP) for _, payload in m.messages(datagram)]
    assert plain == sockets
    assert quick or (uneven and len(sockets) > 1)
    if quick:
        assert memory.clear == {inode for inode, charge in sockets if not charge}
        assert memory.charged == {inode for inode, charge in sockets if charge}


def test_like_lengths_with_unlike_places_are_not_sorted_at_once() -> None:
    """A message of the same length whose memory attribute stands elsewhere is not misread by another's layout."""
    one = udp(5, 0, attribute(20, b"abcd"))
    memory = attribute(7, struct.pack("=9I", 0, 0, 0, 0, 0, 0, 77, 0, 0))
    other = bytes(68) + struct.pack("=I", 6) + memory + attribute(20, b"abcd")
    assert len(one) == len(other)
    assert not m.sort_by_memory(message(one) + message(other), UDP, m.OptionMemory())


@pytest.mark.parametrize(
    ("payload", "expected"), [(struct.pack("=i", -2), 2), (struct.pack("=i", 0), 0), (struct.pack("=ii", -13, 9), 13)]
)
def test_a_verdict_is_an_errno(payload: bytes, expected: int) -> None:
    """The kernel's negative error number is told as a positive one."""
    assert m.error_of(payload) == expected


def test_an_oversized_filter_is_refused() -> None:
    """A filter longer than the kernel allows, or not of whole instructions, is torn data."""
    head = struct.pack("=BBHIII", socket.AF_PACKET, 3, 3, 1, 0, 0)
    for code in (bytes(8 * 4097), bytes(12)):
        with pytest.raises(m.TornError):
            m.packet_socket(head + attribute(m.PACKET_DIAG_FILTER, code))
