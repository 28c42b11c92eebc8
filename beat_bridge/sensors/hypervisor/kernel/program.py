"""A drgn program over a guest's physical memory: its types and symbols come from the profile, nothing is guessed."""

from collections.abc import Callable
from dataclasses import dataclass

from drgn import Architecture, FaultError, FindObjectFlags, Object, Platform, Program

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory import MemoryFault, PhysicalMemory
from beat_bridge.sensors.hypervisor.memory.paging import AddressSpace, Deadline
from beat_bridge.sensors.hypervisor.symbols.profile import Profile

_KERNEL_HALF = 0xFF00_0000_0000_0000
"""Lowest kernel address with five levels of page tables."""
VARIABLES = {
    "__per_cpu_offset": "unsigned long [8192]",
    "bpf_kallsyms": "struct list_head",
    "ftrace_list_end": "struct ftrace_ops",
    "ftrace_ops_list": "struct ftrace_ops *",
    "idt_table": "struct gate_struct [256]",
    "init_net": "struct net",
    "init_pid_ns": "struct pid_namespace",
    "init_task": "struct task_struct",
    "init_uts_ns": "struct uts_namespace",
    "klp_patches": "struct list_head",
    "kprobe_table": "struct hlist_head [64]",
    "link_idr": "struct idr",
    "map_idr": "struct idr",
    "mod_tree": "struct mod_tree_root",
    "module_kset": "struct kset *",
    "modules": "struct list_head",
    "net_namespace_list": "struct list_head",
    "nr_cpu_ids": "unsigned int",
    "prog_idr": "struct idr",
    "raw_v4_hashinfo": "struct raw_hashinfo",
    "raw_v6_hashinfo": "struct raw_hashinfo",
    "security_hook_heads": "struct security_hook_heads",
    "shadow_timekeeper": "struct timekeeper",
    "static_calls_table": "struct lsm_static_calls_table",
}
"""Types of the kernel's variables: BTF tells them only for per-CPU ones."""


@dataclass
class View:
    """What the walkers need beside the drgn program: the same memory without drgn's objects, and whose symbols."""

    memory: PhysicalMemory
    profile: Profile
    space: AddressSpace
    deadline: Deadline
    read: Callable[[int, int], bytes]
    """(virtual address, size) -> bytes; raises FaultError."""

    def read_now(self, address: int, size: int) -> bytes:
        """What lies at a virtual address at this moment, within one page.

        Raises:
            FaultError: It cannot be read.
        """
        self.deadline.check()
        try:
            return self.memory.read(self.space.translate(address), size)
        except MemoryFault as error:
            raise FaultError(str(error), address) from None

    def begin(self, seconds: float) -> None:
        """Begin a pass that may last so long: mappings are looked up anew."""
        self.deadline.set(seconds)
        self.again()

    def again(self) -> None:
        """Read memory anew from here on, in the same pass: the guest has gone on."""
        self.memory.refresh()
        self.space.forget()

    def user_space(self, table: int) -> AddressSpace:
        """The address space of a process.

        Args:
            table: Virtual address of its topmost page table (`mm->pgd`).

        Raises:
            MemoryFault: That table is nowhere.
        """
        return AddressSpace(self.memory, self.space.translate(table), self.space.levels, self.deadline)


def open_program(memory: PhysicalMemory, profile: Profile) -> Program:
    """A program whose memory is the guest's, as the kernel's own page tables map it.

    Raises:
        DoorwatchError: The kernel's page tables are not where the profile says: another kernel, or another boot.
    """
    deadline = Deadline()
    space = AddressSpace(memory, profile.physical(profile.address("init_top_pgt")), _levels(memory, profile), deadline)
    try:
        space.translate(profile.address("init_task"))
    except MemoryFault as error:
        raise DoorwatchError(
            f"the guest's page tables do not map its kernel ({error}): the profile is of another boot"
        ) from error
    prog = Program(Platform(Architecture.X86_64))

    def read(address: int, size: int) -> bytes:
        try:
            return space.read(address, size)
        except MemoryFault as error:
            raise FaultError(str(error), address) from None

    def read_segment(address: int, size: int, _offset: int, _physical: bool) -> bytes:
        return read(address, size)

    prog.add_memory_segment(_KERNEL_HALF, (1 << 64) - _KERNEL_HALF, read_segment)
    profile.register_finders(prog)
    prog.register_object_finder("doorwatch-variables", _find_variable, enable_index=0)
    prog.cache[View] = View(memory, profile, space, deadline, read)
    return prog


def view(prog: Program) -> View:
    """What `open_program` laid beside the program."""
    found: View = prog.cache[View]
    return found


def symbol(prog: Program, name: str) -> int:
    """The address of a symbol.

    Raises:
        UnknownSymbolError: This kernel has none of that name; it is a LookupError too.
    """
    return view(prog).profile.address(name)


def _find_variable(prog: Program, name: str, flags: FindObjectFlags, _filename: str | None) -> Object | None:
    if not flags & FindObjectFlags.VARIABLE or name not in VARIABLES:
        return None
    address = view(prog).profile.find(name)
    return None if address is None else Object(prog, VARIABLES[name], address=address)


def _levels(memory: PhysicalMemory, profile: Profile) -> int:
    """5 where the kernel runs with LA57; a kernel built without it has no such variable."""
    enabled = profile.find("__pgtable_l5_enabled")
    return 5 if enabled is not None and any(memory.read(profile.physical(enabled), 4)) else 4
