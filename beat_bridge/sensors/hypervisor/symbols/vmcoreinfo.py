"""VMCOREINFO: the note a kernel writes for crash tools, found in a guest's RAM.

It gives the build id, how far KASLR moved the kernel (KERNELOFFSET) and where its image lies in physical memory
(phys_base). Copies of its text lie about in page cache and dmesg, and a guest may forge one: so each candidate is asked
to prove itself by the kernel's own page tables before it is believed.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory import MemoryFault, PhysicalMemory
from beat_bridge.sensors.hypervisor.memory.paging import AddressSpace
from beat_bridge.sensors.hypervisor.memory.searching import pages_beginning_with

START_KERNEL_MAP = 0xFFFF_FFFF_8000_0000
"""Where x86-64 maps the kernel image (Documentation/arch/x86/x86_64/mm.rst)."""
NOTE_SIZE = 4096
"""VMCOREINFO_BYTES, include/linux/vmcore_info.h."""
MAX_CANDIDATES = 4096
_BEGINNING = b"OSRELEASE="
_BUILD_ID = re.compile(r"[0-9a-f]{16,64}")
"""The guest chooses this text, and it becomes a file name in the cache."""
_LINE = re.compile(rb"([A-Z0-9_-]+)(?:\(([^()\n]*)\))?=([^\n\0]*)\n")


@dataclass(frozen=True, slots=True)
class VmCoreInfo:
    """One running kernel's account of itself."""

    text: bytes
    """The whole note, as drgn wants it."""
    release: str
    """`uname -r`."""
    build_id: str
    """In hexadecimal; empty on kernels before 5.9, which do not say."""
    kernel_offset: int
    """KASLR slide in bytes: an address in the image plus this is the address in the guest."""
    phys_base: int
    """The physical address of a kernel address A (slide included) is A - START_KERNEL_MAP + phys_base."""
    symbols: dict[str, int]
    """A few symbols at their addresses in the guest."""
    five_level_paging: bool

    def physical(self, address: int) -> int:
        """Guest-physical address of an address in the running kernel's image."""
        return address - START_KERNEL_MAP + self.phys_base


def parse(text: bytes) -> VmCoreInfo | None:
    """Read one note; None if it lacks what every x86-64 kernel writes."""
    values: dict[tuple[str, str], str] = {}
    for name, argument, value in _LINE.findall(text):
        values.setdefault((name.decode(), argument.decode("latin-1")), value.decode("latin-1"))
    identity = values.get(("BUILD-ID", ""), "")
    try:
        return VmCoreInfo(
            text=text,
            release=values["OSRELEASE", ""],
            build_id=identity if _BUILD_ID.fullmatch(identity) else "",
            kernel_offset=int(values["KERNELOFFSET", ""], 16),
            phys_base=int(values["NUMBER", "phys_base"]),
            symbols={name: int(value, 16) for (kind, name), value in values.items() if kind == "SYMBOL"},
            five_level_paging=values.get(("NUMBER", "pgtable_l5_enabled"), "0") != "0",
        )
    except (KeyError, ValueError):
        return None


def candidates(memory: PhysicalMemory) -> Iterator[VmCoreInfo]:
    """Every whole note in RAM that begins a page, as the kernel's own does (crash_save_vmcoreinfo_init); unproven."""
    for number, address in enumerate(pages_beginning_with(memory, _BEGINNING)):
        if number == MAX_CANDIDATES:
            return
        try:
            raw = memory.read(address, NOTE_SIZE)
        except MemoryFault:  # RAM ends within this page
            continue
        note = parse(raw.partition(b"\0")[0])
        if note is not None:
            yield note


def proven(note: VmCoreInfo, memory: PhysicalMemory) -> bool:
    """Whether the page tables it names map the kernel to where it says the kernel is.

    A stale or forged note fails here unless its author also built page tables and a kernel around it.
    """
    start, tables = note.symbols.get("_stext"), note.symbols.get("swapper_pg_dir")
    if start is None or tables is None:
        return False
    try:
        space = AddressSpace(memory, note.physical(tables), 5 if note.five_level_paging else 4)
        return space.translate(start) == note.physical(start)
    except MemoryFault:
        return False


def _any(_note: VmCoreInfo) -> bool:
    return True


def find_vmcoreinfo(memory: PhysicalMemory, runs: Callable[[VmCoreInfo], bool] = _any) -> VmCoreInfo:
    """The note of the kernel that runs in this memory.

    Args:
        memory: The guest's RAM.
        runs: Whether a kernel is the one that runs, where somebody can tell. After a restart the one before it lies
            about in RAM, page tables and all, for as long as nobody needs the pages.

    Raises:
        DoorwatchError: There is none, or none that its own page tables confirm, or none that runs.
    """
    seen = left = 0
    for note in candidates(memory):
        seen += 1
        if proven(note, memory):
            if runs(note):
                return note
            left += 1
    if left:
        raise DoorwatchError(
            f"guest memory: {left} kernels left from before a restart, none of which runs: the guest is still booting"
        )
    if seen:
        raise DoorwatchError(
            f"guest memory: {seen} VMCOREINFO notes, none of which fits the page tables it names: the guest is still "
            "booting, the memory layout is wrong, or the notes are forged"
        )
    _expect_any(memory)
    raise DoorwatchError(
        "guest memory: no VMCOREINFO note in it: not a running x86-64 Linux kernel, or one that is still booting"
    )


def _expect_any(memory: PhysicalMemory) -> None:
    """Tell memory that holds nothing from memory that is gone.

    Raises:
        DoorwatchError: Not one region of it can be read.
    """
    fault: MemoryFault | None = None
    for region in memory.regions():
        try:
            memory.read(region.start, 1)
        except MemoryFault as error:
            fault = error
        else:
            return
    if fault is not None:
        raise DoorwatchError(f"guest memory: none of it can be read: {fault}") from fault
