"""What the responder did, step by step."""

from datetime import datetime
from enum import StrEnum

from beat_bridge.model.base import Value
from beat_bridge.model.host import Host


class StepState(StrEnum):
    """How one step of a response stands."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    """The target did not match, a guard said no, or the budget was spent: nothing was done."""
    DUPLICATE = "duplicate"
    """The incident already has this step: nothing was done again."""
    AWAITING_APPROVAL = "awaiting_approval"
    RENEWED = "renewed"
    RELEASED = "released"
    """Undone on request."""
    EXPIRED = "expired"
    """The lease lapsed and undid itself."""
    SIMULATED = "simulated"
    """Dry run: would have been done."""


class ResponseTarget(Value, frozen=True, kw_only=True):
    """What a step acts on."""

    pid: int | None = None
    start_ticks: int | None = None
    executable: str = ""
    process_name: str = ""
    network_namespace: int | None = None


class ResponseStep(Value, frozen=True, kw_only=True):
    """One step of one response: becomes a response document and a line in the audit file."""

    response_id: str
    """Deterministic: incident and action."""
    incident: str
    """The incident this belongs to; alerts of the fast path and of Kibana meet here."""
    action: str
    """`capture_evidence`, `stop_process`, `isolate_network`, `verify_cure`."""
    state: StepState
    at: datetime
    incident_opened_at: datetime | None = None
    """When the incident's first alert was taken: from it on the time to contain is counted."""
    sequence: int
    """Position within the incident, from 0."""
    host: Host
    playbook: str
    target: ResponseTarget = ResponseTarget()
    explanation: str = ""
    lease_expires_at: datetime | None = None
    """When it undoes itself; of the step that ended a lease, when it ended."""
    proof: str = ""
    """What was observed from outside that shows the step took effect; empty where nothing was."""
    evidence: tuple[str, ...] = ()
    """Paths of evidence files."""
    alert_ids: tuple[str, ...] = ()
    rule_names: tuple[str, ...] = ()
    finding_keys: tuple[str, ...] = ()
    audit_hash: str = ""
    """SHA-256 of this step's line in the responder's audit chain: kept in another place, it anchors that file."""
