"""What code should be, and where the kernel may have patched it."""

import struct
from array import array
from typing import Protocol

from drgn import FaultError, Program

from beat_bridge.sensors.hypervisor.integrity.nops import NOP5
from beat_bridge.sensors.hypervisor.integrity.pages import Pages
from beat_bridge.sensors.hypervisor.integrity.patching.branches import CALL
from beat_bridge.sensors.hypervisor.integrity.sites import Layouts, Sites, read_sites, tracer_calls, trampolines
from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, once, record, size_of
from beat_bridge.sensors.hypervisor.symbols.build import KernelBuild
from beat_bridge.sensors.hypervisor.symbols.image_section import ImageSection
from beat_bridge.sensors.hypervisor.symbols.relocations import Relocations, relocate

_MARK = bytes.fromhex("f30f1efa")
_MOST_TABLE = 8 << 20


class Reference(Protocol):
    """Says what some code should be. Places are bytes from its beginning."""

    @property
    def sites(self) -> Sites:
        """Where it may be patched."""
        ...

    def should(self, low: int, high: int) -> bytes:
        """The unpatched bytes of a part."""
        ...


class KernelImage:
    """The kernel's own file."""

    def __init__(self, prog: Program) -> None:
        """Read the tables of patch sites.

        Raises:
            LookupError: The profile was made without an image.
        """
        profile = view(prog).profile
        build, slide = profile.build, profile.kernel_offset
        if not build.text or build.relocations is None:
            raise LookupError("the kernel's image is not at hand")
        self._build, self._moves, self._slide = build, build.relocations, slide
        tables = dict(build.patch_sites)
        if ".altinstr_replacement" in tables:
            tables[".altinstr_replacement"] = moved(tables[".altinstr_replacement"], self._moves, slide)
        self.sites = read_sites(tables, build.text_start, len(build.text), layouts(prog), slide=slide)
        self.sites.trampolines = trampolines(build.symbols, build.text_start, len(build.text), slide)
        self.sites.tracer_calls = tracer_calls(build.symbols, build.text_start, len(build.text))

    def should(self, low: int, high: int) -> bytes:
        """As Reference."""
        # a relocated place may begin before the part
        first, last = max(low - 8, 0), high + 8
        code = relocate(self._build.text[first:last], self._build.text_start + first, self._moves, self._slide)
        return code[low - first : high - first]


def moved(section: ImageSection, moves: Relocations, slide: int) -> ImageSection:
    """A section of the image as KASLR moves its contents."""
    return ImageSection(section.address, relocate(section.data, section.address, moves, slide))


def layouts(prog: Program) -> Layouts:
    """How this kernel lays its tables out; as newer kernels do where its types do not say."""
    try:
        return once(
            prog,
            ("layouts",),
            lambda: Layouts(size_of(prog, "struct alt_instr"), offset_of(prog, "struct alt_instr", "instrlen")),
        )
    except LookupError:
        return Layouts()


class FirstLook:
    """The code as it was when it was first seen, where no image is at hand: later changes show, earlier ones do not."""

    def __init__(self, prog: Program, pages: Pages) -> None:
        """Remember what was read; the tables that survive boot come from the guest itself.

        Raises:
            LookupError: Not all of it could be read.
        """
        profile = view(prog).profile
        code = pages.part(0, pages.size)
        if code is None:
            raise LookupError("the kernel's code could not be read whole")
        self._code = code
        tables = {}
        for name, bounds in _LASTING_TABLES.items():
            section = _table(prog, *bounds)
            if section is not None:
                tables[name] = section
        self.sites = read_sites(tables, profile.text_start, pages.size, layouts(prog))
        self.sites.trampolines = trampolines(
            profile.build.symbols, profile.build.text_start, pages.size, profile.kernel_offset
        )
        self.sites.tracer_calls = tracer_calls(profile.build.symbols, profile.build.text_start, pages.size)
        self.sites.entries = _entries(profile.build, code)

    def should(self, low: int, high: int) -> bytes:
        """As Reference."""
        return self._code[low:high]


_LASTING_TABLES = {
    "__jump_table": ("__start___jump_table", "__stop___jump_table"),
    ".static_call_sites": ("__start_static_call_sites", "__stop_static_call_sites"),
}


def _table(prog: Program, start: str, stop: str) -> ImageSection | None:
    first, end = view(prog).profile.find(start), view(prog).profile.find(stop)
    if first is None or end is None or not 0 < end - first <= _MOST_TABLE:
        return None
    try:
        return ImageSection(first, view(prog).read(first, end - first))
    except FaultError:
        return None


def _entries(build: KernelBuild, code: bytes) -> "array[int]":
    """Where functions begin with what ftrace may have written."""
    found = set()
    for address in build.symbols.addresses:
        at = address - build.text_start
        if not 0 <= at < len(code):
            continue
        at += len(_MARK) if code.startswith(_MARK, at) else 0
        if code.startswith(NOP5, at) or code[at : at + 1] == struct.pack("B", CALL):
            found.add(at)
    return array("I", sorted(found))


class Remembered:
    """A module's code as it was when it was first seen, where its file is not at hand."""

    def __init__(self, prog: Program, module: int, pages: Pages) -> None:
        """Remember what was read; the tables of patch sites are the loaded module's own.

        Args:
            prog: The guest.
            module: ``struct module *``
            pages: Its code.

        Raises:
            LookupError: Not all of it could be read.
        """
        code = pages.part(0, pages.size)
        if code is None:
            raise LookupError("the module's code could not be read whole")
        self._code = code
        tables = {}
        for name, (pointer, count, size) in _TABLES_OF_MODULES.items():
            try:
                first, entries = record(prog, "struct module", pointer, count).read(module)
                if first and 0 < entries * size <= _MOST_TABLE:
                    tables[name] = ImageSection(first, view(prog).read(first, entries * size))
            except (FaultError, LookupError):  # this module, or this kernel, has none
                continue
        self.sites = read_sites(tables, pages.start, pages.size, layouts(prog))

    def should(self, low: int, high: int) -> bytes:
        """As Reference."""
        return self._code[low:high]


_TABLES_OF_MODULES = {
    "__jump_table": ("jump_entries", "num_jump_entries", 16),
    ".static_call_sites": ("static_call_sites", "num_static_call_sites", 8),
    "__mcount_loc": ("ftrace_callsites", "num_ftrace_callsites", 8),
}
"""Members of ``struct module``: the table, its entries, and the bytes of one."""
