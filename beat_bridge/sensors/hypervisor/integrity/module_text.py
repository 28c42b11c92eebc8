"""The sensor `module_text`: the code of loaded modules, compared with their files as the loader would lay them out."""

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from drgn import FaultError, Program
from msgspec.structs import replace

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.kernel import Hook, KernelModule
from beat_bridge.sensors.hypervisor.integrity.code import WatchedCode
from beat_bridge.sensors.hypervisor.integrity.module_files import ModuleFile, find_modules, read_module
from beat_bridge.sensors.hypervisor.integrity.pages import PAGE, Pages
from beat_bridge.sensors.hypervisor.integrity.reference import Remembered, layouts
from beat_bridge.sensors.hypervisor.integrity.running import Running
from beat_bridge.sensors.hypervisor.integrity.sites import Sites, read_sites
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, record, size_of
from beat_bridge.sensors.hypervisor.symbols.image_section import ImageSection

_MOST_SECTIONS = 4096
_MOST_CODE = 64 << 20
_TABLES = (
    ".altinstr_replacement",
    ".altinstructions",
    ".ibt_endbr_seal",
    ".parainstructions",
    ".retpoline_sites",
    ".return_sites",
    ".smp_locks",
    ".static_call_sites",
    "__jump_table",
    "__mcount_loc",
)
_TRAMPOLINE = "__SCT__"
_ABSOLUTE = {1: struct.Struct("<Q"), 10: struct.Struct("<I"), 11: struct.Struct("<I")}
_RELATIVE = {2: struct.Struct("<I"), 4: struct.Struct("<I"), 24: struct.Struct("<Q")}
"""R_X86_64_64, _32, _32S; _PC32, _PLT32, _PC64"""


_Key = tuple[int, str, int, int]
"""Address of the ``struct module``, name, and where its code is: another of any of them is another module."""


@dataclass(slots=True)
class _Known:
    """One module that is watched."""

    pages: Pages
    code: WatchedCode | None = None
    lacking: str = ""


def _key(address: int, module: KernelModule | None) -> _Key:
    return (address, "", 0, 0) if module is None else (address, module.name, module.text_address, module.text_size)


def _code(module: KernelModule) -> tuple[int, int]:
    if module.text_address % PAGE or not 0 < module.text_size <= _MOST_CODE:
        raise FaultError(f"{module.name} says that it has {module.text_size} bytes of code", module.text_address)
    return module.text_address, module.text_size


def _plain_name(module: str, start: int) -> Callable[[int], tuple[str, str]]:
    return lambda address: ("module_text", f"{module}+{address - start:#x}")


class ModuleText:
    """The modules of one guest, remembered from look to look."""

    def __init__(self, prog: Program, directory: Path | None) -> None:
        """Watch modules.

        Args:
            prog: The guest.
            directory: Their files (`/lib/modules/RELEASE` of the guest), if they are at hand.

        Raises:
            DoorwatchError: There is no such directory.
        """
        self._prog = prog
        release = view(prog).profile.release
        if directory is not None and (directory / release).is_dir():
            directory = directory / release
        self._files = {} if directory is None else find_modules(directory)
        self._given = directory is not None
        self._known: dict[_Key, _Known] = {}
        self._parsed: dict[str, ModuleFile] = {}
        self._loaded: Mapping[int, KernelModule] = {}
        self._offered: dict[int, dict[str, int]] = {}

    def look(self, modules: Mapping[int, KernelModule], running: Running, gaps: Gaps) -> Iterator[Hook]:
        """What differs from the files, or, where there is none, from the first look.

        Args:
            modules: By address of the ``struct module``.
            running: Asked for explanations.
            gaps: Takes the account; its objects are pages.
        """
        self._loaded = modules
        self._offered.clear()
        self._known = {key: known for key, known in self._known.items() if _key(key[0], modules.get(key[0])) == key}
        for address, module in sorted(modules.items()):
            with gaps.question(f"the code of module {module.name}"):
                key = _key(address, module)
                if key not in self._known:
                    self._known[key] = _Known(Pages(self._prog, *_code(module)))
                known = self._known[key]
                changed = known.pages.changed(gaps)
                if known.code is None:
                    known.lacking = self._watch(address, module, known)
                if known.lacking:
                    gaps.lack(f"the code of module {module.name}", LookupError(known.lacking))
                if known.code is not None:
                    yield from known.code.look(changed, running, gaps)

    def _watch(self, address: int, module: KernelModule, known: "_Known") -> str:
        """Begin to watch a module; why it cannot be compared with its file, or empty."""
        pages = known.pages
        try:
            linked = _Linked(self, module.name, section_addresses(self._prog, address), pages.start, pages.size)
        except DoorwatchError as error:
            known.code = WatchedCode(
                pages, Remembered(self._prog, address, pages), _plain_name(module.name, pages.start)
            )
            return f"{error}; only later changes show"
        known.code = WatchedCode(pages, linked, linked.name)
        return ""

    def file(self, name: str) -> ModuleFile:
        """A module's file.

        Raises:
            DoorwatchError: There is none, or it is damaged.
        """
        if not self._given:
            raise DoorwatchError("give the directory of the guest's modules")
        if name not in self._files:
            raise DoorwatchError(f"no file {name}.ko in the directory of modules")
        if name not in self._parsed:
            self._parsed[name] = read_module(self._files[name])
        return self._parsed[name]

    def resolve(self, name: str) -> int | None:
        """The address of a symbol that a module takes from the kernel: of several with one name, the global one."""
        found = list(view(self._prog).profile.symbols_named(name))
        exported = [symbol for symbol in found if symbol.letter.isupper()]
        return (exported or found)[0].address if found else self._from_modules(name)

    def _from_modules(self, name: str) -> int | None:
        """The address of what another loaded module offers."""
        for address, module in self._loaded.items():
            if address not in self._offered:
                try:
                    self._offered[address] = _defined(self.file(module.name), section_addresses(self._prog, address))
                except DoorwatchError:
                    self._offered[address] = {}
            if name in self._offered[address]:
                return self._offered[address][name]
        return None

    def key(self, address: int) -> int:
        """The key of a static call; where only its trampoline is exported, the module's table names that instead."""
        symbol = view(self._prog).profile.symbol_at(address)
        if symbol is None or not symbol.name.startswith(_TRAMPOLINE):
            return address
        return view(self._prog).profile.find(f"__SCK__{symbol.name.removeprefix(_TRAMPOLINE)}") or address

    @property
    def prog(self) -> Program:
        """The guest."""
        return self._prog


