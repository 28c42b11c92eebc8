"""Does a process run from memory that only looks like a file: /dev/shm, or a memfd?

Confidence: 0.7 for a program in shared memory, 0.95 where it also removed itself (what BPFDoor does), 0.8 for a memfd.
Container runtimes run from a sealed memfd copy of themselves to protect the host's binary (CVE-2019-5736); they are
known by the copy's name and their own, and only as long as they hold no packet or raw socket.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from beat_bridge.detectors.locations import base_name, in_shared_memory
from beat_bridge.detectors.scene import Scene, called, capitalised, subject_of
from beat_bridge.model.base import Verdict
from beat_bridge.model.findings import Finding, FindingKind
from beat_bridge.model.processes import Executable, Process

HIDE_ARTIFACTS = "T1564"
"""ATT&CK: Hide Artifacts (a program where no file scanner looks and no disk keeps it)."""
FILE_DELETION = "T1070.004"
"""ATT&CK: Indicator Removal: File Deletion."""
REFLECTIVE_LOADING = "T1620"
"""ATT&CK: Reflective Code Loading (a program that never was a file)."""

_SELF_COPY = re.compile(r"/?memfd:(runc|crun|youki|lxc|libcrun)[\w.:/-]*")
"""`memfd:runc_cloned:/proc/self/exe` and its kin."""
_RUNTIMES = frozenset({"runc", "crun", "youki", "docker-runc", "lxc-start", "lxc-attach", "exe"})


class _Weight(NamedTuple):
    """What it means that a program lies where it lies."""

    verdict: Verdict
    confidence: float
    words: str
    techniques: tuple[str, ...]


_MEMFD = _Weight(Verdict.SUSPICIOUS, 0.8, "never was a file: it lies in a memfd", (REFLECTIVE_LOADING,))
_THERE = _Weight(Verdict.SUSPICIOUS, 0.7, "lies in shared memory", (HIDE_ARTIFACTS,))
_REMOVED = _Weight(
    Verdict.MALICIOUS,
    0.95,
    "lies in shared memory and was removed from there while it runs",
    (HIDE_ARTIFACTS, FILE_DELETION),
)


def find(scene: Scene) -> Iterator[Finding]:
    """A finding for each process that runs from shared memory or a memfd."""
    for process in scene.inventory.processes:
        executable = process.executable
        if not isinstance(executable, Executable) or process.kernel_thread:
            continue
        if executable.memfd:
            if not is_container_runtime(scene, process):
                yield _finding(scene, process, executable, _MEMFD)
        elif in_shared_memory(executable.path):
            removed = executable.deleted and not executable.replaced
            yield _finding(scene, process, executable, _REMOVED if removed else _THERE)


def is_container_runtime(scene: Scene, process: Process) -> bool:
    """A container runtime that runs from a sealed copy of itself, as runc and crun do."""
    executable, args = process.executable, process.args
    return (
        isinstance(executable, Executable)
        and executable.memfd
        and _SELF_COPY.fullmatch(executable.path) is not None
        and isinstance(args, tuple)
        and base_name(args[0] if args else "") in _RUNTIMES
        and not scene.captures(process)
    )


def _finding(scene: Scene, process: Process, executable: Executable, weight: _Weight) -> Finding:
    reasons = [f"the program of process {process.pid}, {executable.path}, {weight.words}"]
    if executable.filesystem:
        reasons.append(f"it lies on {executable.filesystem}")
    return scene.finding(
        FindingKind.SHARED_MEMORY_EXECUTION,
        subject_of(process),
        verdict=weight.verdict,
        confidence=weight.confidence,
        explanation=f"{capitalised(called(process))} runs a program that {weight.words}.",
        reasons=reasons,
        techniques=weight.techniques,
        process=process,
    )
