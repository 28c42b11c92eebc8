"""Which physical memory the processor takes an address range from.

Not where the kernel was loaded, but what its page tables say now: an entry that leads elsewhere swaps code without a
write to it.
"""

import struct
from collections.abc import Iterator

from drgn import Program

from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.memory import MemoryFault

_ENTRIES = struct.Struct("<512Q")
_ENTRY = struct.Struct("<Q")
_FRAME = 0x000F_FFFF_FFFF_F000
_PRESENT, _LARGE = 1 << 0, 1 << 7
_LARGE_PAGE, _PAGE = 1 << 21, 1 << 12


def mapped(prog: Program, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The physical memory behind a range.

    Args:
        prog: The guest.
        start: First address, at the beginning of a page.
        end: Behind the last.

    Yields:
        (virtual address, physical address, bytes), ascending; what is not mapped is left out. Stretches that touch both
        ways are one.
    """
    run: tuple[int, int, int] | None = None
    for virtual, physical, size in _pieces(prog, start, end):
        if run is not None and run[0] + run[2] == virtual and run[1] + run[2] == physical:
            run = (run[0], run[1], run[2] + size)
            continue
        if run is not None:
            yield run
        run = (virtual, physical, size)
    if run is not None:
        yield run


def _pieces(prog: Program, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    at = start
    while at < end:
        view(prog).deadline.check()
        stop = min((at | (_LARGE_PAGE - 1)) + 1, end)
        entry = _middle_entry(prog, at)
        if entry & _PRESENT and entry & _LARGE:
            base = entry & _FRAME & -_LARGE_PAGE
            yield at, base + at % _LARGE_PAGE, stop - at
        elif entry & _PRESENT:
            entries = _ENTRIES.unpack(view(prog).memory.read(entry & _FRAME, _ENTRIES.size))
            for page in range(at, stop, _PAGE):
                found = entries[page >> 12 & 511]
                if found & _PRESENT:
                    yield page, found & _FRAME, min(_PAGE, stop - page)
        at = stop


def _middle_entry(prog: Program, address: int) -> int:
    """The entry for 2 MiB; made up where one above it maps more; 0 where nothing is mapped."""
    memory, space, profile = view(prog).memory, view(prog).space, view(prog).profile
    table = profile.physical(profile.address("init_top_pgt"))
    for shift in range(12 + 9 * (space.levels - 1), 20, -9):
        try:
            (entry,) = _ENTRY.unpack(memory.read(table + 8 * (address >> shift & 511), 8))
        except MemoryFault:
            return 0
        if shift == 21 or not entry & _PRESENT:
            return int(entry) if entry & _PRESENT else 0
        if entry & _LARGE:
            inside = address & ((1 << shift) - 1) & -_LARGE_PAGE
            return int((entry & _FRAME & -(1 << shift)) + inside | _PRESENT | _LARGE)
        table = entry & _FRAME
    return 0