def section_addresses(prog: Program, module: int) -> dict[str, int]:
    """Where the loader put each section: what /sys/module/NAME/sections shows (`mod->sect_attrs`).

    Args:
        prog: The guest.
        module: ``struct module *``
    """
    (attributes,) = record(prog, "struct module", "sect_attrs").read(module)
    (count,) = record(prog, "struct module_sect_attrs", "nsections").read(attributes)
    size = size_of(prog, "struct module_sect_attr")
    first = attributes + offset_of(prog, "struct module_sect_attrs", "attrs")
    fields = record(prog, "struct module_sect_attr", "battr.attr.name", "address")
    found: dict[str, int] = {}
    for number in range(min(count, _MOST_SECTIONS)):
        name_at, address = fields.read(first + number * size)
        name = view(prog).read(name_at, 64).split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
        found.setdefault(name, address)
    return found


def _defined(file: ModuleFile, addresses: Mapping[str, int]) -> dict[str, int]:
    """The addresses of a module's own symbols."""
    found = {}
    for symbol in file.symbols:
        if symbol.name and 0 < symbol.section < len(file.sections):
            at = addresses.get(file.sections[symbol.section].name)
            if at is not None:
                found[symbol.name] = at + symbol.value
    return found


class _Linked:
    """A module's code as the loader made it; a Reference."""

    def __init__(self, owner: ModuleText, name: str, addresses: Mapping[str, int], start: int, size: int) -> None:
        self._owner, self._name, self._start = owner, name, start
        self._file = owner.file(name)
        self._addresses = addresses
        code = bytearray(size)
        tables: dict[str, ImageSection] = {}
        self._functions: list[tuple[int, str]] = []
        for number, section in enumerate(self._file.sections):
            at = addresses.get(section.name)
            if at is None or not section.data:
                continue
            if start <= at and at + len(section.data) <= start + size:
                code[at - start : at - start + len(section.data)] = self._linked(number, at)
            elif section.name in _TABLES or section.name.startswith("runtime_"):
                tables[section.name] = ImageSection(at, self._linked(number, at))
        self._code = bytes(code)
        self.sites: Sites = read_sites(tables, start, size, layouts(owner.prog))
        self.sites.static_calls = [replace(each, key=owner.key(each.key)) for each in self.sites.static_calls]
        for symbol in self._file.symbols:
            if symbol.function and symbol.name and 0 < symbol.section < len(self._file.sections):
                at = addresses.get(self._file.sections[symbol.section].name)
                if at is not None:
                    self._functions.append((at + symbol.value, symbol.name))
        self._functions.sort()

    def should(self, low: int, high: int) -> bytes:
        """As Reference."""
        return self._code[low:high]

    def name(self, address: int) -> tuple[str, str]:
        """Surface and place, for what is told."""
        place = bisect_right(self._functions, (address, "\U0010ffff")) - 1
        if place < 0:
            return "module_text", f"{self._name}+{address - self._start:#x}"
        at, function = self._functions[place]
        return "module_text", f"{self._name}:{function}+{address - at:#x}"

    def _linked(self, number: int, address: int) -> bytes:
        """A section with its relocations applied (arch/x86/kernel/module.c, apply_relocate_add())."""
        data = bytearray(self._file.sections[number].data)
        for each in self._file.relocations(number):
            form = _ABSOLUTE.get(each.kind) or _RELATIVE.get(each.kind)
            if form is None or not 0 <= each.at <= len(data) - form.size:
                if each.kind:
                    raise DoorwatchError(f"{self._name}.ko holds a relocation of kind {each.kind}, which is unknown")
                continue
            value = self._value(each.symbol) + each.addend
            if each.kind in _RELATIVE:
                value -= address + each.at
            form.pack_into(data, each.at, value & (1 << 8 * form.size) - 1)
        return bytes(data)

    def _value(self, number: int) -> int:
        if not 0 <= number < len(self._file.symbols):
            raise DoorwatchError(f"{self._name}.ko is damaged: it has no symbol {number}")
        symbol = self._file.symbols[number]
        if symbol.section == 0:
            found = self._owner.resolve(symbol.name)
            if found is None:
                raise DoorwatchError(f"{symbol.name}, which it uses, is nowhere in the kernel")
            return found
        if symbol.section >= len(self._file.sections):
            return symbol.value  # SHN_ABS
        return self._addresses.get(self._file.sections[symbol.section].name, 0) + symbol.value
