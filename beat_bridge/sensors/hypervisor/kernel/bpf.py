"""eBPF objects, as their id tables hold them (kernel/bpf/syscall.c)."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import msgspec
from drgn import FaultError, Program

from beat_bridge.model.kernel import BpfLink, BpfMap, BpfProgram
from beat_bridge.sensors.hypervisor.kernel.asking import listed, read_each, walked
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.lists import idr_for_each, list_for_each, pointer_at
from beat_bridge.sensors.hypervisor.kernel.program import symbol, view
from beat_bridge.sensors.hypervisor.kernel.records import enumerators, offset_of, record

_MOST_MAPS = 4096
"""Of one program: MAX_USED_MAPS is 64, and each descriptor array holds more."""
_Object = TypeVar("_Object", bound=msgspec.Struct)


def bpf_programs(prog: Program, gaps: Gaps) -> Iterator[BpfProgram]:
    """The programs of `prog_idr`: what `bpftool prog` should list."""
    program = record(prog, "struct bpf_prog", "type", "aux")
    tag_at = offset_of(prog, "struct bpf_prog", "tag")
    auxiliary = record(prog, "struct bpf_prog_aux", "name", "used_map_cnt", "used_maps")
    types = enumerators(prog, "enum bpf_prog_type", "BPF_PROG_TYPE_")

    def read(number: int, address: int) -> BpfProgram:
        kind, aux = program.read(address)
        name, count, maps = auxiliary.read(aux)
        return BpfProgram(
            id=number,
            name=name.decode("utf-8", "backslashreplace"),
            type=types.get(kind, str(kind)),
            tag=view(prog).read(address + tag_at, 8).hex(),
            map_ids=_map_ids(prog, maps, count),
        )

    yield from _objects(prog, _Table("BPF program", "prog_idr", _programs_in_use), read, gaps)
    ending = set(Gaps().whole(_programs_without_holders(prog), "programs that end"))
    if ending:  # the kernel is through with them in a moment; what stays so is no ending
        view(prog).again()
        for number, address in sorted(ending.intersection(_programs_without_holders(prog))):
            gaps.miss(
                f"BPF program {number}", FaultError("nobody refers to it, and its code still has a name", address)
            )


def bpf_maps(prog: Program, gaps: Gaps) -> Iterator[BpfMap]:
    """The maps of `map_idr`: what `bpftool map` should list."""
    fields = record(prog, "struct bpf_map", "name", "map_type")
    types = enumerators(prog, "enum bpf_map_type", "BPF_MAP_TYPE_")

    def read(number: int, address: int) -> BpfMap:
        name, kind = fields.read(address)
        return BpfMap(id=number, name=name.decode("utf-8", "backslashreplace"), type=types.get(kind, str(kind)))

    return _objects(prog, _Table("BPF map", "map_idr", _maps_in_use), read, gaps)


def bpf_links(prog: Program, gaps: Gaps) -> Iterator[BpfLink]:
    """The links of `link_idr`: what `bpftool link` should list."""
    fields = record(prog, "struct bpf_link", "type", "prog")
    program = record(prog, "struct bpf_prog", "aux")
    auxiliary = record(prog, "struct bpf_prog_aux", "id")
    types = enumerators(prog, "enum bpf_link_type", "BPF_LINK_TYPE_")

    def read(number: int, address: int) -> BpfLink:
        kind, attached = fields.read(address)
        program_id = auxiliary.read(program.read(attached)[0])[0] if attached else 0
        return BpfLink(id=number, type=types.get(kind, str(kind)), program_id=program_id)

    return _objects(prog, _Table("BPF link", "link_idr", lambda _: ()), read, gaps)


class _Table(NamedTuple):
    """Where objects of one kind are listed, and how else one comes upon them."""

    what: str
    idr: str
    in_use: Callable[[Program], Iterable[tuple[int, int]]]
    """(id, address) of objects that others lead to; may raise FaultError."""


def _objects(prog: Program, table: _Table, read: Callable[[int, int], _Object], gaps: Gaps) -> Iterator[_Object]:
    """The objects of one table, each by (id, address), and those that it lacks although they are in use.

    These are seen as well as the others: that their table does not show them is for a detector to tell, and no gap.
    """

    def walk() -> Iterator[tuple[int, int]]:
        return idr_for_each(prog, prog[table.idr])

    shown = walked(prog, walk, f"the table of {table.what}s", gaps)
    lacking = _lacking(prog, table, shown)
    if lacking:
        view(prog).again()
        shown = walked(prog, walk, f"the table of {table.what}s", gaps)
        lacking = _lacking(prog, table, shown)
    for each, found in read_each(prog, [*shown, *lacking], lambda each: read(*each), listed(walk)):
        if isinstance(found, FaultError):
            gaps.miss(f"{table.what} {each[0]}", found)
        else:
            gaps.examined += 1
            yield msgspec.structs.replace(found, seen_by=("in_use" if each in lacking else table.idr,))


def _lacking(prog: Program, table: _Table, shown: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted(set(Gaps().whole(table.in_use(prog), "objects in use")) - set(shown))


def _programs_in_use(prog: Program) -> Iterator[tuple[int, int]]:
    """Programs whose machine code the kernel has names for, and that somebody refers to."""
    return ((number, program) for number, program, references in _programs_with_code(prog) if references > 0)


def _programs_without_holders(prog: Program) -> Iterator[tuple[int, int]]:
    """Those that nobody refers to: they are out of their table before their code has no name."""
    return ((number, program) for number, program, references in _programs_with_code(prog) if references <= 0)


def _programs_with_code(prog: Program) -> Iterator[tuple[int, int, int]]:
    """(id, address, references) of programs whose machine code has a name; parts of programs have no id."""
    node_at = offset_of(prog, "struct bpf_prog_aux", "ksym") + offset_of(prog, "struct bpf_ksym", "lnode")
    is_program = record(prog, "struct bpf_ksym", "prog")
    auxiliary = record(prog, "struct bpf_prog_aux", "id", "prog", "refcnt.counter")
    for node in list_for_each(prog, symbol(prog, "bpf_kallsyms")):
        if is_program.read(node - offset_of(prog, "struct bpf_ksym", "lnode"))[0]:
            number, program, references = auxiliary.read(node - node_at)
            if number:
                yield number, program, references


def _maps_in_use(prog: Program) -> Iterator[tuple[int, int]]:
    """Maps that listed programs refer to."""
    aux_of = record(prog, "struct bpf_prog", "aux")
    maps_of = record(prog, "struct bpf_prog_aux", "used_map_cnt", "used_maps")
    number = record(prog, "struct bpf_map", "id")
    for _, program in idr_for_each(prog, prog["prog_idr"]):
        count, maps = maps_of.read(aux_of.read(program)[0])
        for place in range(min(count, _MOST_MAPS)):
            used = pointer_at(prog, maps + 8 * place)
            yield number.read(used)[0], used


def bpf_code(prog: Program) -> Iterator[tuple[int, int, str]]:
    """The machine code of programs and trampolines: `bpf_kallsyms`.

    Yields:
        (first address, end, name)
    """
    node_at = offset_of(prog, "struct bpf_ksym", "lnode")
    fields = record(prog, "struct bpf_ksym", "start", "end", "name")
    for node in list_for_each(prog, symbol(prog, "bpf_kallsyms")):
        start, end, name = fields.read(node - node_at)
        yield start, end, name.decode("utf-8", "backslashreplace")


def _map_ids(prog: Program, maps: int, count: int) -> tuple[int, ...]:
    if count > _MOST_MAPS:
        raise FaultError(f"a BPF program says it uses {count:,} maps", maps)
    number = record(prog, "struct bpf_map", "id")
    return tuple(sorted({int(number.read(pointer_at(prog, maps + 8 * place))[0]) for place in range(count)}))
