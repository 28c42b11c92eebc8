"""x86-64 page tables: one virtual address to one physical address (Intel SDM volume 3, chapter 4.5)."""

from beat_bridge.sensors.hypervisor.memory import PhysicalMemory

_PRESENT = 1
_LARGE = 1 << 7
_ADDRESS = 0x000F_FFFF_FFFF_F000


def translate(memory: PhysicalMemory, tables: int, address: int, *, five_levels: bool) -> int | None:
    """Walk from the top table to the page.

    Args:
        memory: The guest's RAM.
        tables: Physical address of the top table (what CR3 would hold).
        address: Virtual address, canonical.
        five_levels: CR4.LA57 is set.

    Returns:
        The physical address; None where nothing is mapped.

    Raises:
        MemoryFault: A table lies outside RAM.
    """
    table = tables & _ADDRESS
    for level in range(5 if five_levels else 4, 0, -1):
        shift = 12 + 9 * (level - 1)
        slot = table + ((address >> shift) & 511) * 8
        entry = int.from_bytes(memory.read(slot, 8), "little")
        if not entry & _PRESENT:
            return None
        table = entry & _ADDRESS
        if level == 1 or (entry & _LARGE and level <= 3):
            mask = (1 << shift) - 1
            return (table & ~mask) | (address & mask)
    return None
