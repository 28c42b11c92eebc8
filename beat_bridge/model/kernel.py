"""The kernel's own state: its modules, BPF objects, and the places through which control passes."""

from beat_bridge.model.base import Value


class Hook(Value, frozen=True, kw_only=True):
    """One place in the kernel through which control passes, where it leads, and where it should lead."""

    surface: str
    """`syscall_table`, `syscall_dispatch`, `idt`, `ftrace`, `kprobe`, `livepatch`, `netfilter`, `packet_type`,
    `kernel_text`, `module_text`, `read_only_data`, `lsm`, `seq_operations`."""
    symbol: str
    """The entry, as the kernel names it (`__x64_sys_bpf`, `nf_hook_ops[2]`)."""
    expected: str
    """Symbol or bytes that belong there."""
    actual: str
    """Symbol or bytes found there."""
    owner: str = ""
    """Module or BPF program that the actual target lies in; empty where nobody owns it."""
    explained: bool = False
    """A known mechanism (livepatch, static call, an EDR's fentry) accounts for the difference."""


class KernelModule(Value, frozen=True, kw_only=True):
    """One loaded module."""

    name: str
    state: str = ""
    """`live`, `coming`, `going`, `unformed`; empty where the viewpoint does not tell."""
    text_address: int = 0
    """Where its code begins; 0 where the viewpoint may not say."""
    text_size: int = 0
    """Bytes."""
    instance: int = 0
    """Inode of `/sys/module/NAME` (the kernel's `kernfs_node.id`), which every loading has anew; 0 where it has none
    or the viewpoint does not tell."""
    seen_by: tuple[str, ...] = ()
    """The lists that showed it, sorted: `module_list`, `module_kset`, `module_tree`; from inside
    `proc_modules`, `sys_module`."""


class BpfProgram(Value, frozen=True, kw_only=True):
    """One loaded eBPF program."""

    id: int
    """As bpftool shows it; below zero where the viewpoint (DRAKVUF) numbers what it saw loaded itself."""
    name: str = ""
    type: str = ""
    """`socket_filter`, `kprobe`, `lsm`, ...: BPF_PROG_TYPE_* in small letters."""
    tag: str = ""
    """The kernel's hash over its instructions, in hexadecimal."""
    map_ids: tuple[int, ...] = ()
    """Maps it uses, sorted."""
    seen_by: tuple[str, ...] = ()
    """What showed it, where the viewpoint asks several: its table `prog_idr`, or without that `in_use` alone."""


class BpfMap(Value, frozen=True, kw_only=True):
    """One eBPF map."""

    id: int
    """As of a program."""
    name: str = ""
    type: str = ""
    """BPF_MAP_TYPE_* in small letters."""
    seen_by: tuple[str, ...] = ()
    """As of a program: `map_idr` or `in_use`."""


class BpfLink(Value, frozen=True, kw_only=True):
    """What attaches an eBPF program to a place in the kernel."""

    id: int
    type: str = ""
    """BPF_LINK_TYPE_* in small letters."""
    program_id: int = 0
    seen_by: tuple[str, ...] = ()
    """As of a program: `link_idr`."""
