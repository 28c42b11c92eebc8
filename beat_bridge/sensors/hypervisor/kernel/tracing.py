"""Where the kernel lets others interpose themselves: ftrace, kprobes, live patches."""

from collections.abc import Iterator
from dataclasses import dataclass

from drgn import FaultError, Program

from beat_bridge.sensors.hypervisor.kernel.lists import TornWalkError, hlist_for_each, hlist_heads, list_for_each
from beat_bridge.sensors.hypervisor.kernel.program import symbol, view
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, record

_MOST_OPERATIONS = 65_536
_FTRACE_ENABLED = 1 << 0
"""FTRACE_OPS_FL_ENABLED (include/linux/ftrace.h)"""


@dataclass(frozen=True, slots=True)
class Kprobe:
    """One probe."""

    address: int
    """The instruction it stands on."""
    handlers: tuple[int, ...]
    """Functions that run before and after it."""


def ftrace_operations(prog: Program) -> Iterator[tuple[int, int]]:
    """Who is called at the beginning of traced functions: `ftrace_ops_list`, those in force.

    Yields:
        (``struct ftrace_ops *``, its function)
    """
    fields = record(prog, "struct ftrace_ops", "func", "next", "flags")
    end, at = symbol(prog, "ftrace_list_end"), prog["ftrace_ops_list"].value_()
    seen: set[int] = set()
    while at != end:
        if not at or at in seen or len(seen) > _MOST_OPERATIONS:
            raise TornWalkError("the list of ftrace operations does not come to its end", at)
        seen.add(at)
        function, following, flags = fields.read(at)
        if flags & _FTRACE_ENABLED:
            yield at, function
        at = following


def kprobes(prog: Program) -> Iterator[Kprobe]:
    """The probes of `kprobe_table`; several on one address are told apart."""
    node_at = offset_of(prog, "struct kprobe", "hlist")
    list_at = offset_of(prog, "struct kprobe", "list")
    fields = record(prog, "struct kprobe", "addr", "pre_handler", "post_handler")
    aggregate = view(prog).profile.find("aggr_pre_handler")
    for head in hlist_heads(prog, prog["kprobe_table"]):
        for node in hlist_for_each(prog, head):
            probe = node - node_at
            address, before, after = fields.read(probe)
            if before != aggregate:
                yield Kprobe(address, tuple(each for each in (before, after) if each))
                continue
            for member in list_for_each(prog, probe + list_at):
                address, before, after = fields.read(member - list_at)
                yield Kprobe(address, tuple(each for each in (before, after) if each))


def live_patches(prog: Program) -> Iterator[str]:
    """The names of the modules whose live patches are in force: `klp_patches`.

    Raises:
        FaultError: The list or a patch cannot be read.
    """
    node_at = offset_of(prog, "struct klp_patch", "list")
    module_of = record(prog, "struct klp_patch", "mod")
    name_of = record(prog, "struct module", "name")
    for node in list_for_each(prog, symbol(prog, "klp_patches")):
        (module,) = module_of.read(node - node_at)
        if not module:
            raise FaultError("a live patch belongs to no module", node)
        yield name_of.read(module)[0].decode("utf-8", "backslashreplace")
