"""Holding a guest still for the time of a look, without a trace of it afterwards."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from beat_bridge.sensors.hypervisor.guests.standing import GuestMemory, Standing
from beat_bridge.sensors.hypervisor.memory import PhysicalMemory, Region


class Stillness(ABC):
    """A Pauser that lets go on only what it has stopped itself."""

    stopped_at: float | None = None
    """When it was last told to stop (`time.perf_counter`); None where it never was, or where that is not known."""

    @abstractmethod
    def pause(self) -> None:
        """Stop the guest, unless somebody has."""

    @abstractmethod
    def resume(self) -> None:
        """Let it go on, unless it stood still before."""

    @abstractmethod
    def standing(self) -> Standing | None:
        """How the guest stands, told over the connection that holds it; None where none does."""


def attended(memory: PhysicalMemory, ask: Callable[[], Standing], stillness: Stillness) -> GuestMemory:
    """The same memory, which can also tell how its guest stands."""
    return _Attended(memory, ask, stillness)


class _Attended:
    """A GuestMemory."""

    def __init__(self, memory: PhysicalMemory, ask: Callable[[], Standing], stillness: Stillness) -> None:
        self._memory = memory
        self._ask = ask
        self._stillness = stillness
        self.read = memory.read  # called thousands of times a pass: no call of ours in between

    @property
    def stopped_at(self) -> float | None:
        return self._stillness.stopped_at

    def standing(self) -> Standing:
        return self._stillness.standing() or self._ask()

    def regions(self) -> Sequence[Region]:
        return self._memory.regions()

    def populated(self) -> Sequence[Region]:
        return self._memory.populated()

    def refresh(self) -> None:
        self._memory.refresh()

    def pause(self) -> None:
        self._stillness.pause()

    def resume(self) -> None:
        self._stillness.resume()

    def close(self) -> None:
        self._memory.close()
