"""Finding a page anywhere in a guest's RAM by how it begins."""

from collections.abc import Iterator

from beat_bridge.sensors.hypervisor.memory import MemoryFault, PhysicalMemory, Region

PAGE = 4096
CHUNK = 4 << 20
"""Bytes read at once."""


def pages_beginning_with(memory: PhysicalMemory, beginning: bytes) -> Iterator[int]:
    """Guest-physical addresses of the pages that begin with these bytes (a page's worth at most), ascending.

    Looking at page beginnings only is as fast as RAM can be read; a search of every byte takes several times as long.
    Pages that cannot be read are passed over.
    """
    for region in memory.populated():
        start = -(-region.start // PAGE) * PAGE
        for at in range(start, region.end, CHUNK):
            yield from _search(memory, beginning, Region(at, min(CHUNK, region.end - at)))


def _search(memory: PhysicalMemory, beginning: bytes, part: Region) -> Iterator[int]:
    """The pages of a part; where it cannot be read as a whole, of each half of it, down to a page."""
    try:
        data = memory.read(part.start, part.size)
    except MemoryFault:
        if part.size > PAGE:
            half = part.size // 2 // PAGE * PAGE or PAGE
            yield from _search(memory, beginning, Region(part.start, half))
            yield from _search(memory, beginning, Region(part.start + half, part.size - half))
        return
    firsts = data[::PAGE]
    page = firsts.find(beginning[:1])
    while page >= 0:
        if data.startswith(beginning, page * PAGE):
            yield part.start + page * PAGE
        page = firsts.find(beginning[:1], page + 1)
