"""Where guest-physical addresses lie in a RAM file."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory.layout import Extent, checked, flat, from_mtree, i440fx, q35, split

GIB = 1 << 30
MTREE = """\
FlatView #0
 AS "I/O", root: io
 Root memory region: io
  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan

FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-00000000000bffff (prio 0, ram): ram0
  00000000000c0000-00000000000dffff (prio 1, rom): ram0 @00000000000c0000
  00000000000e0000-00000000000fffff (prio 1, rom): ram0 @00000000000e0000
  0000000000100000-000000007fffffff (prio 0, ram): ram0 @0000000000100000
  00000000fd000000-00000000fdffffff (prio 1, ram): vga.vram
  00000000fee00000-00000000feefffff (prio 4096, i/o): apic-msi
  0000000100000000-000000017fffffff (prio 0, ram): ram0 @0000000080000000 KVM

FlatView #2
 AS "other", root: other
  0000000000000000-ffffffffffffffff (prio 0, ram): ram0
"""


@pytest.mark.parametrize(
    ("size", "low"),
    [(GIB // 2, GIB // 2), (2 * GIB, 2 * GIB), (0xB000_0000 - 4096, 0xB000_0000 - 4096), (4 * GIB, 2 * GIB)],
)
def test_q35_splits_at_the_size_its_source_says(size: int, low: int) -> None:
    """Up to 2.75 GiB a q35 guest has its RAM in one piece; from there on, 2 GiB of it lie below the hole."""
    layout = q35(size)
    assert layout[0] == Extent(0, low, 0)
    assert layout[1:] == ((Extent(4 * GIB, size - low, low),) if size > low else ())


def test_i440fx_splits_at_three_gib() -> None:
    """A pc guest of 8 GiB has three of them below the hole."""
    assert i440fx(8 * GIB) == (Extent(0, 3 * GIB, 0), Extent(4 * GIB, 5 * GIB, 3 * GIB))


def test_the_memory_tree_is_read_as_the_monitor_prints_it() -> None:
    """Of the system's flat view the block's RAM lines count; ROM shadows, other blocks and other views do not."""
    assert from_mtree(MTREE, "ram0") == (
        Extent(0, 0xC0000, 0),
        Extent(0x100000, 2 * GIB - 0x100000, 0x100000),
        Extent(4 * GIB, 2 * GIB, 2 * GIB),
    )


def test_a_block_that_is_not_in_the_tree_is_named() -> None:
    """Asking for another block's RAM says which block was not there."""
    with pytest.raises(DoorwatchError, match=r"memory block pc\.ram .*no RAM"):
        from_mtree(MTREE, "pc.ram")


@given(st.integers(1, 64 * GIB), st.integers(1, 4 * GIB))
def test_a_split_loses_nothing(size: int, low: int) -> None:
    """Whatever the sizes, each byte of the file has exactly one guest-physical address."""
    layout = split(size, low)
    assert sum(extent.size for extent in layout) == size
    offsets = [(extent.offset, extent.offset + extent.size) for extent in layout]
    assert offsets[0][0] == 0
    assert all(before[1] == after[0] for before, after in pairwise(offsets))


@pytest.mark.parametrize(
    "extents",
    [
        [],
        [Extent(0, 0, 0)],
        [Extent(0, 8192, 0), Extent(4096, 4096, 8192)],
        [Extent(-4096, 4096, 0)],
        [Extent(1 << 52, 4096, 0)],
        [Extent(0, 4096, -1)],
    ],
)
def test_impossible_layouts_are_refused(extents: list[Extent]) -> None:
    """Nothing, nothing of size, overlaps, and addresses that no processor has are refused with the source's name."""
    with pytest.raises(DoorwatchError, match=r"^somewhere: "):
        checked(extents, "somewhere")


def test_pieces_that_continue_each_other_become_one() -> None:
    """What is contiguous in the guest and in the file is one extent, so that a read need not be put together."""
    assert checked([Extent(4096, 4096, 4096), Extent(0, 4096, 0)], "x") == flat(8192)
