"""What a sensor could see, said by the sensor."""

from enum import StrEnum

from beat_bridge.model.base import Reason, Value


class CoverageStatus(StrEnum):
    """How much of its question a sensor answered."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    NONE = "none"


class Coverage(Value, frozen=True, kw_only=True):
    """One sensor's account of one pass."""

    sensor: str
    """`socket_filters`, `packet_sockets`, `processes`, `modules`, `bpf_objects`, `cross_view`, ...: stable names, they
    go into documents."""
    status: CoverageStatus
    reason: Reason | None = None
    """Why not COMPLETE; None only where it is."""
    detail: str = ""
    """What was not seen, why, and what to do about it, in one line."""
    examined: int = 0
    """Objects looked at."""
    missed: int = 0
    """Objects known to exist that could not be looked at."""
    listed: bool = False
    """Everything there is was listed, so that what the inventory does not show does not exist, although some of it
    could not be looked into (`missed`). Implied by COMPLETE."""
