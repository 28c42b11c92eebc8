"""RAM in a bytes object, for tests that need no guest."""

from collections.abc import Sequence

from beat_bridge.sensors.hypervisor.memory import MemoryFault, Region


class Ram:
    """A PhysicalMemory from address 0, one stretch of which may be unreadable."""

    def __init__(self, data: bytes, unreadable: range = range(0)) -> None:
        self._data = data
        self._unreadable = unreadable

    def read(self, address: int, size: int) -> bytes:
        """As PhysicalMemory."""
        if max(address, self._unreadable.start) < min(address + size, self._unreadable.stop):
            raise MemoryFault(f"{address:#x} is unreadable")
        if address < 0 or size < 0 or address + size > len(self._data):
            raise MemoryFault(f"no RAM at {address:#x}")
        return self._data[address : address + size]

    def regions(self) -> Sequence[Region]:
        """As PhysicalMemory."""
        return [Region(0, len(self._data))]

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
