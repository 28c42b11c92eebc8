"""Beginnings of functions, where ftrace and BPF come in, and kprobes, which stand anywhere."""

from beat_bridge.sensors.hypervisor.integrity.nops import NOP5
from beat_bridge.sensors.hypervisor.integrity.patching.branches import BRANCH, CALL, JUMP, target_at
from beat_bridge.sensors.hypervisor.integrity.running import Running
from beat_bridge.sensors.hypervisor.integrity.sites import Sites
from beat_bridge.sensors.hypervisor.integrity.stretch import Stretch
from beat_bridge.sensors.hypervisor.integrity.visitor import Visitor

_TRAP = 0xCC


def accept_entries(stretch: Stretch, sites: Sites, running: Running) -> list[Visitor]:
    """A function begins with a nop, or a call to a tracer: ftrace's own, or code that somebody owns.

    Ftrace's own calls in turn what its users have asked for.
    """
    visitors = []
    live, expected, start = stretch.live, stretch.expected, stretch.start
    for at in stretch.places(sites.entries):
        now = live[at - start : at - start + BRANCH]
        if now == NOP5:
            expected[at - start : at - start + BRANCH] = NOP5
        elif now == expected[at - start : at - start + BRANCH]:
            continue
        elif now[0] in (CALL, JUMP):
            owner = running.tracer(target_at(stretch.address + at, now))
            if owner is not None:
                visitors.append(Visitor(at, BRANCH, owner))
                stretch.accept(at, BRANCH)
    for at in stretch.places(sites.tracer_calls):
        if stretch.differs(at, BRANCH) and stretch.now(at, 1)[0] == CALL:
            called = running.target(target_at(stretch.address + at, stretch.now(at, BRANCH)))
            if called is not None:
                visitors.append(Visitor(at, BRANCH, called.owner))
                stretch.accept(at, BRANCH)
    return visitors


def accept_probes(stretch: Stretch, running: Running) -> list[Visitor]:
    """Where a kprobe is registered may be a trap, or a jump to the probe's own detour."""
    visitors = []
    for address, probe in running.probes().items():
        at = address - stretch.address
        if not stretch.start <= at < stretch.end or not stretch.differs(at, BRANCH) or not probe.owner:
            continue
        now = stretch.now(at, BRANCH)
        size = 1
        if now[0] == JUMP and probe.detour == target_at(address, now):
            size = BRANCH
        elif now[0] != _TRAP or not stretch.differs(at, 1):
            continue
        stretch.accept(at, size)
        visitors.append(Visitor(at, size, probe.owner))
    return visitors
