"""Do several findings meet in one process?

Each alone has an innocent explanation now and then; a process with a secret packet filter, a false name and a program
that deleted itself from shared memory has none. The confidences of different kinds are combined as independent doubts
(noisy or): 1 - (1 - a)(1 - b)..., the strongest of each kind, and never above 0.99. Signs that alone mean nothing
(environment, session, standard streams) take part only here, with the weights below.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from beat_bridge.detectors.scene import Scene, called, capitalised, subject_of
from beat_bridge.model.base import Verdict
from beat_bridge.model.findings import Finding, FindingKind
from beat_bridge.model.processes import Environment, Process

CLEARED_HISTORY = "T1562.003"
"""ATT&CK: Impair Defenses: Impair Command History Logging."""
BROKEN_TREE = "T1036.009"
"""ATT&CK: Masquerading: Break Process Trees."""

SHELL_SIGNS = frozenset({"HOME=/tmp", "HISTFILE=/dev/null", "MYSQL_HISTFILE=/dev/null"})
"""What BPFDoor gives its shells: each alone is common, all three are not."""
_ALL_SHELL_SIGNS = 0.5
_EMPTY_ENVIRONMENT = 0.1
_DETACHED = 0.1
_MOST = 0.99
_MALICIOUS_FROM = 0.8
_WORDS = {
    FindingKind.SOCKET_FILTER: "a socket filter",
    FindingKind.MASQUERADE: "a false name",
    FindingKind.SHARED_MEMORY_EXECUTION: "a program in shared memory",
    FindingKind.ABNORMAL_PID_FILE: "a PID file that only marks",
}


def find(scene: Scene, findings: Sequence[Finding]) -> Iterator[Finding]:
    """One stronger finding for each process in which findings of at least two kinds meet."""
    met: defaultdict[str, list[Finding]] = defaultdict(list)
    processes: dict[str, Process] = {}
    for finding in findings:
        for process in _concerned(scene, finding):
            processes[process.identity] = process
            met[process.identity].append(finding)
    for identity, together in met.items():
        if len({finding.kind for finding in together}) >= 2:
            yield _combined(scene, processes[identity], together)


def _concerned(scene: Scene, finding: Finding) -> Sequence[Process]:
    """A socket's finding concerns every process that holds it."""
    holders = scene.holders(finding.socket) if finding.socket is not None else ()
    return holders or (() if finding.process is None else (finding.process,))


def _combined(scene: Scene, process: Process, met: Sequence[Finding]) -> Finding:
    strongest: dict[FindingKind, Finding] = {}
    for finding in met:
        if finding.kind not in strongest or finding.confidence > strongest[finding.kind].confidence:
            strongest[finding.kind] = finding
    signs = tuple(_signs(process))
    doubts = [1 - finding.confidence for finding in strongest.values()] + [1 - weight for weight, _, _ in signs]
    confidence = round(min(_MOST, 1 - math.prod(doubts)), 2)
    malicious = confidence >= _MALICIOUS_FROM and any(f.verdict is Verdict.MALICIOUS for f in strongest.values())
    listed = [_WORDS.get(kind, kind.value) for kind in FindingKind if kind in strongest]
    filtered = strongest.get(FindingKind.SOCKET_FILTER)
    found = scene.finding(
        FindingKind.BACKDOOR_PROCESS,
        subject_of(process),
        verdict=Verdict.MALICIOUS if malicious else Verdict.SUSPICIOUS,
        confidence=confidence,
        explanation=f"{capitalised(called(process))} shows {', '.join(listed[:-1])} and {listed[-1]} at once, "
        "as BPFDoor-class backdoors do.",
        reasons=(*dict.fromkeys(reason for f in met for reason in f.reasons), *(words for _, words, _ in signs)),
        techniques=(
            *(technique for finding in met for technique in finding.techniques),
            *(technique for _, _, technique in signs if technique),
        ),
        process=process,
        socket=None if filtered is None else filtered.socket,
    )
    return msgspec.structs.replace(
        found,
        related=tuple(sorted({finding.key for finding in met})),
        judgement=None if filtered is None else filtered.judgement,
        pid_file=next((finding.pid_file for finding in met if finding.pid_file is not None), None),
    )


def _signs(process: Process) -> Iterator[tuple[float, str, str]]:
    """Signs that count only in company: (weight, words, ATT&CK technique or nothing)."""
    environment = process.environment
    if isinstance(environment, Environment):
        if SHELL_SIGNS.issubset(environment.signs):
            yield _ALL_SHELL_SIGNS, f"its environment holds {', '.join(sorted(SHELL_SIGNS))}", CLEARED_HISTORY
        if environment.count == 0:
            yield _EMPTY_ENVIRONMENT, "its environment is empty", ""
    if process.session_id == process.pid and process.parent_pid == 1 and process.stdio_null is True:
        yield _DETACHED, "it leads its own session under init with all standard streams on /dev/null", BROKEN_TREE
