"""Values that never change after boot, written into the instructions that use them.

Since Linux 6.11: arch/x86/include/asm/runtime-const.h.
"""

from beat_bridge.sensors.hypervisor.integrity.running import Running
from beat_bridge.sensors.hypervisor.integrity.sites import Sites
from beat_bridge.sensors.hypervisor.integrity.stretch import Stretch


def accept_constants(stretch: Stretch, sites: Sites, running: Running) -> None:
    """A constant is the value that its variable has now."""
    for constant in stretch.sites(sites.constants):
        if not stretch.differs(constant.at, constant.size):
            continue
        variable = running.symbol(constant.symbol)
        value = None if variable is None else running.word(variable)
        now = stretch.now(constant.at, constant.size)
        if value is not None and now == value.to_bytes(8, "little")[: constant.size]:
            stretch.accept(constant.at, constant.size)
