"""The words and the weight of a difference between views."""

from collections.abc import Sequence

import msgspec

from beat_bridge.detectors.cross_view.questions import Question, T
from beat_bridge.detectors.scene import capitalised
from beat_bridge.model.base import Verdict, Viewpoint
from beat_bridge.model.findings import Finding, FindingKind, Standing
from beat_bridge.model.inventory import Inventory

ROOTKIT = "T1014"
"""ATT&CK: Rootkit."""
RENAMED = 0.5
ONLY_INSIDE = 0.6
ONE_LOOK = "one look at a running guest, which may have come while it began or ended"
STILL = "confirmed while the guest stood still"
KINDS = frozenset(
    {
        FindingKind.HIDDEN_PROCESS,
        FindingKind.HIDDEN_SOCKET,
        FindingKind.HIDDEN_MODULE,
        FindingKind.BPF_OBJECT_MISMATCH,
    }
)
"""What this package tells."""
_VERDICTS = {
    Standing.CANDIDATE: (Verdict.UNKNOWN, 0.3),
    Standing.SAMPLED: (Verdict.SUSPICIOUS, 0.7),
    Standing.CONFIRMED: (Verdict.MALICIOUS, 0.95),
}
_VIEWS = {
    Viewpoint.HOST: "the view from inside",
    Viewpoint.AGENT: "the agents' view",
    Viewpoint.HYPERVISOR: "the view from outside",
    Viewpoint.DRAKVUF: "DRAKVUF's view",
}


def view_of(inventory: Inventory) -> str:
    """A viewpoint in words."""
    return _VIEWS[inventory.viewpoint]


def difference(  # noqa: PLR0913 - one argument for each thing a difference says, all by name
    question: Question[T],
    thing: T,
    *,
    subject: str,
    seen: Inventory,
    explanation: str,
    reasons: Sequence[str],
    standing: Standing,
    missing_from: Viewpoint | None = None,
    at_most: float = 1.0,
) -> Finding:
    """A finding about a thing that one view shows and another, or another list of the same view, does not.

    Args:
        question: What was compared.
        thing: As the view that shows it has it.
        subject: Its name.
        seen: The look that shows it.
        explanation: One or two sentences.
        reasons: The evidence.
        standing: How firmly it stands.
        missing_from: The view that lacks it; None where lists of one view disagree.
        at_most: What the confidence may not exceed; below that of a confirmed difference it also stays suspicious.
    """
    verdict, confidence = _VERDICTS[standing]
    found = Finding(
        kind=question.kind,
        host=seen.host,
        viewpoint=seen.viewpoint,
        subject=subject,
        verdict=verdict,
        confidence=min(confidence, at_most),
        explanation=capitalised(explanation),
        reasons=tuple(reasons),
        techniques=(ROOTKIT,),
        missing_from=() if missing_from is None else (missing_from,),
        standing=standing,
    )
    found = msgspec.structs.replace(found, **{question.role: thing})
    if found.process is None:
        return found
    return msgspec.structs.replace(found, parent=seen.by_pid().get(found.process.parent_pid))


def confirmed(finding: Finding) -> Finding:
    """The same, after a look while the guest stood still has shown it too."""
    verdict, confidence = _VERDICTS[Standing.CONFIRMED]
    weak = finding.standing is Standing.SAMPLED and finding.confidence < _VERDICTS[Standing.SAMPLED][1]
    return msgspec.structs.replace(
        finding,
        standing=Standing.CONFIRMED,
        verdict=finding.verdict if weak else verdict,
        confidence=finding.confidence if weak else confidence,
        reasons=(*(reason for reason in finding.reasons if reason not in {ONE_LOOK, STILL}), STILL),
    )
