"""The functions of Linux security modules, called at every decision (security/security.c)."""

import struct
from collections.abc import Iterator

from drgn import Program, Type, TypeKind

from beat_bridge.sensors.hypervisor.kernel.lists import hlist_for_each, pointer_at
from beat_bridge.sensors.hypervisor.kernel.program import symbol, view
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, record, size_of

_POINTER = struct.Struct("<Q")


def security_hooks(prog: Program) -> Iterator[tuple[str, int]]:
    """Every function that is hooked in.

    Yields:
        (`bprm_check_security 0`, address of the function)
    """
    # since commit 417c5643cd67 (Linux 6.12) the hooks are static calls in a table, before that lists
    lists = view(prog).profile.find("static_calls_table") is None
    yield from _in_lists(prog) if lists else _in_static_calls(prog)


def _in_lists(prog: Program) -> Iterator[tuple[str, int]]:
    base = symbol(prog, "security_hook_heads")
    kind = prog.type("struct security_hook_heads")
    node_at = offset_of(prog, "struct security_hook_list", "list")
    function_at = offset_of(prog, "struct security_hook_list", "hook")
    heads = view(prog).read(base, kind.size or 0)
    for member in kind.members or ():
        (first,) = _POINTER.unpack_from(heads, member.offset)
        if not first:
            continue
        for number, node in enumerate(hlist_for_each(prog, base + member.offset)):
            yield f"{member.name} {number}", pointer_at(prog, node - node_at + function_at)


def _in_static_calls(prog: Program) -> Iterator[tuple[str, int]]:
    base = symbol(prog, "static_calls_table")
    key = record(prog, "struct static_call_key", "func")
    function_at = offset_of(prog, "struct security_hook_list", "hook")
    key_at, registered_at = (offset_of(prog, "struct lsm_static_call", member) for member in ("key", "hl"))
    size = size_of(prog, "struct lsm_static_call")
    table = view(prog).read(base, size_of(prog, "struct lsm_static_calls_table"))
    for member in prog.type("struct lsm_static_calls_table").members or ():
        for number in range(_length(member.type)):
            at = member.offset + number * size
            (registered,) = _POINTER.unpack_from(table, at + registered_at)
            if registered:
                yield f"{member.name} {number}", pointer_at(prog, registered + function_at)
                # what runs is the call's own target: it must lead to code as well
                yield f"{member.name} {number} call", key.read(_POINTER.unpack_from(table, at + key_at)[0])[0]


def _length(kind: Type) -> int:
    return kind.length or 0 if kind.kind is TypeKind.ARRAY else 1
