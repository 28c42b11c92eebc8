"""Volatility3's symbol file (ISF) for a kernel, from its BTF and kallsyms: its own route needs a debug package."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from beat_bridge.sensors.hypervisor.symbols.btf import Btf, Kind, Member
from beat_bridge.sensors.hypervisor.symbols.profile import Profile

Description = dict[str, Any]
_BASES = {1: "char", 2: "short int", 4: "int", 8: "long int"}
_UNWRAPPED = frozenset((Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG))
_REFERENCES = {
    Kind.VOID: "base",
    Kind.STRUCT: "struct",
    Kind.UNION: "union",
    Kind.FWD: "struct",
    Kind.ENUM: "enum",
    Kind.ENUM64: "enum",
    Kind.FUNC: "function",
    Kind.FUNC_PROTO: "function",
}
VARIABLES: dict[str, tuple[str, str]] = {
    # BTF gives only per-CPU variables a type; these are the others that Volatility's plugins ask for:
    # name: (wrapping, type), the wrapping read from the outside in
    "init_task": ("", "task_struct"),
    "init_pid_ns": ("", "pid_namespace"),
    "init_files": ("", "files_struct"),
    "init_mm": ("", "mm_struct"),
    "modules": ("", "list_head"),
    "module_kset": ("pointer", "kset"),
    "mod_tree": ("", "mod_tree_root"),
    "net_namespace_list": ("", "list_head"),
    "prog_idr": ("", "idr"),
    "map_idr": ("", "idr"),
    "link_idr": ("", "idr"),
    "iomem_resource": ("", "resource"),
    "keyboard_notifier_list": ("", "atomic_notifier_head"),
    "tty_drivers": ("", "list_head"),
    "ftrace_ops_list": ("pointer", "ftrace_ops"),
    "ftrace_list_end": ("", "ftrace_ops"),
    "bpf_kallsyms": ("", "list_head"),
    "socket_file_ops": ("", "file_operations"),
    "sockfs_dentry_operations": ("", "dentry_operations"),
    "tcp4_seq_afinfo": ("", "tcp_seq_afinfo"),
    "tcp6_seq_afinfo": ("", "tcp_seq_afinfo"),
    "udp4_seq_afinfo": ("", "udp_seq_afinfo"),
    "udp6_seq_afinfo": ("", "udp_seq_afinfo"),
}


def isf(profile: Profile, banner: bytes) -> bytes:
    """The whole file as JSON.

    Args:
        profile: The kernel.
        banner: The bytes of `linux_banner` with the NUL at their end, by which Volatility recognises it.
    """
    types = _Types(profile.types)
    symbols = dict(_symbols(profile, types))
    address = symbols["linux_banner"]["address"]
    symbols["linux_banner"] = {
        "address": address,
        "type": {"kind": "array", "count": len(banner), "subtype": {"kind": "base", "name": "char"}},
        "constant_data": base64.b64encode(banner).decode(),
    }
    source = [{"kind": "symtab", "name": "vmlinux", "hash_type": "sha256", "hash_value": "0" * 64}]
    document = {
        "metadata": {
            # the peer asks for features by the name and version of the usual maker of these files
            "producer": {"name": "dwarf2json", "version": "0.9.0"},
            "format": "6.2.0",
            "linux": {"symbols": source, "types": source},
        },
        "base_types": types.bases,
        "user_types": types.compounds,
        "enums": types.enumerations,
        "symbols": symbols,
    }
    return json.dumps(document).encode()


class _Types:
    """Every named type, and the unnamed ones they hold."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self.bases: Description = {
            "void": {"size": 0, "signed": False, "kind": "void", "endian": "little"},
            "pointer": {"size": 8, "signed": False, "kind": "int", "endian": "little"},
            **{
                name: {"size": size, "signed": True, "kind": "char" if size == 1 else "int", "endian": "little"}
                for size, name in _BASES.items()
            },
        }
        self.compounds: Description = {}
        self.enumerations: Description = {}
        for number in range(1, btf.end_id):
            self._define(number)

    def _define(self, number: int) -> None:
        record = self._btf.record(number)
        name = record.name or f"unnamed_{number}"
        if record.kind in (Kind.STRUCT, Kind.UNION):
            kind = "struct" if record.kind is Kind.STRUCT else "union"
            fields = dict(self._fields(number))
            self.compounds.setdefault(name, {"size": record.size, "kind": kind, "fields": fields})
        elif record.kind in (Kind.ENUM, Kind.ENUM64) and record.count:
            constants = dict(self._btf.enumerators(number))
            self.enumerations.setdefault(
                name, {"size": record.size, "base": _BASES[record.size], "constants": constants}
            )

    def _fields(self, number: int) -> Iterator[tuple[str, Description]]:
        for place, member in enumerate(self._btf.members(number)):
            field = self._field(member)
            if not member.name:
                field["anonymous"] = True
            yield member.name or f"unnamed_field_{place}", field

    def _field(self, member: Member) -> Description:
        of = self.of(member.type)
        if not member.bit_size:
            return {"type": of, "offset": member.bit_offset // 8}
        width = 8 * self._size(member.type)
        start = member.bit_offset // width * width
        bits = {"kind": "bitfield", "bit_position": member.bit_offset - start, "bit_length": member.bit_size}
        return {"type": bits | {"type": of}, "offset": start // 8}

    def _size(self, number: int) -> int:
        record = self._btf.record(number)
        while record.kind in _UNWRAPPED:
            record = self._btf.record(record.type)
        return record.size

    def of(self, number: int) -> Description:
        """A reference to a type, as a member or a symbol has it."""
        record = self._btf.record(number)
        name = record.name or f"unnamed_{number}"
        if record.kind is Kind.ARRAY:
            element, length = self._btf.element(number)
            return {"kind": "array", "count": length, "subtype": self.of(element)}
        if record.kind is Kind.PTR:
            return {"kind": "pointer", "subtype": self.of(record.type)}
        if record.kind in (Kind.INT, Kind.FLOAT):
            return self._base(number, name)
        if record.kind is Kind.FWD:
            self.compounds.setdefault(name, {"size": 0, "kind": "struct", "fields": {}})
        if record.kind in _REFERENCES:
            union = record.kind is Kind.FWD and record.flag
            return {"kind": "union" if union else _REFERENCES[record.kind], "name": name}
        return self.of(record.type)

    def _base(self, number: int, name: str) -> Description:
        record = self._btf.record(number)
        if record.kind is Kind.FLOAT:
            kind, signed = "float", True
        else:
            integer = self._btf.integer(number)
            kind = "bool" if integer.boolean or name == "_Bool" else "char" if record.size == 1 else "int"
            signed = integer.signed
        self.bases.setdefault(name, {"size": record.size, "signed": signed, "kind": kind, "endian": "little"})
        return {"kind": "base", "name": name}


def _symbols(profile: Profile, types: _Types) -> Iterator[tuple[str, Description]]:
    """Every symbol by its first address before KASLR, with a type where one is known."""
    table = profile.build.symbols
    per_cpu = _variables(profile.types)
    seen: set[str] = set()
    for place in range(len(table)):
        symbol = table.at(place)
        if symbol.name in seen:
            continue
        seen.add(symbol.name)
        described: Description = {"address": symbol.address}
        if symbol.name in per_cpu:
            described["type"] = types.of(per_cpu[symbol.name])
        else:
            described["type"] = _declared(symbol.name)
        yield symbol.name, described


def _variables(btf: Btf) -> dict[str, int]:
    """The variables that BTF knows: name to type."""
    records = map(btf.record, range(1, btf.end_id))
    return {record.name: record.type for record in records if record.kind is Kind.VAR}


def _declared(name: str) -> Description:
    if name in VARIABLES:
        wrapping, struct = VARIABLES[name]
        kind: Description = {"kind": "struct", "name": struct}
        return {"kind": wrapping, "subtype": kind} if wrapping else kind
    if name in ("sys_call_table", "ia32_sys_call_table"):
        return {"kind": "array", "count": 512, "subtype": _POINTER}
    if name == "idt_table":
        return {"kind": "array", "count": 256, "subtype": {"kind": "struct", "name": "gate_struct"}}
    if name.endswith("_seq_ops"):
        return {"kind": "struct", "name": "seq_operations"}
    if name == "taint_flags":
        return {"kind": "array", "count": 19, "subtype": {"kind": "struct", "name": "taint_flag"}}
    return {"kind": "base", "name": "void"}  # as dwarf2json has it for symbols without debug information


_POINTER: Description = {"kind": "pointer", "subtype": {"kind": "base", "name": "void"}}
