"""Does a PID or lock file in /run look like a backdoor's mutex rather than a daemon's?

BPFDoor marks that it runs by an empty, world-readable `*.pid` or `*.lock` directly under /run and closes it at once. A
daemon writes its number into such a file, or holds a lock on it. Confidence: 0.4 for the file alone; 0.6 where its
name is one that BPFDoor is known to use, or its times were set back; 0.9 where the process that holds it, or that
started in the moment the file was made, is itself out of order (it captures packets, or its program was deleted or
lies in shared memory).
"""

import posixpath
import re
from collections.abc import Iterator
from itertools import chain

import msgspec

from beat_bridge.detectors.locations import in_shared_memory, real_path
from beat_bridge.detectors.scene import Scene, called
from beat_bridge.detectors.socket_filters import USUAL_HOLDERS
from beat_bridge.model.base import Verdict
from beat_bridge.model.findings import Finding, FindingKind
from beat_bridge.model.pid_files import PidFile
from beat_bridge.model.processes import Executable, Process

MUTUAL_EXCLUSION = "T1480.002"
"""ATT&CK: Execution Guardrails: Mutual Exclusion."""
TIMESTOMP = "T1070.006"
"""ATT&CK: Indicator Removal: Timestomp."""

KNOWN_NAMES = frozenset(
    [
        "aepmonend.pid",
        "auditd.lock",
        "cma.lock",
        "console-kit.pid",
        "consolekit.pid",
        "hald-addon.pid",
        "hald-smartd.pid",
        "haldrund.pid",
        "hp-health.pid",
        "hpasmlit.lock",
        "hpasmlited.pid",
        "initd.lock",
        "kdevrund.pid",
        "lldpad.lock",
        "mcelog.pid",
        "system.pid",
        "uvp-srv.pid",
        "vmtoolagt.pid",
        "xinetd.lock",
    ]
)
"""Files that public reports of BPFDoor name, as the rule `abnormal_pid_file` has them. They enrich; the shape decides:
the daemons whose names they are write their process id into them."""
ORDINARY_NAMES = frozenset(
    [
        "atd.pid",
        "blkid.lock",
        "dnf.lock",
        "docker.pid",
        "ebtables.lock",
        "mountpoints.lock",
        "motd.lock",
        "podman.lock",
        "unattended-upgrades.lock",
        "utmp.lock",
        "xtables.lock",
        "yum.lock",
        "yum.pid",
    ]
)
"""Files that ordinary software leaves empty."""
BPFDOOR_TIME = 1225394236
"""2008-10-30 19:17:16 UTC, to which BPFDoor sets its files back."""
SHORT = 10
"""Bytes: a PID and its line break fit."""
_MADE_TOGETHER = 5.0
"""Seconds between a process's start and the making of its file."""
_SET_BACK = 86_400.0
"""Seconds that a modification may lie before the file's birth: installers keep the time a file was packed."""
_NUMBER = re.compile(r"\s*\d+\s*")


def find(scene: Scene) -> Iterator[Finding]:
    """A finding for each PID or lock file that a daemon would not have made."""
    for file in scene.inventory.pid_files:
        if not has_the_shape(file):
            continue
        suspects = tuple(_suspects(scene, file))
        name = posixpath.basename(file.path)
        known = name in KNOWN_NAMES
        if not suspects and not known and (file.locked_by or file.open_by or name in ORDINARY_NAMES):
            continue
        yield _finding(scene, file, suspects, known=known)


def has_the_shape(file: PidFile) -> bool:
    """`*.pid` or `*.lock`, directly under /run, mode 0644, at most ten bytes that are no process id."""
    directory, name = posixpath.split(real_path(file.path))
    return (
        directory == "/run"
        and name.endswith((".pid", ".lock"))
        and file.mode & 0o777 == 0o644
        and file.size <= SHORT
        # content that could not be read counts only where there is none to read
        and (file.size == 0 or (isinstance(file.content, str) and not _NUMBER.fullmatch(file.content)))
    )


def is_set_back(file: PidFile) -> bool:
    """Its modification lies well before its birth, or at the very second that BPFDoor uses."""
    if int(file.modified_at) == BPFDOOR_TIME:
        return True
    return isinstance(file.born_at, float | int) and file.born_at - file.modified_at > _SET_BACK


def _suspects(scene: Scene, file: PidFile) -> Iterator[tuple[Process, str]]:
    """Processes that are out of order and hold the file or started when it was made, with why."""
    held = {*file.open_by, *file.locked_by}
    for process in scene.inventory.processes:
        if process.pid in held:
            tie = "holds the file"
        elif isinstance(file.born_at, float | int) and 0 <= file.born_at - process.started_at <= _MADE_TOGETHER:
            tie = "started when the file was made"
        else:
            continue
        disorder = "; ".join(_disorder(scene, process))
        if disorder:
            yield process, f"{called(process)} {tie}, and {disorder}"


def _disorder(scene: Scene, process: Process) -> Iterator[str]:
    executable = process.executable
    if not isinstance(executable, Executable):
        return
    if executable.deleted and not executable.replaced and not executable.memfd:
        yield "its program was deleted"
    if in_shared_memory(executable.path):
        yield "its program lies in shared memory"
    if scene.captures(process) and posixpath.basename(executable.path) not in USUAL_HOLDERS:
        yield "it captures packets"


def _finding(scene: Scene, file: PidFile, suspects: tuple[tuple[Process, str], ...], *, known: bool) -> Finding:
    shape = "is empty" if file.size == 0 else f"holds {file.size} bytes that are no process id"
    reasons = [f"{file.path} {shape}, is readable by all, and nobody holds a lock on it"]
    if file.locked_by:
        reasons = [f"{file.path} {shape} and is readable by all"]
    techniques = [MUTUAL_EXCLUSION]
    set_back = is_set_back(file)
    if known:
        reasons.append("BPFDoor is known to use this name")
    if set_back:
        reasons.append("its modification time was set back")
        techniques.append(TIMESTOMP)
    reasons.extend(words for _, words in suspects)
    if suspects:
        verdict, confidence = Verdict.MALICIOUS, 0.9
    else:
        verdict, confidence = Verdict.SUSPICIOUS, 0.6 if known or set_back else 0.4
    found = scene.finding(
        FindingKind.ABNORMAL_PID_FILE,
        f"file:{real_path(file.path)}",
        verdict=verdict,
        confidence=confidence,
        explanation=f"{file.path} {shape}: a daemon writes its number into such a file or locks it, a backdoor only "
        "marks that it runs.",
        reasons=reasons,
        techniques=techniques,
        process=suspects[0][0] if suspects else _only_holder(scene, file),
    )
    return msgspec.structs.replace(found, pid_file=file)


def _only_holder(scene: Scene, file: PidFile) -> Process | None:
    holders = {pid for pid in chain(file.open_by, file.locked_by) if pid in scene.processes}
    return scene.processes[holders.pop()] if len(holders) == 1 else None
