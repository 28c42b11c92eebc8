"""A drgn program over memory made up for a test, through real page tables."""

import struct
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from drgn import Architecture, FaultError, Platform, Program

from beat_bridge.sensors.hypervisor.kernel.program import View
from beat_bridge.sensors.hypervisor.memory import MemoryFault, Region
from beat_bridge.sensors.hypervisor.memory.paging import AddressSpace, Deadline

ROOT = 0x1000
"""Physical address of the topmost page table."""
BASE = 0xFFFF_8880_0000_0000
"""Where the kernel's direct map begins without KASLR: virtual address of physical 0."""
WORD = struct.Struct("<Q")


class Bytes:
    """A guest whose RAM is a bytearray from physical address 0 on."""

    def __init__(self, size: int) -> None:
        self.ram = bytearray(size)

    def read(self, address: int, size: int) -> bytes:
        """As PhysicalMemory."""
        if address < 0 or address + size > len(self.ram):
            raise MemoryFault(f"{address:#x} is no RAM")
        return bytes(self.ram[address : address + size])

    def put(self, address: int, *words: int) -> None:
        """Write words at a physical address."""
        struct.pack_into(f"<{len(words)}Q", self.ram, address, *words)

    def regions(self) -> Sequence[Region]:
        """As PhysicalMemory."""
        return (Region(0, len(self.ram)),)

    def populated(self) -> Sequence[Region]:
        """As PhysicalMemory."""
        return self.regions()

    def refresh(self) -> None:
        """As PhysicalMemory."""

    def pause(self) -> None:
        """As PhysicalMemory."""

    def resume(self) -> None:
        """As PhysicalMemory."""

    def close(self) -> None:
        """As PhysicalMemory."""


def mapped(size: int = 1 << 20) -> Bytes:
    """RAM of less than 1 GiB whose kernel maps all of it at BASE, with one large page."""
    memory = Bytes(size)
    memory.put(ROOT + 8 * (BASE >> 39 & 511), 0x2000 | 1)
    memory.put(0x2000 + 8 * (BASE >> 30 & 511), 0 | 0x81)
    return memory


def program(memory: Bytes) -> Program:
    """A program without types or symbols over such RAM."""
    deadline = Deadline()
    space = AddressSpace(memory, ROOT, 4, deadline)

    def read(address: int, size: int) -> bytes:
        try:
            return space.read(address, size)
        except MemoryFault as error:
            raise FaultError(str(error), address) from None

    prog = Program(Platform(Architecture.X86_64))
    profile: Any = SimpleNamespace(find=lambda _: None)
    prog.cache[View] = View(memory, profile, space, deadline, read)
    return prog
