"""A stretch of code compared with what it should be: what differs, and who accounts for it."""

from dataclasses import dataclass

from beat_bridge.sensors.hypervisor.integrity.patching.alternatives import accept_alternatives
from beat_bridge.sensors.hypervisor.integrity.patching.branches import (
    accept_locks,
    accept_retpolines,
    accept_returns,
    accept_seals,
)
from beat_bridge.sensors.hypervisor.integrity.patching.constants import accept_constants
from beat_bridge.sensors.hypervisor.integrity.patching.paravirt import accept_paravirt
from beat_bridge.sensors.hypervisor.integrity.patching.switches import accept_jump_labels, accept_static_calls
from beat_bridge.sensors.hypervisor.integrity.patching.tracing import accept_entries, accept_probes
from beat_bridge.sensors.hypervisor.integrity.running import Running
from beat_bridge.sensors.hypervisor.integrity.sites import Sites
from beat_bridge.sensors.hypervisor.integrity.stretch import Stretch, differences
from beat_bridge.sensors.hypervisor.integrity.visitor import Visitor


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one part of some code."""

    unexplained: tuple[tuple[int, int], ...]
    """(place of the first byte, place behind the last) of what nothing accounts for."""
    visitors: tuple[Visitor, ...]
    """Who has been let in by the kernel's own means."""


def verify(stretch: Stretch, sites: Sites, running: Running) -> Verdict:
    """Explain what differs.

    Args:
        stretch: Its `expected` is changed to what is explained.
        sites: Of the whole code.
        running: Asked for what only the guest knows.
    """
    if stretch.live == stretch.expected:
        return Verdict((), ())
    accept_returns(stretch, sites, running)
    accept_seals(stretch, sites)
    accept_locks(stretch, sites)
    accept_retpolines(stretch, sites, running)
    accept_paravirt(stretch, sites, running)
    accept_constants(stretch, sites, running)
    accept_jump_labels(stretch, sites)
    visitors = accept_static_calls(stretch, sites, running)
    visitors += accept_entries(stretch, sites, running)
    accept_alternatives(stretch, sites, running)
    visitors += accept_probes(stretch, running)
    left = differences(stretch.live, stretch.expected)
    return Verdict(tuple((stretch.start + start, stretch.start + end) for start, end in left), tuple(visitors))
