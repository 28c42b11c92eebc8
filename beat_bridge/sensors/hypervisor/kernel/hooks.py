"""The sensor `kernel_hooks`: every place through which control passes, and whether it leads where it should."""

from collections.abc import Iterator
from functools import partial

import msgspec
from drgn import Program

from beat_bridge.model.kernel import Hook
from beat_bridge.sensors.hypervisor.kernel.asking import walked
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.interrupts import gates
from beat_bridge.sensors.hypervisor.kernel.netfilter import netfilter_hooks
from beat_bridge.sensors.hypervisor.kernel.packet_types import receivers
from beat_bridge.sensors.hypervisor.kernel.program import symbol, view
from beat_bridge.sensors.hypervisor.kernel.security import security_hooks
from beat_bridge.sensors.hypervisor.kernel.seq_operations import seq_operations
from beat_bridge.sensors.hypervisor.kernel.syscalls import dispatched_by, table_entries
from beat_bridge.sensors.hypervisor.kernel.tracing import ftrace_operations, kprobes, live_patches
from beat_bridge.sensors.hypervisor.kernel.whose import KERNEL, Whose


def hooks(prog: Program, whose: Whose, gaps: Gaps) -> Iterator[Hook]:
    """What others have attached, and what differs.

    Of tables whose every entry the kernel has fixed (system calls, interrupts, LSM, /proc/net) only the entries that
    lead astray are told; of what the kernel lets others attach to (netfilter, ftrace, kprobes), everything.
    """
    with gaps.question("the dispatch of system calls"):
        dispatcher = dispatched_by(prog)
        yield Hook(surface="syscall_dispatch", symbol="do_syscall_64", expected=dispatcher, actual=dispatcher)
    fixed = (
        ("the system call tables", table_entries),
        ("the interrupt descriptor table", _interrupts),
        ("the hooks of security modules", _security),
        ("the functions behind /proc/net", seq_operations),
    )
    for what, walk in fixed:
        found = walked(prog, partial(walk, prog, whose), what, gaps)
        gaps.examined += len(found)
        yield from (hook for hook in found if hook.actual != hook.expected)
    attached = (
        ("netfilter", partial(_netfilter, gaps=gaps)),
        ("who receives packets", _receivers),
        ("ftrace", _ftrace),
        ("kprobes", _kprobes),
        ("live patches", _live_patches),
    )
    for what, attachments in attached:
        found = walked(prog, partial(attachments, prog, whose), what, gaps)
        gaps.examined += len(found)
        yield from found


def _interrupts(prog: Program, whose: Whose) -> Iterator[Hook]:
    entry = range(symbol(prog, "__entry_text_start"), symbol(prog, "__entry_text_end"))
    # vectors that mean nothing keep the handler of early boot, whose code is freed afterwards
    early = view(prog).profile.symbol_at(symbol(prog, "early_idt_handler_array"))
    for vector, target in gates(prog):
        code = whose.code(target)
        good = target in entry or (early is not None and early.address <= target < early.address + early.size)
        yield Hook(
            surface="idt",
            symbol=f"idt_table[{vector}]",
            expected=code.name if good else "the kernel's entry code",
            actual=code.name,
            owner="" if good else code.owner,
        )


def _security(prog: Program, whose: Whose) -> Iterator[Hook]:
    for name, target in security_hooks(prog):
        code = whose.code(target)
        good = code.owner == KERNEL
        yield Hook(
            surface="lsm",
            symbol=name,
            expected=code.name if good else "a function of the kernel's own",
            actual=code.name,
            owner="" if good else code.owner,
        )


def _netfilter(prog: Program, whose: Whose, gaps: Gaps) -> Iterator[Hook]:
    for place, called, registered in netfilter_hooks(prog, gaps):
        hook = whose.attached("netfilter", place, called)
        if called != registered:
            hook = msgspec.structs.replace(hook, expected=f"{whose.code(registered).name}, as registered")
        yield hook


def _receivers(prog: Program, whose: Whose) -> Iterator[Hook]:
    """Who is handed packets, but for the kernel's own protocols and packet sockets."""
    for place, function, _ in receivers(prog):
        hook = whose.attached("packet_type", place, function)
        if hook.owner or hook.actual != hook.expected:
            yield hook


def _ftrace(prog: Program, whose: Whose) -> Iterator[Hook]:
    """Who is called from traced functions. The tracer of the kernel's own and BPF's trampolines explain themselves."""
    for _, target in ftrace_operations(prog):
        code = whose.code(target)
        yield Hook(
            surface="ftrace",
            symbol=code.name,
            expected="no tracer of a module's",
            actual=code.name,
            owner=code.owner,
            explained=code.owner == KERNEL,
        )


def _kprobes(prog: Program, whose: Whose) -> Iterator[Hook]:
    """Probes. Those whose handler is the kernel's own belong to perf, ftrace or BPF, and only watch."""
    for probe in kprobes(prog):
        place = whose.code(probe.address).name
        codes = [whose.code(handler) for handler in probe.handlers]
        foreign = [code for code in codes if code.owner != KERNEL]
        found = (foreign or codes)[:1]
        yield Hook(
            surface="kprobe",
            symbol=place,
            expected="no probe of a module's",
            actual=found[0].name if found else "a probe without a handler",
            owner=found[0].owner if found else KERNEL,
            explained=not foreign,
        )


def _live_patches(prog: Program, _: Whose) -> Iterator[Hook]:
    for name in live_patches(prog):
        yield Hook(surface="livepatch", symbol=name, expected="no live patch", actual=f"live patch {name}", owner=name)
