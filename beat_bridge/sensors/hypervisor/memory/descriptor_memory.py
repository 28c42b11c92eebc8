"""Memory that lies behind a file descriptor at known offsets: what four of the five backends are.

Read with pread(2), never mapped: a RAM file that shrinks under a mapping kills the reader with SIGBUS, and reading a
hole of a tmpfs file through a mapping makes the host allocate the page, until looking at an idle guest has cost its
whole size. pread does neither.
"""

import errno
import os
from bisect import bisect_right
from collections.abc import Sequence

from beat_bridge.sensors.hypervisor.memory import MAX_READ, MemoryFault, Region
from beat_bridge.sensors.hypervisor.memory.layout import Extent, Layout
from beat_bridge.sensors.hypervisor.memory.pausing import Pauser

MAX_STRETCHES = 1 << 20
"""Of data between holes that are told apart; a file in more pieces is taken as a whole."""


class DescriptorMemory:
    """A PhysicalMemory over one open file, which it owns."""

    def __init__(self, descriptor: int, name: str, layout: Layout, pauser: Pauser) -> None:
        self._descriptor = descriptor
        self._name = name
        self._layout = layout
        self._starts = [extent.start for extent in layout]
        self._pauser = pauser

    def read(self, address: int, size: int) -> bytes:
        """As PhysicalMemory."""
        extent = self._layout[bisect_right(self._starts, address) - 1]
        # below the first extent the index is -1 and the last extent answers: its start is above the address
        skip = address - extent.start
        if skip < 0 or size < 0 or size > MAX_READ or skip + size > extent.size:
            return self._read_across(address, size)
        return self._pread(address, size, extent.offset + skip)

    def _read_across(self, address: int, size: int) -> bytes:
        """A read that begins in one extent and goes on in the next, if they touch."""
        if not 0 <= size <= MAX_READ:
            raise MemoryFault(f"{size} bytes at {address:#x}: no read is larger than {MAX_READ} bytes")
        parts = []
        at, end = address, address + size
        while at < end:
            extent = self._layout[bisect_right(self._starts, at) - 1]
            if not extent.start <= at < extent.end:
                raise MemoryFault(f"{self._name}: the guest has no RAM at {at:#x}")
            count = min(end, extent.end) - at
            parts.append(self._pread(at, count, extent.offset + at - extent.start))
            at += count
        return b"".join(parts)

    def _pread(self, address: int, size: int, offset: int) -> bytes:
        try:
            data = os.pread(self._descriptor, size, offset)
        except (OSError, OverflowError) as error:
            raise MemoryFault(f"{self._name}: {size} bytes at {address:#x}: {error}") from error
        if len(data) != size:
            raise MemoryFault(f"{self._name}: ends before {address + size:#x}: it shrank, or the guest is gone")
        return data

    def regions(self) -> Sequence[Region]:
        """As PhysicalMemory."""
        return [extent.region for extent in self._layout]

    def populated(self) -> Sequence[Region]:
        """As PhysicalMemory: holes of a sparse file are left out (lseek(2), SEEK_DATA)."""
        found: list[Region] = []
        for extent in self._layout:
            try:
                found += self._data(extent, MAX_STRETCHES - len(found))
            except OSError:  # not a file that knows holes
                found.append(extent.region)
        return found

    def _data(self, extent: Extent, limit: int) -> list[Region]:
        found: list[Region] = []
        at, end = extent.offset, extent.offset + extent.size
        while at < end:
            try:
                begin = os.lseek(self._descriptor, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole up to the end of the file
                    break
                raise
            if begin >= end:
                break
            stop = min(os.lseek(self._descriptor, begin, os.SEEK_HOLE), end)
            if len(found) == limit:
                return [extent.region]
            found.append(Region(extent.start + begin - extent.offset, stop - begin))
            at = stop
        return found

    def refresh(self) -> None:
        """As PhysicalMemory: nothing is cached here."""

    def pause(self) -> None:
        """As PhysicalMemory."""
        self._pauser.pause()

    def resume(self) -> None:
        """As PhysicalMemory."""
        self._pauser.resume()

    def close(self) -> None:
        """As PhysicalMemory."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
