"""Where a build says that the kernel patches its own code: the tables that compiler, assembler and objtool leave.

All are relative to themselves or hold link addresses, so they are the same in every boot; they come from the image,
never from the guest, which frees most of them after boot and may lie about the rest.
"""

import re
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count as count_from

from beat_bridge.sensors.hypervisor.symbols.image_section import ImageSection
from beat_bridge.sensors.hypervisor.symbols.symbol_table import SymbolTable

_WORD = struct.Struct("<Q")
_JUMP_ENTRY = struct.Struct("<iiq")
"""struct jump_entry (include/linux/jump_label.h): code, target, key; each relative to itself."""
_STATIC_CALL = struct.Struct("<ii")
"""struct static_call_site (include/linux/static_call_types.h): addr, key; each relative to itself."""
_TRAMPOLINE = re.compile(rb"^[a-zA-Z]__SCT__(.+)$", re.MULTILINE)
_IN_REPLACEMENTS = (".return_sites", ".retpoline_sites")
_TRACER_CALLS = ("ftrace_call", "ftrace_regs_call")
_TAIL, _TAIL_AND_INIT = 1, 3
"""STATIC_CALL_SITE_FLAGS, in the low bits of the key."""


@dataclass(frozen=True, slots=True)
class Layouts:
    """Of the tables whose entries are C structures that changed over time; from BTF."""

    alternative: int = 14
    """sizeof(struct alt_instr): 12 until the entry got flags in Linux 6.3."""
    lengths_at: int = 12
    """offsetof(struct alt_instr, instrlen); replacementlen follows."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One entry of .altinstructions."""

    at: int
    size: int
    replacement: bytes
    """As the image has it, relocated."""
    moved: int
    """Address of the replacement less that of the code it replaces: what a distance within it grows by."""
    returns: tuple[int, ...] = ()
    """Bytes from its beginning to jumps to the return thunk: they are patched before it is used."""
    retpolines: tuple[int, ...] = ()
    """The same to retpolines."""


@dataclass(frozen=True, slots=True)
class JumpLabel:
    """One entry of __jump_table."""

    at: int
    target: int
    """Bytes from the beginning of the stretch, as `at`."""


@dataclass(frozen=True, slots=True)
class StaticCall:
    """One entry of .static_call_sites, or a trampoline."""

    at: int
    key: int
    """Address of its ``struct static_call_key``, moved by KASLR."""
    tail: bool
    """A jump rather than a call."""


@dataclass(frozen=True, slots=True)
class Paravirt:
    """One entry of .parainstructions (until Linux 6.7)."""

    at: int
    kind: int
    """Index into pv_ops."""
    size: int


@dataclass(frozen=True, slots=True)
class RuntimeConstant:
    """One entry of runtime_ptr_* or runtime_shift_* (since Linux 6.11)."""

    at: int
    size: int
    symbol: str
    """The variable whose value stands there."""


def _offsets() -> "array[int]":
    return array("I")


@dataclass(slots=True)
class Sites:
    """Of one stretch of code. `at` is bytes from its beginning; every list ascends by it."""

    alternatives: list[Alternative] = field(default_factory=list)
    returns: "array[int]" = field(default_factory=_offsets)
    retpolines: "array[int]" = field(default_factory=_offsets)
    seals: "array[int]" = field(default_factory=_offsets)
    locks: "array[int]" = field(default_factory=_offsets)
    entries: "array[int]" = field(default_factory=_offsets)
    """Calls to __fentry__: what ftrace patches."""
    tracer_calls: "array[int]" = field(default_factory=_offsets)
    """Where ftrace's own code calls a tracer (ftrace_update_ftrace_func())."""
    jump_labels: list[JumpLabel] = field(default_factory=list)
    static_calls: list[StaticCall] = field(default_factory=list)
    trampolines: list[StaticCall] = field(default_factory=list)
    paravirt: list[Paravirt] = field(default_factory=list)
    constants: list[RuntimeConstant] = field(default_factory=list)


def offsets_within(places: "array[int]", low: int, high: int) -> "array[int]":
    """Those of ascending places that lie from `low` up to, not including, `high`."""
    return places[bisect_left(places, low) : bisect_left(places, high)]


def switched(sites: Sites, low: int, high: int) -> Iterator[tuple[int, int]]:
    """The places that the kernel patches again and again as it runs, but for the beginnings of functions.

    Yields:
        (place, bytes) of those that begin from `low` up to, not including, `high`.
    """
    for at in offsets_within(sites.tracer_calls, low, high):
        yield at, 5
    for sorted_sites, size in ((sites.jump_labels, 5), (sites.static_calls, 6), (sites.trampolines, 5)):
        first = bisect_left(sorted_sites, low, key=lambda each: each.at)
        for each in sorted_sites[first : bisect_left(sorted_sites, high, first, key=lambda each: each.at)]:
            yield each.at, size


