"""Where a build says that the kernel patches its own code: the tables that compiler, assembler and objtool leave.

All are relative to themselves or hold link addresses, so they are the same in every boot; they come from the image,
never from the guest, which frees most of them after boot and may lie about the rest.
"""

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import add, attrgetter

import msgspec

from beat_bridge.sensors.hypervisor.symbols.image_section import ImageSection
from beat_bridge.sensors.hypervisor.symbols.symbol_table import SymbolTable

_JUMP_ENTRY = struct.Struct("<iiq")
"""struct jump_entry (include/linux/jump_label.h): code, target, key; each relative to itself."""
_STATIC_CALL = struct.Struct("<ii")
"""struct static_call_site (include/linux/static_call_types.h): addr, key; each relative to itself."""
_TRAMPOLINE = b"__SCT__"
_IN_REPLACEMENTS = (".return_sites", ".retpoline_sites")
_TRACER_CALLS = ("ftrace_call", "ftrace_regs_call")
_PLACE = attrgetter("at")
_TAIL, _TAIL_AND_INIT = 1, 3
"""STATIC_CALL_SITE_FLAGS, in the low bits of the key."""


@dataclass(frozen=True, slots=True)
class Layouts:
    """Of the tables whose entries are C structures that changed over time; from BTF."""

    alternative: int = 14
    """sizeof(struct alt_instr): 12 until the entry got flags in Linux 6.3."""
    lengths_at: int = 12
    """offsetof(struct alt_instr, instrlen); replacementlen follows."""


class Alternative(msgspec.Struct, frozen=True, gc=False):
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


class JumpLabel(msgspec.Struct, frozen=True, gc=False):
    """One entry of __jump_table."""

    at: int
    target: int
    """Bytes from the beginning of the stretch, as `at`."""


class StaticCall(msgspec.Struct, frozen=True, gc=False):
    """One entry of .static_call_sites, or a trampoline."""

    at: int
    key: int
    """Address of its ``struct static_call_key``, moved by KASLR."""
    tail: bool
    """A jump rather than a call."""


class Paravirt(msgspec.Struct, frozen=True, gc=False):
    """One entry of .parainstructions (until Linux 6.7)."""

    at: int
    kind: int
    """Index into pv_ops."""
    size: int


class RuntimeConstant(msgspec.Struct, frozen=True, gc=False):
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
        return array("I") if section is None else _relative(section, address, size)

    sites = Sites(
        alternatives=_alternatives(sections, address, size, layouts),
        returns=offsets(".return_sites"),
        retpolines=offsets(".retpoline_sites"),
        seals=offsets(".ibt_endbr_seal"),
        locks=offsets(".smp_locks"),
        entries=_absolute(sections.get("__mcount_loc"), address, size),
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
    sites.constants.sort(key=_PLACE)
    return sites


def _relative(section: ImageSection, address: int, size: int) -> "array[int]":
    """Of a table of 32-bit distances from the entry itself: what lies in some code, as bytes from its beginning."""
    distances = array("i", section.data[: len(section.data) // 4 * 4])
    first = section.address - address
    return _within(map(add, distances, range(first, first + 4 * len(distances), 4)), size)


def _absolute(section: ImageSection | None, address: int, size: int) -> "array[int]":
    """The same of a table of 64-bit addresses."""
    if section is None:
        return array("I")
    return _within(map((-address).__add__, array("Q", section.data[: len(section.data) // 8 * 8])), size)


def _within(places: Iterable[int], size: int) -> "array[int]":
    """Those below a size, ascending. A kernel's table has tens of thousands: no step for each in Python."""
    ascending = sorted(places)
    return array("I", ascending[bisect_left(ascending, 0) : bisect_left(ascending, size)])


def _alternatives(sections: Mapping[str, ImageSection], address: int, size: int, layouts: Layouts) -> list[Alternative]:
    table, code = sections.get(".altinstructions"), sections.get(".altinstr_replacement")
    if table is None or code is None:
        return []
    returns, retpolines = (
        _relative(sections[name], code.address, len(code.data)) if name in sections else array("I")
        for name in _IN_REPLACEMENTS
    )
    between, behind = layouts.lengths_at - 8, layouts.alternative - layouts.lengths_at - 2
    entry = struct.Struct(f"<ii{between}xBB{behind}x")
    place, skip = table.address - address, table.address + 4 - code.address
    moved = code.address - address
    found = []
    for instruction, replacement, length, replaced in entry.iter_unpack(table.data[: _whole(table, entry.size)]):
        at, source = place + instruction, skip + replacement
        if 0 <= at <= size - length and 0 <= source <= len(code.data) - replaced and replaced <= length:
            end = source + replaced
            within_it = [
                tuple(each - source for each in offsets_within(places, source, end)) for places in (returns, retpolines)
            ]
            found.append(Alternative(at, length, code.data[source:end], moved + source - at, *within_it))
        place += entry.size
        skip += entry.size
    return sorted(found, key=_PLACE)


def _whole(section: ImageSection, size: int) -> int:
    """Bytes of whole entries in a table."""
    return len(section.data) // size * size


def _jump_labels(section: ImageSection | None, address: int, size: int) -> list[JumpLabel]:
    found = []
    if section is not None:
        entry = section.address - address
        for code, target, _ in _JUMP_ENTRY.iter_unpack(section.data[: _whole(section, _JUMP_ENTRY.size)]):
            if 0 <= entry + code < size:
                found.append(JumpLabel(entry + code, entry + 4 + target))
            entry += _JUMP_ENTRY.size
    return sorted(found, key=_PLACE)


def _static_calls(section: ImageSection | None, address: int, size: int, slide: int) -> list[StaticCall]:
    found = []
    if section is not None:
        entry = section.address
        for code, key in _STATIC_CALL.iter_unpack(section.data[: _whole(section, _STATIC_CALL.size)]):
            at = entry + code - address
            if 0 <= at < size:
                flagged = entry + 4 + key
                found.append(StaticCall(at, (flagged & ~_TAIL_AND_INIT) + slide, bool(flagged & _TAIL)))
            entry += _STATIC_CALL.size
    return sorted(found, key=_PLACE)


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
    names = table.names
    start = names.find(_TRAMPOLINE)
    while start >= 0:
        start += len(_TRAMPOLINE)
        end = names.find(b"\n", start)
        name = names[start : end if end >= 0 else len(names)].decode("utf-8", "surrogateescape")
        at = table.addresses[bisect_right(table.starts, start) - 1] - address
        key = table.find(f"__SCK__{name}") if 0 <= at < size else None
        if key is not None:
            found.append(StaticCall(at, key + slide, tail=True))
        start = names.find(_TRAMPOLINE, start)
    return sorted(found, key=_PLACE)


def _paravirt(section: ImageSection | None, address: int, size: int) -> list[Paravirt]:
    found = []
    if section is not None:
        for at in range(0, len(section.data) - 15, 16):  # struct paravirt_patch_site: instr, type, len, padding
            place, kind, length = struct.unpack_from("<QBB", section.data, at)
            if 0 <= place - address < size:
                found.append(Paravirt(place - address, kind, length))
    return sorted(found, key=_PLACE)
