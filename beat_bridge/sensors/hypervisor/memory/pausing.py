"""Who can let the guest stand still."""

from typing import Protocol

from beat_bridge.errors import DoorwatchError


class Pauser(Protocol):
    """Something that controls the guest whose memory is read: libvirt, QMP."""

    def pause(self) -> None:
        """Stop all virtual processors."""
        ...

    def resume(self) -> None:
        """Let them go on."""
        ...


class Still:
    """A dump: it has stood still since it was taken."""

    def pause(self) -> None:
        """There is nothing to stop."""

    def resume(self) -> None:
        """There is nothing to let go on."""


class Uncontrolled:
    """A live guest that nobody here controls."""

    def __init__(self, name: str) -> None:
        self._name = name

    def pause(self) -> None:
        """Refuse: pretending would make a torn look pass for a still one.

        Raises:
            DoorwatchError: Always.
        """
        raise DoorwatchError(f"{self._name}: cannot pause this guest: give its QMP socket or its libvirt name")

    def resume(self) -> None:
        """Nothing was stopped."""
