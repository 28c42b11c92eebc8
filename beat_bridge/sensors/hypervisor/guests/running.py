"""Which kernel a guest's processors run, by the page tables they use."""

from beat_bridge.sensors.hypervisor.guests.standing import Standing
from beat_bridge.sensors.hypervisor.memory import MemoryFault, PhysicalMemory
from beat_bridge.sensors.hypervisor.memory.paging import AddressSpace
from beat_bridge.sensors.hypervisor.symbols.vmcoreinfo import VmCoreInfo

_ISOLATION = 1 << 12
"""With page-table isolation, user space runs on the second of a pair of tables (arch/x86/mm/pti.c)."""


def runs_on(note: VmCoreInfo, memory: PhysicalMemory, standing: Standing | None) -> bool:
    """Whether a processor's page tables map this kernel to where it lies.

    Args:
        note: The kernel.
        memory: The guest's RAM.
        standing: The guest; where it does not tell its page tables, or nobody tells of it, no processor is known.
    """
    start = note.symbols.get("_stext")
    if start is None or standing is None:
        return False
    roots = {
        (root, 5 if tables.five_levels else 4)
        for tables in standing.page_tables or ()
        for root in (tables.root, tables.root & ~_ISOLATION)
    }
    return any(_maps(memory, root, levels, start) == note.physical(start) for root, levels in roots)


def _maps(memory: PhysicalMemory, root: int, levels: int, address: int) -> int | None:
    try:
        return AddressSpace(memory, root, levels).translate(address)
    except MemoryFault:
        return None
