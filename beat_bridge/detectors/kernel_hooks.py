"""Does the kernel lead anywhere other than where it should?

Confidence: 0.95 where the target lies in nobody's text, 0.9 where it lies in a module or program that owns up to it,
0.5 on the surfaces that security products use for the same purpose (ftrace, kprobe, LSM, netfilter) when there is an
owner. What a sensor has explained (livepatch, static call, a known EDR) is no finding.
"""

from collections.abc import Iterator

import msgspec

from beat_bridge.detectors.scene import Scene
from beat_bridge.model.base import Verdict
from beat_bridge.model.findings import Finding, FindingKind
from beat_bridge.model.kernel import Hook

ROOTKIT = "T1014"
"""ATT&CK: Rootkit."""
SHARED_SURFACES = frozenset({"ftrace", "kprobe", "lsm", "netfilter"})
"""Where kernels offer a hook to whoever asks: a named owner may be a product rather than a rootkit."""

CODE = frozenset({"kernel_text", "module_text"})
"""Where `expected` and `actual` are bytes of code, which lead nowhere by themselves."""


def find(scene: Scene) -> Iterator[Finding]:
    """A finding for each unexplained difference."""
    for hook in scene.inventory.hooks:
        if hook.explained or hook.actual == hook.expected:
            continue
        verdict, confidence, owner = _weigh(hook)
        found = scene.finding(
            FindingKind.KERNEL_HOOK_DRIFT,
            f"hook:{hook.surface}:{hook.symbol}",
            verdict=verdict,
            confidence=confidence,
            explanation=f"{_words(hook)}: {owner}.",
            reasons=(f"expected {hook.expected}", f"found {hook.actual or 'nothing'}", owner),
            techniques=(ROOTKIT,),
        )
        yield msgspec.structs.replace(found, hook=hook)


def _words(hook: Hook) -> str:
    if hook.surface in CODE:
        return f"The code at {hook.symbol} ({hook.surface}) is {hook.actual}, and should be {hook.expected}"
    return f"{hook.symbol} ({hook.surface}) leads to {hook.actual or 'nothing'}, not to {hook.expected}"


def _weigh(hook: Hook) -> tuple[Verdict, float, str]:
    if not hook.owner:
        if hook.surface in CODE:
            return Verdict.MALICIOUS, 0.95, "no patch of the kernel's own explains that"
        return Verdict.MALICIOUS, 0.95, "no module and no BPF program owns the target"
    owner = f"the target belongs to {hook.owner}"
    if hook.surface in SHARED_SURFACES:
        return Verdict.SUSPICIOUS, 0.5, owner
    return Verdict.MALICIOUS, 0.9, owner
