"""Which guest-physical addresses lie where in a file that holds a guest's RAM.

QEMU keeps RAM in one piece; the guest sees it in two, with the hole for PCI devices below 4 GiB between them. Where the
first piece ends depends on machine type, RAM size and options, so the hypervisor's own account (`info mtree -f`) goes
before the rules of the machine types.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory import Region

FOUR_GIB = 1 << 32
MAX_ADDRESS = 1 << 52
"""No x86-64 processor has more physical address bits."""
_RAM_LINE = re.compile(
    r"^\s*([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, ram\): (\S+)(?: @([0-9a-f]{16}))?(?: KVM)?\s*$"
)


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """One stretch of RAM and where its bytes begin in the file."""

    start: int
    """Guest-physical."""
    size: int
    """Bytes."""
    offset: int
    """Of its first byte, in the file."""

    @property
    def end(self) -> int:
        """The first guest-physical address behind it."""
        return self.start + self.size

    @property
    def region(self) -> Region:
        """The same without the file."""
        return Region(self.start, self.size)


Layout = tuple[Extent, ...]
"""Ascending by guest-physical address, without overlaps."""


def checked(extents: Iterable[Extent], source: str) -> Layout:
    """Put extents in order, joining those that continue each other.

    Raises:
        DoorwatchError: They overlap, are empty or lie beyond any physical address; the line names the source.
    """
    joined: list[Extent] = []
    for extent in sorted(extents):
        if extent.size <= 0 or extent.start < 0 or extent.offset < 0 or extent.end > MAX_ADDRESS:
            raise DoorwatchError(f"{source}: {extent.start:#x}, {extent.size} bytes: no possible piece of RAM")
        if joined and extent.start < joined[-1].end:
            raise DoorwatchError(f"{source}: pieces of RAM overlap at {extent.start:#x}")
        last = joined[-1] if joined else None
        if last and last.end == extent.start and last.offset + last.size == extent.offset:
            joined[-1] = Extent(last.start, last.size + extent.size, last.offset)
        else:
            joined.append(extent)
    if not joined:
        raise DoorwatchError(f"{source}: no RAM in it")
    return tuple(joined)


def fitting(layout: Layout, size: int, source: str) -> Layout:
    """The same layout, if a file of so many bytes holds all of it.

    Raises:
        DoorwatchError: It does not.
    """
    need = max(extent.offset + extent.size for extent in layout)
    if size < need:
        raise DoorwatchError(f"{source} has {size} bytes, but the guest's memory layout needs {need}: is it whole?")
    return layout


def flat(size: int) -> Layout:
    """RAM in one piece from address 0: small guests, and raw dumps that keep the hole."""
    return checked([Extent(0, size, 0)], "memory layout")


def split(size: int, low: int) -> Layout:
    """`low` bytes from address 0, the rest from 4 GiB."""
    if size <= low:
        return flat(size)
    return checked([Extent(0, low, 0), Extent(FOUR_GIB, size - low, low)], "memory layout")


def q35(size: int) -> Layout:
    """QEMU's q35 without `max-ram-below-4g` (hw/i386/pc_q35.c, pc_q35_init)."""
    return split(size, 0x8000_0000 if size >= 0xB000_0000 else 0xB000_0000)


def i440fx(size: int) -> Layout:
    """QEMU's pc (i440fx) without `max-ram-below-4g` (hw/i386/pc_piix.c, pc_init1)."""
    return split(size, 0xC000_0000 if size >= 0xE000_0000 else 0xE000_0000)


def from_mtree(text: str, block: str) -> Layout:
    """Where one RAM block lies, from the monitor's `info mtree -f`.

    Args:
        text: The whole answer.
        block: The memory backend's id (`pc.ram` where the guest has none of its own).

    Raises:
        DoorwatchError: The block does not occur in the flat view of the system's memory.
    """
    extents = []
    in_system = False
    for line in text.splitlines():
        if line.startswith("FlatView"):
            in_system = False
        elif line.strip().startswith('AS "memory"'):
            in_system = True
        elif in_system and (match := _RAM_LINE.match(line)) and match[3] == block:
            start, last, offset = int(match[1], 16), int(match[2], 16), int(match[4] or "0", 16)
            extents.append(Extent(start, last - start + 1, offset))
    return checked(extents, f"memory block {block} in QEMU's memory tree")
