"""The kernel's own state: places through which control passes and that a rootkit would change."""

from beat_bridge.model.base import Value


class Hook(Value, frozen=True, kw_only=True):
    """One place in the kernel through which control passes, where it leads, and where it should lead."""

    surface: str
    """`syscall_table`, `syscall_dispatch`, `idt`, `ftrace`, `kprobe`, `netfilter`, `kernel_text`, `module_text`,
    `lsm`, `seq_operations`."""
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
