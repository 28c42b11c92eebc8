"""Does a packet or raw socket exist that no process visibly holds?

A socket parked in flight (SCM_RIGHTS), kept by a thread with a descriptor table of its own, or held by a process that
a rootkit hides, shows in the kernel's socket list and in no /proc/PID/fd. Where not every process's descriptors could
be read this is a gap in coverage, not a finding. Confidence: 0.7, since a socket may change hands during the look;
0.95 where its filter is malicious as well.
"""

from collections.abc import Iterator

import msgspec

from beat_bridge.detectors.scene import AF_PACKET, Scene, is_capturing
from beat_bridge.model.base import Verdict
from beat_bridge.model.findings import Finding, FindingKind

ROOTKIT = "T1014"
"""ATT&CK: Rootkit (what hides a process or its descriptors)."""


def find(scene: Scene) -> Iterator[Finding]:
    """A finding for each packet or raw socket without a holder, where every holder could have been seen."""
    for socket in scene.inventory.sockets:
        # sockets that the kernel opened for itself have no inode in sockfs
        if socket.holders or not is_capturing(socket) or not socket.holders_complete or socket.inode == 0:
            continue
        judgement = scene.judgement(socket)
        armed = judgement is not None and judgement.verdict is Verdict.MALICIOUS
        kind = "packet" if socket.family == AF_PACKET else "raw"
        reasons = [
            f"the kernel lists {kind} socket {socket.inode}",
            "no process's descriptors lead to it, and every process's descriptors could be read",
        ]
        if armed and judgement is not None:
            reasons.append(f"its filter is malicious: {judgement.summary}")
        found = scene.finding(
            FindingKind.ORPHAN_SOCKET,
            f"socket:{socket.inode}",
            verdict=Verdict.MALICIOUS if armed else Verdict.SUSPICIOUS,
            confidence=0.95 if armed else 0.7,
            explanation=f"A {kind} socket ({socket.inode}) is open and no visible process holds it: its holder is "
            "hidden, or it is parked where /proc does not look.",
            reasons=reasons,
            techniques=(ROOTKIT,),
            socket=socket,
        )
        yield msgspec.structs.replace(found, judgement=judgement)
