"""What the running kernel says of its own patching: who is called, who probes, what is being changed just now.

It is the guest's word. It can explain only what names its owner; where that owner is no part of the kernel, the hook is
told with it.
"""

import struct
from dataclasses import dataclass

from drgn import FaultError, Program

from beat_bridge.sensors.hypervisor.kernel.lists import TornWalkError, hlist_for_each, hlist_heads
from beat_bridge.sensors.hypervisor.kernel.program import symbol, view
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, record, size_of
from beat_bridge.sensors.hypervisor.kernel.whose import KERNEL, Code, Whose

_MOST_OPERATIONS = 65_536
_MOST_POKES = 4096
_TRACERS = frozenset({"ftrace_caller", "ftrace_regs_caller"})
_POINTER = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Probe:
    """A registered kprobe, one of several on its address."""

    owner: str
    """Of its handler: empty where that is nobody's."""
    detour: int
    """Where an optimised probe jumps; 0 where it is not optimised."""


class Running:
    """Answers for one pass; each question is asked of the guest once, when it first comes up."""

    def __init__(self, prog: Program, whose: Whose) -> None:
        self._prog = prog
        self._whose = whose
        self._symbols: dict[str, int | None] = {}
        self._words: dict[int, int | None] = {}
        self._targets: dict[int, Code | None] = {}
        self._probes: dict[int, Probe] | None = None
        self._trampolines: list[tuple[int, int, str]] | None = None

    def code(self, address: int) -> Code:
        """Whose code an address is."""
        return self._whose.code(address)

    def word(self, address: int) -> int | None:
        """A 64-bit word of the guest, as it was first read or as it was after `again`; None where it cannot be read."""
        if address not in self._words:
            try:
                self._words[address] = int(_POINTER.unpack(view(self._prog).read(address, _POINTER.size))[0])
            except FaultError:
                self._words[address] = None
        return self._words[address]

    def again(self) -> None:
        """Ask the guest anew for what changes while the kernel patches itself: words."""
        self._words.clear()

    def symbol(self, name: str) -> int | None:
        """The address of a symbol of the kernel's."""
        if name not in self._symbols:
            self._symbols[name] = view(self._prog).profile.find(name)
        return self._symbols[name]

    def target(self, address: int) -> Code | None:
        """What a patched branch leads to, if it may lead there: the beginning of a function, or code with an owner."""
        if address not in self._targets:
            code = self._whose.code(address)
            led = code.aliases or (code.owner and code.owner != KERNEL)
            self._targets[address] = code if led else None
        return self._targets[address]

    def tracer(self, address: int) -> str | None:
        """The owner of code that may be called when a function begins; None where an address is no such code."""
        code = self._whose.code(address)
        if not code.aliases.isdisjoint(_TRACERS) or (code.owner and code.owner != KERNEL):
            return code.owner
        return next((owner for start, end, owner in self._operations() if start <= address < end), None)

    def probes(self) -> dict[int, Probe]:
        """The kprobes, by the address that each stands on."""
        if self._probes is None:
            self._probes = _probes(self._prog, self._whose)
        return self._probes

    def being_patched(self) -> frozenset[int]:
        """The addresses that the kernel is changing at this moment, where it first puts a breakpoint."""
        try:
            return _pokes(self._prog)
        except (FaultError, LookupError, TypeError, AttributeError):
            return frozenset()

    def _operations(self) -> list[tuple[int, int, str]]:
        if self._trampolines is None:
            try:
                self._trampolines = _trampolines(self._prog, self._whose)
            except (FaultError, LookupError):
                self._trampolines = []
        return self._trampolines


def _probes(prog: Program, whose: Whose) -> dict[int, Probe]:
    """Every probe that is registered: owner of a handler that is no part of the kernel, if any is."""
    found: dict[int, Probe] = {}
    try:
        node_at = offset_of(prog, "struct kprobe", "hlist")
        fields = record(prog, "struct kprobe", "addr", "pre_handler", "post_handler", "list.next")
        list_at = offset_of(prog, "struct kprobe", "list")
        detour_at = _detour_at(prog)
        aggregate = view(prog).profile.find("aggr_pre_handler")
        for head in hlist_heads(prog, prog["kprobe_table"]):
            for node in hlist_for_each(prog, head):
                probe = node - node_at
                address, before, after, following = fields.read(probe)
                detour = 0
                if before == aggregate:
                    if detour_at is not None:
                        detour = _POINTER.unpack(view(prog).read(probe + detour_at, 8))[0]
                    _, before, after, _ = fields.read(following - list_at)
                owners = [whose.code(handler).owner for handler in (before, after) if handler]
                foreign = [owner for owner in owners if owner != KERNEL]
                found[address] = Probe((foreign or owners or [""])[0], detour)
    except (FaultError, LookupError, TypeError):
        return found
    return found


def _detour_at(prog: Program) -> int | None:
    """Offset of `optinsn.insn` from the ``struct kprobe`` that begins a ``struct optimized_kprobe``."""
    try:
        return offset_of(prog, "struct optimized_kprobe", "optinsn.insn")
    except LookupError:
        return None


def _trampolines(prog: Program, whose: Whose) -> list[tuple[int, int, str]]:
    """The code that ftrace made for single users."""
    fields = record(prog, "struct ftrace_ops", "func", "next", "trampoline", "trampoline_size")
    end, at = symbol(prog, "ftrace_list_end"), prog["ftrace_ops_list"].value_()
    found, seen = [], set[int]()
    while at and at != end:
        if at in seen or len(seen) > _MOST_OPERATIONS:
            raise TornWalkError("the list of ftrace operations does not end", at)
        seen.add(at)
        function, following, start, size = fields.read(at)
        if start and size <= 1 << 20:
            found.append((start, start + size, whose.code(function).owner))
        at = following
    return found


def _pokes(prog: Program) -> frozenset[int]:
    """``struct text_poke_loc tp_vec[]``, as long as somebody refers to it (arch/x86/kernel/alternative.c)."""
    count_at = offset_of(prog, "struct bp_patching_desc", "nr_entries")
    references_at = offset_of(prog, "struct bp_patching_desc", "refs")
    description = view(prog).read(symbol(prog, "bp_desc"), size_of(prog, "struct bp_patching_desc"))
    (count,) = struct.unpack_from("<i", description, count_at)
    (references,) = struct.unpack_from("<i", description, references_at)
    if references <= 0 or not 0 < count <= _MOST_POKES:
        return frozenset()
    size, at = size_of(prog, "struct text_poke_loc"), offset_of(prog, "struct text_poke_loc", "rel_addr")
    vector = view(prog).read(symbol(prog, "tp_vec"), size * count)
    base = symbol(prog, "_stext")
    return frozenset(base + struct.unpack_from("<i", vector, size * number + at)[0] for number in range(count))
