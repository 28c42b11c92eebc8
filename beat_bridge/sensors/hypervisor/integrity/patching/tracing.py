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
    for at in stretch.places(sites.entries):
        if not stretch.differs(at, BRANCH):
            continue
        now = stretch.now(at, BRANCH)
        if now == NOP5:
            stretch.accept(at, BRANCH)
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


def accept_probe(stretch: Stretch, at: int, running: Running) -> Visitor | None:
    """A differing byte is where a registered kprobe stands: a trap, or a jump to the probe's own detour."""
    if stretch.now(at, 1)[0] == _TRAP:
        probe = running.probe(stretch.address + at)
        if probe is not None and probe.owner:
            stretch.accept(at, 1)
            return Visitor(at, 1, probe.owner)
    for start in range(at, max(at - BRANCH, stretch.start - 1), -1):
        now = stretch.now(start, BRANCH)
        if len(now) == BRANCH and now[0] == JUMP:
            probe = running.probe(stretch.address + start)
            if probe is not None and probe.owner and probe.detour == target_at(stretch.address + start, now):
                stretch.accept(start, BRANCH)
                return Visitor(start, BRANCH, probe.owner)
    return None
