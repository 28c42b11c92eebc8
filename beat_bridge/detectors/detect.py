"""All questions asked of one inventory."""

from collections.abc import Callable, Iterable, Iterator

from beat_bridge.detectors import (
    combination,
    kernel_hooks,
    masquerade,
    orphan_sockets,
    pid_files,
    shared_memory,
    socket_filters,
)
from beat_bridge.detectors.cross_view import lists, reportable
from beat_bridge.detectors.scene import Scene
from beat_bridge.model.findings import Finding, FindingKind
from beat_bridge.model.inventory import Inventory

QUESTIONS: tuple[Callable[[Scene], Iterator[Finding]], ...] = (
    socket_filters.find,
    masquerade.find,
    shared_memory.find,
    pid_files.find,
    orphan_sockets.find,
    kernel_hooks.find,
    lists.find,
)
_ORDER = list(FindingKind)


def detect(inventory: Inventory) -> tuple[Finding, ...]:
    """Everything found in one inventory.

    Deterministic: by kind, then subject, whatever order the sensors listed things in. One finding for each kind and
    subject; where a torn inventory names one thing twice, the stronger stays. Among them may be candidates
    (`Finding.standing`), which one torn look at a running guest may have made: see `cross_view`.
    """
    scene = Scene(inventory)
    found = _distinct(finding for question in QUESTIONS for finding in question(scene))
    return _distinct((*found, *combination.find(scene, reportable(found))))


def _distinct(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    ordered = sorted(
        findings,
        key=lambda f: (_ORDER.index(f.kind), f.subject, -f.verdict.rank, -f.confidence, f.reasons),
    )
    kept: dict[tuple[FindingKind, str], Finding] = {}
    for finding in ordered:
        kept.setdefault((finding.kind, finding.subject), finding)
    return tuple(kept.values())
