"""Finding bytes anywhere in a guest's RAM."""

from collections.abc import Iterator

from beat_bridge.sensors.hypervisor.memory import MemoryFault, PhysicalMemory, Region

PAGE = 4096
CHUNK = 4 << 20
"""Bytes read at once: large enough that the search is as fast as memory, small enough to stay in the cache."""


def occurrences(memory: PhysicalMemory, needle: bytes) -> Iterator[int]:
    """Guest-physical addresses at which the bytes stand, ascending.

    Pages that cannot be read are passed over. What crosses from one stretch of populated RAM into another is not found.
    """
    for region in memory.populated():
        for at in range(region.start, region.end, CHUNK):
            yield from _search(memory, needle, Region(at, min(CHUNK, region.end - at)), region.end)


def _search(memory: PhysicalMemory, needle: bytes, part: Region, end: int) -> Iterator[int]:
    """What begins in a part; where that cannot be read as a whole, in each half of it, down to a page."""
    try:
        data = memory.read(part.start, min(part.size + len(needle) - 1, end - part.start))
    except MemoryFault:
        if part.size > PAGE:
            half = part.size // 2
            yield from _search(memory, needle, Region(part.start, half), end)
            yield from _search(memory, needle, Region(part.start + half, part.size - half), end)
        elif end > part.end:  # perhaps only what follows this page cannot be read
            yield from _search(memory, needle, part, part.end)
        return
    found = data.find(needle)
    while found >= 0:
        yield part.start + found
        found = data.find(needle, found + 1)
