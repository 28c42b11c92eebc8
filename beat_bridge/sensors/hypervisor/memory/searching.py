"""Finding bytes anywhere in a guest's RAM."""

from collections.abc import Iterator

from beat_bridge.sensors.hypervisor.memory import MemoryFault, PhysicalMemory

_CHUNK = 4 << 20
"""Bytes read at once: large enough that the search is as fast as memory, small enough to stay in the cache."""


def occurrences(memory: PhysicalMemory, needle: bytes) -> Iterator[int]:
    """Guest-physical addresses at which the bytes stand, ascending.

    RAM that cannot be read is passed over in steps of a chunk; what crosses the edge of two stretches of data is found
    only where both were populated.
    """
    overlap = len(needle) - 1
    for region in memory.populated():
        at = region.start
        while at < region.end:
            size = min(_CHUNK + overlap, region.end - at)
            try:
                data = memory.read(at, size)
            except MemoryFault:
                data = b""
            found = data.find(needle)
            while found >= 0:
                yield at + found
                found = data.find(needle, found + 1)
            at += _CHUNK
