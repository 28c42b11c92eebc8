"""Paths and verdicts in words an analyst can read aloud."""

from collections.abc import Sequence

from beat_bridge.cbpf.demands import PROTOCOL_NAMES, Demands
from beat_bridge.cbpf.follow import Path
from beat_bridge.model.base import Verdict
from beat_bridge.model.filters import Magic


def describe_path(path: Path, demands: Demands) -> str:
    """What one path accepts."""
    layers = demands.layers
    parts = []
    if layers.protocols:
        parts.append(" or ".join(PROTOCOL_NAMES.get(number, str(number)).upper() for number in layers.protocols))
    return ", ".join(parts) or "any packet"


def summarise(verdict: Verdict, magic: Sequence[Magic], paths: Sequence[str], reasons: Sequence[str]) -> str:
    """One sentence."""
    if verdict is Verdict.MALICIOUS and magic:
        return f"Wakes on packets with {', '.join(magic_text(item) for item in magic[:6])}."
    return f"{verdict.value}: {'; '.join(reasons[:3]) or '; '.join(paths[:3])}"


def magic_text(magic: Magic) -> str:
    """`udp[8:2] = 0x7255`."""
    place = f"{magic.protocol}{'.payload' if magic.base == 'payload' else ''}[{magic.offset}:{magic.width}]"
    masked = f" & {magic.mask:#x}" if magic.mask is not None else ""
    return f"{place}{masked} = {magic.value:#0{magic.width * 2 + 2}x}"
