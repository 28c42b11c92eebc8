"""Findings: what a detector says of a host, in a form that can be told again and recognised."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from beat_bridge.model.base import Value, Verdict, Viewpoint
from beat_bridge.model.filters import FilterJudgement, program_sha256
from beat_bridge.model.host import Host
from beat_bridge.model.kernel import BpfLink, BpfMap, BpfProgram, Hook, KernelModule
from beat_bridge.model.pid_files import PidFile
from beat_bridge.model.processes import Executable, Process
from beat_bridge.model.sockets import Socket


class FindingKind(StrEnum):
    """The question that was answered with yes; one detector each."""

    SOCKET_FILTER = "socket_filter"
    MASQUERADE = "masquerade"
    SHARED_MEMORY_EXECUTION = "shared_memory_execution"
    ABNORMAL_PID_FILE = "abnormal_pid_file"
    ORPHAN_SOCKET = "orphan_socket"
    KERNEL_HOOK_DRIFT = "kernel_hook_drift"
    HIDDEN_PROCESS = "hidden_process"
    """One view shows a process, or the program it runs, and another does not."""
    HIDDEN_SOCKET = "hidden_socket"
    """One view shows a socket, or the filter it carries, and another does not."""
    HIDDEN_MODULE = "hidden_module"
    BPF_OBJECT_MISMATCH = "bpf_object_mismatch"
    """The views differ over an eBPF program, map or link."""
    BACKDOOR_PROCESS = "backdoor_process"
    """Several of the others on one process."""


class Standing(StrEnum):
    """How firmly a difference between two views stands; weakest first."""

    CANDIDATE = "candidate"
    """Seen in one look at a running guest, which may have been torn: never told by itself."""
    SAMPLED = "sampled"
    """It cannot come from a thing that merely began or ended."""
    CONFIRMED = "confirmed"
    """A look taken while the guest stood still shows it too."""


class Finding(Value, frozen=True, kw_only=True):
    """One thing found, with its evidence."""

    kind: FindingKind
    host: Host
    viewpoint: Viewpoint
    subject: str
    """Names the thing within its boot: `process:PID:START`, `socket:INODE`, `file:PATH`, `hook:SURFACE:SYMBOL`,
    `module:NAME`, `bpf_program:ID`, `bpf_map:ID`, `bpf_link:ID`."""
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
    module: KernelModule | None = None
    bpf_program: BpfProgram | None = None
    bpf_map: BpfMap | None = None
    bpf_link: BpfLink | None = None
    missing_from: tuple[Viewpoint, ...] = ()
    """Viewpoints that were compared, should show it as `viewpoint` does, and do not; sorted."""
    standing: Standing | None = None
    """Of differences between views or lists; None for every other finding."""
    related: tuple[str, ...] = ()
    """Keys of the findings this one combines, sorted."""

    @property
    def key(self) -> str:
        """Deterministic name: the same thing on the same boot of the same host has the same key in every pass."""
        parts = (self.host.id, self.host.boot_id, self.kind.value, self.subject)
        return _digest(parts)

    @property
    def fingerprint(self) -> str:
        """Names the evidence: as long as it stays the same, the finding has not changed.

        What counts: verdict, reasons, techniques, related findings, the executable file and whether it is deleted, the
        filter's program and who holds the socket, the PID file's size, mode, owner and content, the hook's targets,
        the views that lack it.
        What does not: wording (`explanation`), confidence, every time stamp, arguments (daemons rewrite them), the
        order of holders, which interface showed a socket, the parent.
        """
        parts = [self.kind.value, self.verdict.value, *sorted(self.reasons), *self.techniques, *sorted(self.related)]
        if self.process is not None and isinstance(self.process.executable, Executable):
            parts += [self.process.executable.path, str(self.process.executable.deleted)]
        if self.socket is not None:
            pids = sorted({holder.pid for holder in self.socket.holders})
            parts += [self.socket.filter.kind.value, program_sha256(self.socket.filter.program), *map(str, pids)]
        if self.pid_file is not None:
            file = self.pid_file
            parts += [str(file.size), str(file.mode), str(file.user_id)]
            parts += [file.content] if isinstance(file.content, str) else []
        if self.hook is not None:
            parts += [self.hook.expected, self.hook.actual, self.hook.owner]
        parts += [f"missing from {view.value}" for view in self.missing_from]
        return _digest(parts)


def _digest(parts: Iterable[str]) -> str:
    """40 hexadecimal digits over some texts; each is preceded by its length, so that none can pose as two."""
    hashed = sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hashed.update(b"%d:%b" % (len(data), data))
    return hashed.hexdigest()[:40]


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

    @property
    def id(self) -> str:
        """Deterministic: told again after a crash it has the same id, with other evidence it has another."""
        return _digest((self.finding.key, self.change.value, str(self.sequence), self.finding.fingerprint))
