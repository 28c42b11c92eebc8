"""Guest-physical memory: all that a backend knows, whatever hypervisor or file it comes from.

    PhysicalMemory      what walkers and symbols are handed
    Region              a stretch of guest-physical addresses that is RAM
    MemoryFault         an address that is not RAM, or RAM that could not be read

One backend a file: ram_file, raw_dump, elf_dump, process_memory, libvmi_memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from beat_bridge.errors import DoorwatchError

MAX_READ = 128 << 20
"""Bytes; no single read is larger. The guest's counts decide sizes, so a lying count must not become an allocation."""


class MemoryFault(DoorwatchError):  # noqa: N818 - a fault is what processors and debuggers call it
    """Guest memory could not be read: outside every region, or the backend did not give all of it."""


@dataclass(frozen=True, slots=True, order=True)
class Region:
    """Guest-physical addresses from `start` up to, not including, `end`."""

    start: int
    size: int
    """Bytes."""

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + self.size


class PhysicalMemory(Protocol):
    """The RAM of one guest, by guest-physical address."""

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes.

        Raises:
            MemoryFault: Not all of them are RAM or could be had; nothing short is ever returned.
        """
        ...

    def regions(self) -> Sequence[Region]:
        """Where there is RAM: ascending, apart."""
        ...

    def populated(self) -> Sequence[Region]:
        """The parts of `regions()` that may hold anything but zeros, as far as the backend can tell cheaply.

        A search that skips the rest spares hours of zeros in a large guest that is mostly idle.
        """
        ...

    def refresh(self) -> None:
        """Forget whatever was cached: called at the beginning of each pass."""
        ...

    def pause(self) -> None:
        """Let the guest stand still.

        Raises:
            DoorwatchError: Nobody here can.
        """
        ...

    def resume(self) -> None:
        """Let it go on."""
        ...

    def close(self) -> None:
        """Give back descriptors; reads fault from then on."""
        ...
