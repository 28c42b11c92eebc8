"""Findings: what a detector says of a host, in a form that can be told again and recognised."""

from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from beat_bridge.model.base import Value, Verdict, Viewpoint
from beat_bridge.model.filters import FilterJudgement
from beat_bridge.model.host import Host
from beat_bridge.model.kernel import Hook
from beat_bridge.model.pid_files import PidFile
from beat_bridge.model.processes import Process
from beat_bridge.model.sockets import Socket


class FindingKind(StrEnum):
    """The question that was answered with yes; one detector each."""

    SOCKET_FILTER = "socket_filter"
    MASQUERADE = "masquerade"
    SHARED_MEMORY_EXECUTION = "shared_memory_execution"
    ABNORMAL_PID_FILE = "abnormal_pid_file"
    ORPHAN_SOCKET = "orphan_socket"
    KERNEL_HOOK_DRIFT = "kernel_hook_drift"
    BACKDOOR_PROCESS = "backdoor_process"
    """Several of the others on one process."""


class Finding(Value, frozen=True, kw_only=True):
    """One thing found, with its evidence."""

    kind: FindingKind
    host: Host
    viewpoint: Viewpoint
    subject: str
    """Names the thing within its boot: `process:PID:START`, `socket:INODE`, `file:PATH`, `hook:SURFACE:SYMBOL`."""
    verdict: Verdict
    confidence: float
    """0 to 1."""
    explanation: str
    """One or two sentences for an analyst."""
    reasons: tuple[str, ...] = ()
    """The evidence, one plain clause each, in a stable order."""
    techniques: tuple[str, ...] = ()
    """ATT&CK technique ids, sorted (`T1205.002`)."""
    process: Process | None = None
    parent: Process | None = None
    socket: Socket | None = None
    judgement: FilterJudgement | None = None
    pid_file: PidFile | None = None
    hook: Hook | None = None
    related: tuple[str, ...] = ()
    """Keys of the findings this one combines, sorted."""

    @property
    def key(self) -> str:
        """Deterministic name: the same thing on the same boot of the same host has the same key in every pass."""
        parts = (self.host.id, self.host.boot_id, self.kind.value, self.subject)
        return sha256("\x1f".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:40]


class Change(StrEnum):
    """Why a finding is told."""

    OPENED = "opened"
    CHANGED = "changed"
    GONE = "gone"


class FindingEvent(Value, frozen=True, kw_only=True):
    """A finding at the moment something about it changed: what becomes a document."""

    change: Change
    finding: Finding
    at: datetime
    """When this was seen, with time zone."""
    first_seen: datetime
    sequence: int
    """0 when it first opens, then one more with each event of the same key."""