def read_sites(
    sections: Mapping[str, ImageSection], address: int, size: int, layouts: Layouts, *, slide: int = 0
) -> Sites:
    """Read every table there is.

    Args:
        sections: By name; those that a build lacks have no entries.
        address: Where the code lies, in the same addresses as the sections.
        size: Bytes of code: entries for other code are left out.
        layouts: Of this kernel's structures.
        slide: What is added to the addresses of static calls' keys.
    """

    def offsets(name: str) -> "array[int]":
        section = sections.get(name)
        found = () if section is None else _relative(section)
        return array("I", sorted([at - address for at in found if 0 <= at - address < size]))

    sites = Sites(
        alternatives=_alternatives(sections, address, size, layouts),
        returns=offsets(".return_sites"),
        retpolines=offsets(".retpoline_sites"),
        seals=offsets(".ibt_endbr_seal"),
        locks=offsets(".smp_locks"),
        entries=array("I", sorted(_absolute(sections.get("__mcount_loc"), address, size))),
        jump_labels=_jump_labels(sections.get("__jump_table"), address, size),
        static_calls=_static_calls(sections.get(".static_call_sites"), address, size, slide),
        paravirt=_paravirt(sections.get(".parainstructions"), address, size),
    )
    for name in sections:
        _, found, symbol = name.partition("runtime_ptr_")
        width = 8
        if not found:
            _, found, symbol = name.partition("runtime_shift_")
            width = 1
        if found:
            sites.constants += [RuntimeConstant(at, width, symbol) for at in offsets(name)]
    sites.constants.sort(key=lambda each: each.at)
    return sites


def _relative(section: ImageSection) -> list[int]:
    """Addresses in a table of 32-bit distances from the entry itself."""
    count = len(section.data) // 4
    distances = struct.unpack_from(f"<{count}i", section.data)
    return [at + distance for at, distance in zip(count_from(section.address, 4), distances, strict=False)]


def _absolute(section: ImageSection | None, address: int, size: int) -> Iterator[int]:
    if section is not None:
        for (at,) in _WORD.iter_unpack(section.data[: len(section.data) // 8 * 8]):
            if 0 <= at - address < size:
                yield at - address


def _alternatives(sections: Mapping[str, ImageSection], address: int, size: int, layouts: Layouts) -> list[Alternative]:
    table, code = sections.get(".altinstructions"), sections.get(".altinstr_replacement")
    if table is None or code is None:
        return []
    returns, retpolines = (
        array("I", sorted(at - code.address for at in found if 0 <= at - code.address < len(code.data)))
        for found in (_relative(sections[name]) if name in sections else () for name in _IN_REPLACEMENTS)
    )
    found = []
    for at in range(0, len(table.data) - layouts.alternative + 1, layouts.alternative):
        instruction, replacement = struct.unpack_from("<ii", table.data, at)
        length, replaced = table.data[at + layouts.lengths_at : at + layouts.lengths_at + 2]
        place = table.address + at + instruction
        source = table.address + at + 4 + replacement
        skip = source - code.address
        if 0 <= place - address <= size - length and 0 <= skip <= len(code.data) - replaced and replaced <= length:
            within_it = (
                tuple(at - skip for at in offsets_within(places, skip, skip + replaced))
                for places in (returns, retpolines)
            )
            replacement_code = code.data[skip : skip + replaced]
            found.append(Alternative(place - address, length, replacement_code, source - place, *within_it))
    return sorted(found, key=lambda each: each.at)


def _jump_labels(section: ImageSection | None, address: int, size: int) -> list[JumpLabel]:
    found = []
    if section is not None:
        data = section.data[: len(section.data) // _JUMP_ENTRY.size * _JUMP_ENTRY.size]
        for number, (code, target, _) in enumerate(_JUMP_ENTRY.iter_unpack(data)):
            entry = section.address + _JUMP_ENTRY.size * number
            if 0 <= entry + code - address < size:
                found.append(JumpLabel(entry + code - address, entry + 4 + target - address))
    return sorted(found, key=lambda each: each.at)


def _static_calls(section: ImageSection | None, address: int, size: int, slide: int) -> list[StaticCall]:
    found = []
    if section is not None:
        data = section.data[: len(section.data) // _STATIC_CALL.size * _STATIC_CALL.size]
        for number, (code, key) in enumerate(_STATIC_CALL.iter_unpack(data)):
            entry = section.address + _STATIC_CALL.size * number
            if 0 <= entry + code - address < size:
                flagged = entry + 4 + key
                found.append(
                    StaticCall(entry + code - address, (flagged & ~_TAIL_AND_INIT) + slide, bool(flagged & _TAIL))
                )
    return sorted(found, key=lambda each: each.at)


def tracer_calls(table: SymbolTable, address: int, size: int) -> "array[int]":
    """The labels in arch/x86/kernel/ftrace_64.S at calls that ftrace patches.

    Args:
        table: The kernel's symbols.
        address: Link address of the code.
        size: Bytes of code.
    """
    found = (table.find(name) for name in _TRACER_CALLS)
    return array("I", sorted(at - address for at in found if at is not None and 0 <= at - address < size))


def trampolines(table: SymbolTable, address: int, size: int, slide: int) -> list[StaticCall]:
    """The trampolines of static calls, which have no table: `__SCT__name` belongs to the key `__SCK__name`.

    Args:
        table: The kernel's symbols.
        address: Link address of the code.
        size: Bytes of code.
        slide: What is added to the addresses of keys.
    """
    found = []
    for match in _TRAMPOLINE.finditer(table.names):
        name = match[1].decode("utf-8", "surrogateescape")
        at, key = table.find(f"__SCT__{name}"), table.find(f"__SCK__{name}")
        if at is not None and key is not None and 0 <= at - address < size:
            found.append(StaticCall(at - address, key + slide, tail=True))
    return sorted(found, key=lambda each: each.at)


def _paravirt(section: ImageSection | None, address: int, size: int) -> list[Paravirt]:
    found = []
    if section is not None:
        for at in range(0, len(section.data) - 15, 16):  # struct paravirt_patch_site: instr, type, len, padding
            place, kind, length = struct.unpack_from("<QBB", section.data, at)
            if 0 <= place - address < size:
                found.append(Paravirt(place - address, kind, length))
    return sorted(found, key=lambda each: each.at)
