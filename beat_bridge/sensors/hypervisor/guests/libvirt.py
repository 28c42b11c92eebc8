"""A guest behind libvirt."""

from collections.abc import Iterable

from beat_bridge.errors import MissingExtraError
from beat_bridge.sensors.hypervisor.guests import TIMEOUT_SECONDS, Guest
from beat_bridge.sensors.hypervisor.guests.ram import Backend


def open_all(uri: str, *, timeout: float = TIMEOUT_SECONDS, backend: Backend = Backend.AUTO) -> Iterable[Guest]:
    """Every guest of a connection."""
    raise MissingExtraError("libvirt-python", "libvirt", f"reaching the guests of {uri} ({timeout} {backend})")


def open_libvirt(uri: str, name: str, *, timeout: float = TIMEOUT_SECONDS, backend: Backend = Backend.AUTO) -> Guest:
    """The guest of a name or UUID."""
    raise MissingExtraError("libvirt-python", "libvirt", f"reaching {name} of {uri} ({timeout} {backend})")
