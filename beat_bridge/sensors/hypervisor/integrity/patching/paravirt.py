"""Paravirtual operations: calls through pv_ops, made direct at boot (until Linux 6.7; alternatives since)."""

from beat_bridge.sensors.hypervisor.integrity.nops import fillings
from beat_bridge.sensors.hypervisor.integrity.patching.branches import BRANCH, CALL, target_at
from beat_bridge.sensors.hypervisor.integrity.running import Running
from beat_bridge.sensors.hypervisor.integrity.sites import Sites
from beat_bridge.sensors.hypervisor.integrity.stretch import Stretch

_NOTHING = "_paravirt_nop"
_INDIRECT = (bytes.fromhex("ff1425"), bytes.fromhex("ff15"))


def accept_paravirt(stretch: Stretch, sites: Sites, running: Running) -> None:
    """A call through pv_ops may be a direct one of what its pointer names now, or nothing where that is nothing."""
    if not sites.paravirt:
        return
    table = running.symbol("pv_ops")
    nothing = running.symbol(_NOTHING)
    if table is None:
        return
    for site in stretch.sites(sites.paravirt):
        if not stretch.differs(site.at, site.size) or stretch.should(site.at, 2) not in (
            prefix[:2] for prefix in _INDIRECT
        ):
            continue
        target = running.word(table + 8 * site.kind)
        now = stretch.now(site.at, site.size)
        if target == nothing:
            good = now in fillings(site.size)
        else:
            good = (
                site.size >= BRANCH
                and now[0] == CALL
                and target_at(stretch.address + site.at, now) == target
                and now[BRANCH:] in fillings(site.size - BRANCH)
                and running.target(target) is not None
            )
        if good:
            stretch.accept(site.at, site.size)
