"""What is true of one build of a kernel, wherever and whenever it runs: from its image, or from a guest's RAM."""

import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor import elf
from beat_bridge.sensors.hypervisor.memory import MemoryFault, PhysicalMemory
from beat_bridge.sensors.hypervisor.symbols.boot_image import unpack_kernel
from beat_bridge.sensors.hypervisor.symbols.btf import Btf
from beat_bridge.sensors.hypervisor.symbols.image_section import ImageSection
from beat_bridge.sensors.hypervisor.symbols.kallsyms import Kallsyms, decode
from beat_bridge.sensors.hypervisor.symbols.relocations import Relocations, read_relocations
from beat_bridge.sensors.hypervisor.symbols.symbol_table import SymbolTable
from beat_bridge.sensors.hypervisor.symbols.vmcoreinfo import START_KERNEL_MAP, VmCoreInfo

MAX_RESIDENT = 96 << 20
"""Bytes of RAM that a kernel's image is looked for in; Debian's fill 60 MiB."""
_RELEASE = re.compile(rb"Linux version (\S{1,64}) ")
_PAGE = 4096
_NOTHING = ImageSection(0, b"")
_TABLES = (
    ".altinstr_replacement",
    ".altinstructions",
    ".ibt_endbr_seal",
    ".parainstructions",
    ".retpoline_sites",
    ".return_sites",
    ".smp_locks",
)
"""Sections that hold patch sites; beside them `runtime_*`."""
_MOST_READ_ONLY = 64 << 20
_BOUNDED_TABLES = {
    ".static_call_sites": ("__start_static_call_sites", "__stop_static_call_sites"),
    "__jump_table": ("__start___jump_table", "__stop___jump_table"),
    "__mcount_loc": ("__start_mcount_loc", "__stop_mcount_loc"),
}
"""Tables that the linker put into a larger section, and the symbols around them."""


class Origin(StrEnum):
    """Whose word a build is."""

    IMAGE = "image"
    """The kernel's file: can be trusted as far as that file can."""
    MEMORY = "memory"
    """The guest's own RAM: convenient, and the guest may have changed it."""


@dataclass(frozen=True, slots=True)
class KernelBuild:
    """One build. All addresses are link addresses, before KASLR."""

    build_id: str
    """GNU build id in hexadecimal."""
    release: str
    """`uname -r`."""
    origin: Origin
    symbols: SymbolTable
    types: Btf
    text_start: int
    """`_text`."""
    text_end: int
    """`_etext`."""
    text: bytes
    """The code between them as the image has it, unpatched; empty from MEMORY, whose code proves nothing."""
    relocations: Relocations | None
    """What KASLR changes; None where the image has no table, and from MEMORY."""
    read_only: ImageSection = _NOTHING
    """The data from `__start_rodata` up to the exception table, as the image has it; empty from MEMORY."""
    patch_sites: Mapping[str, ImageSection] = field(default_factory=dict)
    """The tables of places where the kernel patches its own code, by section; most are freed after boot, so that only
    the image has them. None from MEMORY."""


def build_from_image(image: bytes, source: str) -> KernelBuild:
    """Take a kernel's file (`/boot/vmlinuz-...`, or vmlinux) apart.

    Raises:
        DoorwatchError: It is truncated or no kernel, or was built without BTF or kallsyms.
    """
    data = unpack_kernel(image, source)
    sections = elf.read_sections(data, source)

    def content(name: str, why: str) -> bytes:
        if name not in sections:
            raise DoorwatchError(f"{source}: this kernel has no section {name}: {why}")
        return elf.content(data, sections[name], source)

    types = Btf(content(".BTF", "it was built without CONFIG_DEBUG_INFO_BTF, so its types are unknown"), source)
    read_only = content(".rodata", "not a whole kernel image")
    table = decode(read_only, source)
    symbols = SymbolTable.of(table.addresses, table.names)
    start, end = _text_range(symbols, source)
    text = content(".text", "not a whole kernel image")
    skip = start - sections[".text"].address
    if skip < 0 or end - start > len(text) - skip:
        raise DoorwatchError(f"{source}: damaged kernel image: its symbols place code outside the section .text")
    release = _RELEASE.search(read_only)
    return KernelBuild(
        build_id=elf.build_id(content(".notes", "it has no build id")),
        release=release[1].decode("ascii", "backslashreplace") if release else "",
        origin=Origin.IMAGE,
        symbols=symbols,
        types=types,
        text_start=start,
        text_end=end,
        text=text[skip : skip + end - start],
        relocations=read_relocations(data[elf.end(data, source) :], start, symbols.addresses[-1]),
        read_only=_read_only(data, sections, source),
        patch_sites=_patch_sites(data, sections, symbols, source),
    )


