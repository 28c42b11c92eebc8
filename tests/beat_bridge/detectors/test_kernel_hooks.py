"""Places in the kernel that lead elsewhere."""

from typing import Any

import pytest

from beat_bridge.detectors import detect
from beat_bridge.detectors.kernel_hooks import SHARED_SURFACES
from beat_bridge.model.base import Verdict
from beat_bridge.model.findings import FindingKind
from tests.inventories.builders import hook, inventory


@pytest.mark.parametrize(
    ("changes", "verdict", "confidence"),
    [
        ({}, Verdict.MALICIOUS, 0.95),
        ({"owner": "evil"}, Verdict.MALICIOUS, 0.9),
        ({"surface": "ftrace"}, Verdict.MALICIOUS, 0.95),
        ({"actual": ""}, Verdict.MALICIOUS, 0.95),
        *(({"surface": surface, "owner": "edr"}, Verdict.SUSPICIOUS, 0.5) for surface in sorted(SHARED_SURFACES)),
    ],
)
def test_an_unexplained_difference_is_found(changes: dict[str, Any], verdict: Verdict, confidence: float) -> None:
    """A target that belongs to nobody, or to a module on a surface not made for it, is malicious; else suspicious."""
    (finding,) = detect(inventory(hook(**changes)))
    assert (finding.kind, finding.verdict, finding.confidence) == (FindingKind.KERNEL_HOOK_DRIFT, verdict, confidence)
    assert finding.hook == hook(**changes)
    assert finding.subject == f"hook:{hook(**changes).surface}:__x64_sys_bpf"
    assert finding.techniques == ("T1014",)


def test_changed_code_is_told_as_bytes() -> None:
    """Bytes of code are told with those that should be there, and not as leading anywhere."""
    (finding,) = detect(inventory(hook(surface="kernel_text", symbol="do_fork+0x40", expected="01", actual="fe")))
    assert finding.explanation.startswith("The code at do_fork+0x40 (kernel_text) is fe, and should be 01")
    assert "lead" not in finding.explanation


@pytest.mark.parametrize("changes", [{"explained": True}, {"actual": "__x64_sys_bpf"}])
def test_what_is_explained_or_no_difference_is_quiet(changes: dict[str, Any]) -> None:
    """A livepatch that the sensor accounts for, and an entry that is as it should be, make no finding."""
    assert detect(inventory(hook(**changes))) == ()
