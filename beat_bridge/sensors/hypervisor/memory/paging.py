"""From virtual to physical addresses, by the guest's own page tables (Intel SDM volume 3, chapter 4)."""

import struct
from time import monotonic

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory import MemoryFault, PhysicalMemory

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
_FRAME = 0x000F_FFFF_FFFF_F000
"""Bits 12 to 51 of an entry: the physical address it leads to."""
_PRESENT, _LARGE = 1 << 0, 1 << 7
_ENTRY = struct.Struct("<Q")
_MOST_TABLES = 16_384
"""Page tables kept in one pass, 4 KiB each: a guest may weave any number of them."""
_MOST_PAGES = 4096
"""Pages kept in one pass: 16 MiB."""


class OutOfTimeError(DoorwatchError):
    """The time that one pass may take is spent."""


class Deadline:
    """When a pass must end; every read of guest memory asks it, so that no walk can outlast it."""

    def __init__(self) -> None:
        self.at = float("inf")

    def set(self, seconds: float) -> None:
        """Let the pass that begins now last so long."""
        self.at = monotonic() + seconds

    def check(self) -> None:
        """Go on, or stop the pass.

        Raises:
            OutOfTimeError: The time is spent.
        """
        if monotonic() > self.at:
            raise OutOfTimeError("the pass took longer than it may")


class AddressSpace:
    """What one set of page tables maps.

    Translations and pages are remembered until `forget()`: structures share pages, and a pass sees each page as it was
    at one moment.
    """

    def __init__(self, memory: PhysicalMemory, table: int, levels: int, deadline: Deadline | None = None) -> None:
        """Look through page tables.

        Args:
            memory: The guest's RAM.
            table: Physical address of the topmost table.
            levels: 4, or 5 where the kernel runs with LA57.
            deadline: Asked at every read; without one, reads may go on for ever.
        """
        self.memory = memory
        self.levels = levels
        self.deadline = deadline or Deadline()
        self._root = table & _FRAME
        self._frames: dict[int, int] = {}
        self._pages: dict[int, bytes] = {}
        self._tables: dict[int, bytes] = {}

    def forget(self) -> None:
        """Begin anew: the guest has gone on since."""
        self._frames.clear()
        self._pages.clear()
        self._tables.clear()

    def read(self, address: int, size: int) -> bytes:
        """The bytes at a virtual address.

        Raises:
            MemoryFault: Nothing is mapped there, or not all of it, or to where the guest has no RAM.
            OutOfTimeError: The pass has lasted too long.
        """
        self.deadline.check()
        offset = address & (PAGE_SIZE - 1)
        if offset + size <= PAGE_SIZE:
            page = address >> PAGE_SHIFT
            content = self._pages.get(page)
            if content is None:
                content = self._page(page)
            return content[offset : offset + size]
        parts = []
        while size > 0:
            step = min(size, PAGE_SIZE - offset)
            parts.append(self.read(address, step))
            address, size, offset = address + step, size - step, 0
        return b"".join(parts)

    def translate(self, address: int) -> int:
        """The physical address of a virtual one.

        Raises:
            MemoryFault: Nothing is mapped there.
        """
        page = address >> PAGE_SHIFT
        frame = self._frames.get(page)
        return (self._walk(page) if frame is None else frame) + (address & (PAGE_SIZE - 1))

    def _page(self, page: int) -> bytes:
        if len(self._pages) >= _MOST_PAGES:
            self._pages.clear()
        frame = self._frames.get(page)
        content = self._pages[page] = self.memory.read(self._walk(page) if frame is None else frame, PAGE_SIZE)
        return content

    def _walk(self, page: int) -> int:
        """Find the frame of a page, from the topmost table down."""
        top = 9 * self.levels
        if page >> (top - 1) not in (0, (1 << (53 - top)) - 1):
            raise MemoryFault(f"{page << PAGE_SHIFT:#x} is no canonical address")
        table = self._root
        for shift in range(top - 9, -1, -9):
            (entry,) = _ENTRY.unpack_from(self._table(table), (page >> shift & 511) * _ENTRY.size)
            if not entry & _PRESENT:
                raise MemoryFault(f"nothing is mapped at {page << PAGE_SHIFT:#x}")
            table = entry & _FRAME
            if shift in (9, 18) and entry & _LARGE:
                below = (1 << shift) - 1
                table = (table & ~(below << PAGE_SHIFT)) + ((page & below) << PAGE_SHIFT)
                break
        self._frames[page] = table
        return table

    def _table(self, address: int) -> bytes:
        table = self._tables.get(address)
        if table is None:
            if len(self._tables) >= _MOST_TABLES:
                raise MemoryFault("the page tables are larger than any kernel's")
            table = self._tables[address] = self.memory.read(address, PAGE_SIZE)
        return table
