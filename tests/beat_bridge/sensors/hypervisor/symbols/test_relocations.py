"""What KASLR changes in an image."""

import struct
from array import array

from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.sensors.hypervisor.symbols.relocations import Relocations, read_relocations, relocate
from tests.beat_bridge.sensors.hypervisor.symbols.tables import BASE

END = BASE + 0x100_0000
PLACES = st.lists(st.integers(BASE, END - 1), unique=True, max_size=50).map(sorted)


def _run(places: list[int]) -> bytes:
    return struct.pack(f"<{len(places) + 1}I", 0, *(place & 0xFFFF_FFFF for place in places))


@given(PLACES, PLACES, PLACES, st.binary(max_size=3))
def test_the_three_runs_come_back(add64: list[int], subtract32: list[int], add32: list[int], pad: bytes) -> None:
    """The table that arch/x86/tools/relocs.c writes until 6.14, empty runs included, is read as it was written."""
    found = read_relocations(pad + _run(add64) + _run(subtract32) + _run(add32), BASE, END)
    assert found is not None
    assert [list(found.add32), list(found.subtract32), list(found.add64)] == [
        [place & 0xFFFF_FFFF for place in places] for places in (add32, subtract32, add64)
    ]


def test_since_6_15_there_are_two_runs() -> None:
    """Without per-CPU distances the table has two runs, and the third is not invented."""
    found = read_relocations(_run([BASE + 8]) + _run([BASE + 16]), BASE, END)
    assert found is not None
    assert [len(found.add32), len(found.subtract32), len(found.add64)] == [1, 0, 1]


def test_no_table_is_none() -> None:
    """A kernel that cannot be moved has no table, and what is none is not read as one."""
    assert read_relocations(b"", BASE, END) is None
    assert read_relocations(b"\x11" * 400, BASE, END) is None


@given(st.binary(max_size=400))
def test_any_tail_is_read_or_none(tail: bytes) -> None:
    """Whatever stands behind the image, all places read from it lie within the kernel."""
    found = read_relocations(tail, BASE, END)
    for places in (found.add32, found.subtract32, found.add64) if found else ():
        assert all(BASE & 0xFFFF_FFFF <= place < END & 0xFFFF_FFFF for place in places)


def test_the_slide_goes_where_the_table_says() -> None:
    """A 64-bit and a 32-bit address grow by the slide, a distance to a per-CPU variable shrinks, the rest stays."""
    content = struct.pack("<QIIQ", BASE, 0x8100_0000, 0x500, 7)
    base = BASE & 0xFFFF_FFFF
    moves = Relocations(*(struct_array([base + at]) for at in (8, 12, 0)))
    moved = relocate(content, BASE, moves, 0x20_0000)
    assert struct.unpack("<QIIQ", moved) == (BASE + 0x20_0000, 0x8120_0000, 0x500 - 0x20_0000 + (1 << 32), 7)


def struct_array(places: list[int]) -> "array[int]":
    """As the reader makes them."""
    return array("I", places)
