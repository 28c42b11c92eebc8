"""Processes: who runs, from which file, under which name, begun by whom."""

from beat_bridge.model.base import Unavailable, Value


class Executable(Value, frozen=True, kw_only=True, tag="executable", tag_field="is"):
    """The file a process runs from, read through `/proc/PID/exe` or the kernel's `mm->exe_file`."""

    path: str
    """As the kernel names it, without the " (deleted)" suffix."""
    deleted: bool = False
    """The file has no name any more (link count 0)."""
    filesystem: str = ""
    """Type of the file system it lies on (`tmpfs`, `ext4`, `overlay`); empty where that could not be told."""
    memfd: bool = False
    """It never had a name: it was made by memfd_create(2)."""
    device: int = 0
    inode: int = 0
    replaced: bool = False
    """Deleted, but another file now stands at the same path, as after a package upgrade."""


class Environment(Value, frozen=True, kw_only=True, tag="environment", tag_field="is"):
    """What of a process's environment matters. Values that are not signs are never kept: they hold secrets."""

    count: int
    """Number of variables."""
    signs: tuple[str, ...] = ()
    """Whole `NAME=value` pairs from the detector's fixed list (`HISTFILE=/dev/null`), sorted."""


class Process(Value, frozen=True, kw_only=True):
    """One process (thread group) at one moment."""

    pid: int
    """In the initial PID namespace as the viewpoint sees it."""
    parent_pid: int
    start_ticks: int
    """Start time in clock ticks since boot: field 22 of `/proc/PID/stat`; with pid and boot_id it names a process."""
    started_at: float
    """The same as seconds since the epoch."""
    name: str
    """`comm`, at most 15 bytes, writable by the process itself."""
    args: tuple[str, ...] | Unavailable = ()
    executable: Executable | Unavailable
    environment: Environment | Unavailable
    kernel_thread: bool = False
    """PF_KTHREAD is set: the kernel's word, which no name or argument can forge."""
    user_id: int | Unavailable
    session_id: int = 0
    group_id: int = 0
    """Process group."""
    tty: int = 0
    """Device number of the controlling terminal; 0 where there is none."""
    stdio_null: bool | Unavailable = False
    """Descriptors 0, 1 and 2 all lead to /dev/null."""
    network_namespace: int | Unavailable = 0
    """Inode of the network namespace."""
    seen_by: tuple[str, ...] = ()
    """The lists that showed it, sorted, where the viewpoint asks several: `task_list`, `pid_table`, `run_queue`."""
    state: str = ""
    """What a view from outside takes from the kernel: `beginning`, it is not whole yet (TASK_NEW); `ended`, it runs no
    program any more (`exit_state`). Empty for one that lives, and where the viewpoint does not tell."""

    @property
    def identity(self) -> str:
        """Names this process among all of one boot: `PID:START_TICKS`."""
        return f"{self.pid}:{self.start_ticks}"
