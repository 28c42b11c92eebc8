"""One file per question asked of an inventory; pure functions from inventory to findings."""

from beat_bridge.detectors.detect import detect

__all__ = ["detect"]
