"""System calls: which code really dispatches them in this kernel, and where it leads.

Until Linux 6.9 (and its backports into stable kernels) `do_syscall_64` called through `sys_call_table`; since then it
calls `x64_sys_call`, whose branches are part of the kernel's text, and the table is kept for tracing only.
"""

import struct
from collections import Counter
from collections.abc import Iterator

from drgn import Program

from beat_bridge.model.kernel import Hook
from beat_bridge.sensors.hypervisor.kernel.program import symbol, view
from beat_bridge.sensors.hypervisor.kernel.whose import Whose

DISPATCHERS = ("x64_sys_call", "x32_sys_call", "ia32_sys_call")
"""Functions of the kernel's whose every branch is a system call."""
TABLES = {
    "sys_call_table": "__x64_",
    "ia32_sys_call_table": "__ia32_",
}
"""Each table, and what the names of its functions begin with."""
_NOT_IMPLEMENTED = "sys_ni_syscall"
_MOST_ENTRIES = 1024
_MOST_CODE = 64 << 10


def dispatched_by(prog: Program) -> str:
    """What `do_syscall_64` calls: `x64_sys_call`, or `sys_call_table` where no branch leads to that.

    Raises:
        FaultError: Its code cannot be read.
        LookupError: This kernel has no do_syscall_64.
    """
    target = view(prog).profile.find("x64_sys_call")
    if target is None:
        return "sys_call_table"
    start = symbol(prog, "do_syscall_64")
    found = view(prog).profile.symbol_at(start)
    code = view(prog).read(start, min(found.size, _MOST_CODE) if found else 0)
    for place in range(len(code) - 4):
        if code[place] in b"\xe8\xe9":  # call, jmp
            (distance,) = struct.unpack_from("<i", code, place + 1)
            if start + place + 5 + distance == target:
                return "x64_sys_call"
    return "sys_call_table"


def table_entries(prog: Program, whose: Whose) -> Iterator[Hook]:
    """Where the tables lead: every entry must be the beginning of a system call's own function, that of no other.

    Raises:
        FaultError: A table cannot be read.
    """
    for table, prefix in TABLES.items():
        address = view(prog).profile.find(table)
        if address is None:
            continue
        entries = _entries(prog, address)
        counted = Counter(entries)
        for number, target in enumerate(entries):
            code = whose.code(target)
            names = sorted(name for name in code.aliases if name.startswith(prefix))
            expected = names[0] if names else f"a function {prefix}*"
            if names and counted[target] > 1 and f"{prefix}{_NOT_IMPLEMENTED}" not in names:
                expected = "a function that serves no other number"
            yield Hook(
                surface="syscall_table",
                symbol=f"{table}[{number}]",
                expected=expected,
                actual=names[0] if names else code.name,
                owner="" if expected in names else code.owner,
            )


def _entries(prog: Program, table: int) -> tuple[int, ...]:
    whole = view(prog).profile.symbol_at(table)
    count = min(whole.size // 8 if whole else 0, _MOST_ENTRIES)
    entries = struct.unpack(f"<{count}Q", view(prog).read(table, 8 * count))
    while entries and not entries[-1]:
        entries = entries[:-1]  # what lies between the table and the next symbol
    return entries
