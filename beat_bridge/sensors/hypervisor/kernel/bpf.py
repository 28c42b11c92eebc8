"""eBPF objects, as their id tables hold them (kernel/bpf/syscall.c)."""

from collections.abc import Iterator

from drgn import FaultError, Program

from beat_bridge.model.kernel import BpfLink, BpfMap, BpfProgram
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.lists import idr_for_each, list_for_each, pointer_at
from beat_bridge.sensors.hypervisor.kernel.program import symbol, view
from beat_bridge.sensors.hypervisor.kernel.records import enumerators, offset_of, record

_MOST_MAPS = 4096
"""Of one program: MAX_USED_MAPS is 64, and each descriptor array holds more."""


def bpf_programs(prog: Program, gaps: Gaps) -> Iterator[BpfProgram]:
    """The programs of `prog_idr`: what `bpftool prog` should list."""
    program = record(prog, "struct bpf_prog", "type", "aux")
    tag_at = offset_of(prog, "struct bpf_prog", "tag")
    auxiliary = record(prog, "struct bpf_prog_aux", "name", "used_map_cnt", "used_maps")
    types = enumerators(prog, "enum bpf_prog_type", "BPF_PROG_TYPE_")
    for number, address in gaps.whole(idr_for_each(prog, prog["prog_idr"]), "the table of BPF programs"):
        try:
            kind, aux = program.read(address)
            name, count, maps = auxiliary.read(aux)
            yield BpfProgram(
                id=number,
                name=name.decode("utf-8", "backslashreplace"),
                type=types.get(kind, str(kind)),
                tag=view(prog).read(address + tag_at, 8).hex(),
                map_ids=_map_ids(prog, maps, min(count, _MOST_MAPS)),
            )
        except FaultError as error:
            gaps.miss(f"BPF program {number}", error)
            continue
        gaps.examined += 1


def bpf_maps(prog: Program, gaps: Gaps) -> Iterator[BpfMap]:
    """The maps of `map_idr`: what `bpftool map` should list."""
    fields = record(prog, "struct bpf_map", "name", "map_type")
    types = enumerators(prog, "enum bpf_map_type", "BPF_MAP_TYPE_")
    for number, address in gaps.whole(idr_for_each(prog, prog["map_idr"]), "the table of BPF maps"):
        try:
            name, kind = fields.read(address)
        except FaultError as error:
            gaps.miss(f"BPF map {number}", error)
            continue
        gaps.examined += 1
        yield BpfMap(id=number, name=name.decode("utf-8", "backslashreplace"), type=types.get(kind, str(kind)))


def bpf_links(prog: Program, gaps: Gaps) -> Iterator[BpfLink]:
    """The links of `link_idr`: what `bpftool link` should list."""
    fields = record(prog, "struct bpf_link", "type", "prog")
    program = record(prog, "struct bpf_prog", "aux")
    auxiliary = record(prog, "struct bpf_prog_aux", "id")
    types = enumerators(prog, "enum bpf_link_type", "BPF_LINK_TYPE_")
    for number, address in gaps.whole(idr_for_each(prog, prog["link_idr"]), "the table of BPF links"):
        try:
            kind, attached = fields.read(address)
            program_id = auxiliary.read(program.read(attached)[0])[0] if attached else 0
        except FaultError as error:
            gaps.miss(f"BPF link {number}", error)
            continue
        gaps.examined += 1
        yield BpfLink(id=number, type=types.get(kind, str(kind)), program_id=program_id)


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
    number = record(prog, "struct bpf_map", "id")
    found = set()
    for place in range(count):
        found.add(int(number.read(pointer_at(prog, maps + 8 * place))[0]))
    return tuple(sorted(found))
