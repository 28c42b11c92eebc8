"""Incidents: where the alerts of one cause meet, whatever rule or path they came by."""

from hashlib import sha256

from beat_bridge.model.base import Value
from responders.alerts import START_TOLERANCE, Alert


class Incident(Value, frozen=True, kw_only=True):
    """One process (or, without one, one finding) on one host, and the alerts about it."""

    id: str
    """Deterministic for its first alert: 16 hexadecimal digits."""
    host_id: str
    pid: int | None = None
    started_at: float | None = None
    """Seconds since the epoch."""
    finding_key: str = ""
    """For an incident without a process."""
    opened_at: float | None = None
    """When its first alert was taken, in seconds since the epoch; None before it is recorded."""
    alerts: tuple[Alert, ...] = ()


def incident_of(alert: Alert) -> Incident:
    """The incident that an alert opens where none is open that it belongs to."""
    if alert.names_process:
        subject = f"process\x1f{alert.pid}\x1f{alert.started_at}\x1f{alert.start_ticks}"
    else:
        subject = f"finding\x1f{alert.finding_key}"
    return Incident(
        id=sha256(f"{alert.host_id}\x1f{subject}".encode()).hexdigest()[:16],
        host_id=alert.host_id,
        pid=alert.pid if alert.names_process else None,
        started_at=alert.started_at if alert.names_process else None,
        finding_key="" if alert.names_process else alert.finding_key,
    )


def belongs(alert: Alert, incident: Incident) -> bool:
    """The alert is about this incident's process: same host, same pid, started within two seconds."""
    if alert.host_id != incident.host_id:
        return False
    if not alert.names_process or incident.pid is None:
        return bool(alert.finding_key) and not alert.names_process and alert.finding_key == incident.finding_key
    if alert.pid != incident.pid or alert.started_at is None or incident.started_at is None:
        return False
    return abs(alert.started_at - incident.started_at) <= START_TOLERANCE
