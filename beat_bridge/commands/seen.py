"""What one look of `doorwatch scan` brought."""

from beat_bridge.model.base import Value
from beat_bridge.model.findings import Finding
from beat_bridge.model.host import Host
from beat_bridge.model.inventory import Inventory


class Seen(Value, frozen=True, kw_only=True):
    """One host, guest or image that was looked at."""

    inventory: Inventory
    findings: tuple[Finding, ...]
    observer: Host | None = None
    """The machine that looked, where that is another than the host."""
    what: str = "this host"
    """What was looked at, and from where, in the words of whoever asked: `guest web-1 (UUID) of qemu:///system`."""
    took_seconds: float = 0.0
    """How long the looks took, all of them; 0 for a record."""
    stood_still_seconds: float = 0.0
    """How long a guest was paused for a confirmation."""
