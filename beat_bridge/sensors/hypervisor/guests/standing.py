"""How a guest stands at a moment: what must not have changed for what was learnt of it to hold still."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from beat_bridge.sensors.hypervisor.guests import GuestState
from beat_bridge.sensors.hypervisor.memory import PhysicalMemory


@dataclass(frozen=True, slots=True)
class PageTables:
    """What one virtual processor translates addresses with."""

    root: int
    """Guest-physical address of the topmost table (CR3 without its flags)."""
    five_levels: bool
    """CR4.LA57."""


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One life of a guest between two resets."""

    process: tuple[int, int]
    """Process id of its QEMU, and when that started; (0, 0) where nobody tells."""
    resets: int = 0
    """How often it has been reset, as far as its hypervisor tells us."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A guest, as its hypervisor tells of it."""

    state: GuestState
    incarnation: Incarnation
    page_tables: tuple[PageTables, ...] | None = None
    """Of each processor that translates addresses; None where the hypervisor does not tell. Empty: firmware runs."""


@runtime_checkable
class GuestMemory(PhysicalMemory, Protocol):
    """The RAM of a guest whose hypervisor can be asked."""

    @property
    def stopped_at(self) -> float | None:
        """When `pause` last told the guest to stop (`time.perf_counter`), where that is known."""
        ...

    def standing(self) -> Standing:
        """How the guest stands now.

        Raises:
            DoorwatchError: Its hypervisor does not answer.
        """
        ...
