"""Does a process run from memory that only looks like a file: /dev/shm, another tmpfs, or a memfd?

Confidence: 0.7 for a program in shared memory, 0.95 where it also removed itself (what BPFDoor does), 0.8 for a memfd,
0.6 for a script in shared memory that an interpreter runs. A program on any other file system that lives in memory
counts (0.6) only with one thing more, since people build and run in /tmp: it removed itself, it has the path of a
system program (mounted over it, where others do not see the mount), or it captures packets. Where no program
of the system lies on a disk (a diskless host) that says nothing, nor of what the initramfs left running.
Container runtimes run from a sealed memfd copy of themselves to protect the host's binary (CVE-2019-5736); they are
known by the copy's name and their own, and only as long as they hold no packet or raw socket.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from beat_bridge.detectors.interpreters import script_of
from beat_bridge.detectors.locations import IN_MEMORY, base_name, in_shared_memory, is_system, is_temporary
from beat_bridge.detectors.scene import Scene, called, capitalised, subject_of
from beat_bridge.model.base import Verdict
from beat_bridge.model.findings import Finding, FindingKind
from beat_bridge.model.processes import Executable, Process

HIDE_ARTIFACTS = "T1564"
"""ATT&CK: Hide Artifacts (a program where no file scanner looks and no disk keeps it)."""
FILE_DELETION = "T1070.004"
"""ATT&CK: Indicator Removal: File Deletion."""
INTERPRETER = "T1059"
"""ATT&CK: Command and Scripting Interpreter."""
REFLECTIVE_LOADING = "T1620"
"""ATT&CK: Reflective Code Loading (a program that never was a file)."""

_SELF_COPY = re.compile(r"/?memfd:(runc|crun|youki|lxc|libcrun)[\w.:/-]*")
"""`memfd:runc_cloned:/proc/self/exe` and its kin."""
_RUNTIMES = frozenset({"runc", "crun", "youki", "docker-runc", "lxc-start", "lxc-attach", "exe"})


_FROM_INITRAMFS_TICKS = 6000
"""A minute after boot, in clock ticks: what runs from a deleted file of the initramfs began before."""


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
_ELSEWHERE = _Weight(Verdict.SUSPICIOUS, 0.6, "lies on a file system that lives in memory", (HIDE_ARTIFACTS,))
_SCRIPT = _Weight(Verdict.SUSPICIOUS, 0.6, "lies in shared memory", (HIDE_ARTIFACTS, INTERPRETER))


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
        elif company := _in_other_memory(scene, process, executable):
            yield _finding(scene, process, executable, _ELSEWHERE, company)
        elif in_shared_memory(script := script_of(process)):
            yield _script(scene, process, script)


def _in_other_memory(scene: Scene, process: Process, executable: Executable) -> str:
    """What makes a program in memory worth telling; empty where nothing does."""
    # an init that came with the initramfs and stayed says nothing of where the system's programs lie
    if executable.filesystem not in IN_MEMORY or not any(map(_is_on_disk, scene.inventory.processes)):
        return ""
    if scene.captures(process):
        return "it captures packets"
    removed = executable.deleted and not executable.replaced
    if is_system(executable.path):
        left_over = removed and process.start_ticks < _FROM_INITRAMFS_TICKS
        return "" if left_over else "it has the path of a system program"
    return "it was removed from there while it runs" if removed and not is_temporary(executable.path) else ""


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


def _is_on_disk(process: Process) -> bool:
    """A program of the system that lies where a disk keeps it."""
    executable = process.executable
    if not isinstance(executable, Executable):
        return False
    return bool(executable.filesystem) and executable.filesystem not in IN_MEMORY and is_system(executable.path)


def _script(scene: Scene, process: Process, script: str) -> Finding:
    return scene.finding(
        FindingKind.SHARED_MEMORY_EXECUTION,
        subject_of(process),
        verdict=_SCRIPT.verdict,
        confidence=_SCRIPT.confidence,
        explanation=f"{capitalised(called(process))} runs a script that {_SCRIPT.words}: {script}.",
        reasons=(f"the script of process {process.pid}, {script}, {_SCRIPT.words}",),
        techniques=_SCRIPT.techniques,
        process=process,
    )


def _finding(scene: Scene, process: Process, executable: Executable, weight: _Weight, company: str = "") -> Finding:
    reasons = [f"the program of process {process.pid}, {executable.path}, {weight.words}"]
    if executable.filesystem:
        reasons.append(f"it lies on {executable.filesystem}")
    if company:
        reasons.append(company)
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
