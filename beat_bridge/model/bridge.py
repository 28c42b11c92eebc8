"""How the bridge itself is doing."""

from beat_bridge.model.base import Value


class SpoolStatus(Value, frozen=True, kw_only=True):
    """Counts since the spool directory was made, and what lies in it now."""

    appended: int = 0
    delivered: int = 0
    dead_letters: int = 0
    refused: int = 0
    """Documents turned away because the disk or the budget was full, and said so."""
    pending_documents: int = 0
    pending_bytes: int = 0
    budget_bytes: int = 0
    torn_records: int = 0
    """Records cut short by a crash, found and set aside on reading."""
    damaged_records: int = 0
    """Documents whose bytes were destroyed on disk before they could be sent."""
    replayed: int = 0
    """Dead letters put back; each counts as appended again."""


class GuestStatus(Value, frozen=True, kw_only=True):
    """One guest that is watched from below."""

    name: str
    id: str = ""
    """`host.id` of its documents; empty where it was never looked at."""
    passes: int = 0
    """Looks taken since the bridge started."""
    open_findings: int = 0
    last_error: str = ""
    """Why the last look failed; empty where it did not."""
    look_seconds: float = 0.0
    """What the last look took."""


class BridgeStatus(Value, frozen=True, kw_only=True):
    """One heartbeat of the bridge."""

    spool: SpoolStatus
    passes: int = 0
    """Looks taken since the bridge started."""
    open_findings: int = 0
    last_error: str = ""
    guests: tuple[GuestStatus, ...] = ()
    """By name."""