def _read_only(data: bytes, sections: dict[str, elf.Section], source: str) -> ImageSection:
    """From .rodata to the exception table, as they lie in memory; what describes types is left out."""
    first = sections[".rodata"]
    last = sections.get("__ex_table", first)
    size = last.address + last.size - first.address
    if not first.size <= size <= _MOST_READ_ONLY or size != last.offset + last.size - first.offset:
        return ImageSection(first.address, elf.content(data, first, source))
    return ImageSection(first.address, data[first.offset : first.offset + size])


def _patch_sites(
    data: bytes, sections: dict[str, elf.Section], symbols: SymbolTable, source: str
) -> dict[str, ImageSection]:
    found = {
        name: ImageSection(section.address, elf.content(data, section, source))
        for name, section in sections.items()
        if name in _TABLES or name.startswith("runtime_")
    }
    for name, (start, stop) in _BOUNDED_TABLES.items():
        bounds = symbols.find(start), symbols.find(stop)
        if bounds[0] is None or bounds[1] is None:  # built without this kind of patching
            continue
        for section in sections.values():
            if section.type != elf.SHT_NOBITS and section.address <= bounds[0] < section.address + section.size:
                whole = ImageSection(section.address, elf.content(data, section, source))
                found[name] = whole.part(bounds[0], bounds[1])
    return found


def build_from_memory(memory: PhysicalMemory, boot: VmCoreInfo) -> KernelBuild:
    """Read types and symbols where the running kernel itself keeps them.

    Raises:
        DoorwatchError: They are not there, or not readable.
    """
    source = f"kernel {boot.release} in guest memory"
    start = boot.symbols["_stext"] & ~(_PAGE - 1)
    resident = _resident(memory, boot.physical(start), source)
    table = _unslid(decode(resident, source), boot.kernel_offset)
    symbols = SymbolTable.of(table.addresses, table.names)
    text_start, text_end = _text_range(symbols, source)
    return KernelBuild(
        build_id=boot.build_id,
        release=boot.release,
        origin=Origin.MEMORY,
        symbols=symbols,
        types=_types_in(resident, symbols, start - boot.kernel_offset, source),
        text_start=text_start,
        text_end=text_end,
        text=b"",
        relocations=None,
    )


def _resident(memory: PhysicalMemory, address: int, source: str) -> bytes:
    """The RAM from the kernel's first byte on, as far as the region goes or a kernel can."""
    for region in memory.regions():
        if region.start <= address < region.end:
            try:
                return memory.read(address, min(MAX_RESIDENT, region.end - address))
            except MemoryFault as error:
                raise DoorwatchError(f"{source}: cannot be read: {error}") from error
    raise DoorwatchError(f"{source}: VMCOREINFO places it at {address:#x}, where the guest has no RAM")


def _types_in(resident: bytes, symbols: SymbolTable, base: int, source: str) -> Btf:
    """The .BTF section: the linker's own symbols say where it is."""
    start, stop = symbols.find("__start_BTF"), symbols.find("__stop_BTF")
    if start is None or stop is None or not base <= start < stop <= base + len(resident):
        raise DoorwatchError(
            f"{source}: it was built without CONFIG_DEBUG_INFO_BTF, so its types are unknown: use a kernel that has it"
        )
    return Btf(resident[start - base : stop - base], source)


def _unslid(table: Kallsyms, slide: int) -> Kallsyms:
    """A table from RAM gives addresses as KASLR moved them; per-CPU offsets are not moved."""
    moved = array("Q", [at - slide if at >= START_KERNEL_MAP + slide else at for at in table.addresses])
    return Kallsyms(moved, table.names, table.base - slide)


def _text_range(symbols: SymbolTable, source: str) -> tuple[int, int]:
    start, end = symbols.find("_text"), symbols.find("_etext")
    if start is None or end is None or start >= end:
        raise DoorwatchError(f"{source}: its symbol table lacks _text and _etext: not a whole kernel")
    return start, end
