"""Page tables are followed as the processor follows them, however a guest arranges them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.sensors.hypervisor.memory import MemoryFault
from beat_bridge.sensors.hypervisor.memory.paging import AddressSpace, Deadline, OutOfTimeError
from tests.beat_bridge.sensors.hypervisor.kernel.parts import ROOT, Bytes

_PAGE = 4096
_HALVES = {4: (1 << 47, 48), 5: (1 << 56, 57)}


def _space(memory: Bytes, levels: int = 4) -> AddressSpace:
    return AddressSpace(memory, ROOT, levels, Deadline())


def _canonical(address: int, levels: int) -> int:
    half, bits = _HALVES[levels]
    address %= 1 << bits
    return address | ((1 << 64) - (1 << bits)) if address & half else address


def _map(memory: Bytes, levels: int, address: int, frame: int, shift: int) -> None:
    """Map one page of 1 << shift bytes, with new tables behind those that are there."""
    table = ROOT
    for level in range(levels - 1, -1, -1):
        at = table + 8 * (address >> (12 + 9 * level) & 511)
        if 12 + 9 * level == shift:
            # of a large page bit 12 is no address (PAT), and of any page bit 63 (NX)
            memory.put(at, frame | 1 | (0x1080 if level else 0) | 1 << 63)
            return
        entry = int.from_bytes(memory.ram[at : at + 8], "little")
        if not entry:
            memory.ram += bytes(_PAGE)
            entry = len(memory.ram) - _PAGE
            memory.put(at, entry | 0x67)
        table = entry & ~0xFFF


@given(
    levels=st.sampled_from([4, 5]),
    address=st.integers(0, (1 << 57) - 1),
    shift=st.sampled_from([12, 21, 30]),
    number=st.integers(0, 1 << 21),
    offset=st.integers(0, (1 << 30) - 1),
)
def test_pages_of_every_size_are_found(levels: int, address: int, shift: int, number: int, offset: int) -> None:
    """An address within a page of 4 KiB, 2 MiB or 1 GiB leads to the same offset within its frame."""
    memory = Bytes(2 * _PAGE)
    start = _canonical(address >> shift << shift, levels)
    frame = number << shift
    _map(memory, levels, start, frame, shift)
    within = offset % (1 << shift)
    assert _space(memory, levels).translate(start + within) == frame + within


def test_no_page_is_larger_than_a_gigabyte() -> None:
    """In a table of the fourth level the bit that makes a large page below it means nothing."""
    memory = Bytes(2 * _PAGE)
    _map(memory, 4, 3 << 39, 0x4000_0000, 30)
    at = ROOT + 8 * 3
    memory.ram[at] |= 0x80
    assert _space(memory).translate(3 << 39 | 5) == 0x4000_0005


@given(address=st.integers(0, (1 << 64) - 1), words=st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=64))
def test_wild_tables_only_fault(address: int, words: list[int]) -> None:
    """Tables of random words, and tables that contain themselves, give a translation or a fault, nothing else."""
    memory = Bytes(4 * _PAGE)
    for place in range(0, len(memory.ram), 8):
        memory.put(place, words[place // 8 % len(words)])
    memory.put(ROOT + 8 * (address >> 39 & 511), ROOT | 1)
    try:
        found = _space(memory).translate(address)
    except MemoryFault:
        return
    assert found % _PAGE == address % _PAGE


def test_a_read_across_pages_joins_them() -> None:
    """Neighbouring virtual pages in distant frames are read as one stretch; a gap faults."""
    memory = Bytes(2 * _PAGE)
    _map(memory, 4, 0x40_0000, 0x1_0000, 12)
    _map(memory, 4, 0x40_1000, 0x2_0000, 12)
    memory.ram += bytes(0x3_0000 - len(memory.ram))
    memory.ram[0x1_0FFE:0x1_1000], memory.ram[0x2_0000:0x2_0002] = b"ab", b"cd"
    space = _space(memory)
    assert space.read(0x40_0FFE, 4) == b"abcd"
    with pytest.raises(MemoryFault, match="0x402000"):
        space.read(0x40_1FFE, 4)


@pytest.mark.parametrize("address", [1 << 47, (1 << 64) - (1 << 47) - 1, 1 << 63])
def test_addresses_no_processor_takes_fault(address: int) -> None:
    """What is not canonical faults before any table is asked."""
    with pytest.raises(MemoryFault, match="canonical"):
        _space(Bytes(2 * _PAGE)).translate(address)


def test_a_mapping_that_changes_is_seen_after_forgetting() -> None:
    """Within a pass one mapping holds; the next pass sees the new one."""
    memory = Bytes(2 * _PAGE)
    _map(memory, 4, 0x40_0000, 0x1_0000, 12)
    space = _space(memory)
    assert space.translate(0x40_0000) == 0x1_0000
    _map(memory, 4, 0x40_0000, 0x2_0000, 12)
    assert space.translate(0x40_0000) == 0x1_0000
    space.forget()
    assert space.translate(0x40_0000) == 0x2_0000


def test_no_read_outlasts_the_pass() -> None:
    """Once the time is spent, every read says so."""
    memory = Bytes(2 * _PAGE)
    deadline = Deadline()
    deadline.set(-1)
    with pytest.raises(OutOfTimeError):
        AddressSpace(memory, ROOT, 4, deadline).read(0x40_0000, 8)
