"""Guests as their hypervisor knows them: which there are, and what can be done to them from outside.

    qmp         a guest behind a QMP socket of QEMU       monitor      one conversation on such a socket
    libvirt     a guest behind libvirt                    patience     calls that may never return, with a time-out
    discovery   which guests there are, and finding one   ram          where a guest's RAM lies, and opening it
    stillness   holding a guest for the time of a look

QEMU and libvirtd run what is under suspicion: their answers are bounded and checked like everything else that is read.
"""

from enum import StrEnum
from pathlib import Path
from typing import Protocol

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory import PhysicalMemory

TIMEOUT_SECONDS = 5.0
"""What a hypervisor may take to answer: a thousand times what it needs."""


class GuestState(StrEnum):
    """What a guest does."""

    RUNNING = "running"
    PAUSED = "paused"
    """It stands still, whoever stopped it and why."""
    OFF = "off"
    """It is defined, or its QEMU is there, but nothing runs in it."""
    GONE = "gone"
    """Its hypervisor no longer knows it."""
    UNKNOWN = "unknown"
    """Its hypervisor does not tell; only in lists, beside the reason."""


class GuestGone(DoorwatchError):  # noqa: N818 - it is what became of the guest, as in GuestState
    """The guest's hypervisor no longer has it, or does not run it."""


class Guest(Protocol):
    """One virtual machine. Every call ends within its time-out, with what it says or a DoorwatchError."""

    @property
    def name(self) -> str:
        """As the hypervisor names it; over QMP, where it has no name, the socket's."""
        ...

    @property
    def uuid(self) -> str:
        """Empty where the hypervisor knows none."""
        ...

    def state(self) -> GuestState:
        """What it does now.

        Raises:
            DoorwatchError: Its hypervisor does not answer.
        """
        ...

    def memory(self) -> PhysicalMemory:
        """Its RAM, opened where it lies now; revert and migration move it. The caller closes it.

        Pausing that memory pauses this guest, unless somebody else has: then resuming leaves it as it was.

        Raises:
            DoorwatchError: It cannot be read; the line says what to change in the guest's definition.
        """
        ...

    def pause(self) -> None:
        """Stop its processors, until somebody resumes it.

        Raises:
            DoorwatchError: It could not be stopped; one that is stopped too late is let go on.
        """
        ...

    def resume(self) -> None:
        """Let it go on, whoever stopped it.

        Raises:
            DoorwatchError: It does not.
        """
        ...

    def set_link(self, up: bool) -> None:
        """Plug in, or pull, the cable of every network card.

        Raises:
            DoorwatchError: It has none, or one of them refused.
        """
        ...

    def snapshot(self, name: str) -> None:
        """Keep its disks and memory as they are now, under a name.

        Raises:
            DoorwatchError: Its disks cannot, or the name is taken.
        """
        ...

    def revert(self, name: str) -> None:
        """Put it back to a snapshot.

        Raises:
            DoorwatchError: There is none of that name, or its disks refuse.
        """
        ...

    def dump_memory(self, path: Path) -> None:
        """Write its RAM to a file as an ELF core (mode 0600), which appears when it is whole.

        Raises:
            DoorwatchError: It could not be written; what stood at the path before is untouched.
        """
        ...

    def close(self) -> None:
        """Give back connections. The guest is left as it is."""
        ...
