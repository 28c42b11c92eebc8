"""Who runs, from which file, under which name: out of ``struct task_struct`` and what it leads to."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from drgn import FaultError, Program

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.processes import Environment, Executable, Process
from beat_bridge.sensors.hypervisor.kernel.arguments import strings_of
from beat_bridge.sensors.hypervisor.kernel.asking import read_each
from beat_bridge.sensors.hypervisor.kernel.clocks import USER_HZ, ticks
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.holdings import Holdings
from beat_bridge.sensors.hypervisor.kernel.paths import OpenFile, open_file
from beat_bridge.sensors.hypervisor.kernel.records import Record, record
from beat_bridge.sensors.hypervisor.kernel.tasks import Leaders, still_running, threads_of

_PF_KTHREAD = 0x0020_0000
"""include/linux/sched.h"""
_TASK_NEW = 0x0800
"""include/linux/sched.h: what `fork` makes has this state, and no other, until it is whole."""
_NO_MEMORY = Unavailable(reason=Reason.ABSENT, detail="a kernel thread")
_ENDED = Unavailable(reason=Reason.ABSENT, detail="it has ended and waits for its parent")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a process is described by, beside its own task."""

    held: Holdings
    namespaces: Mapping[int, int]
    """``struct net *`` to its inode number."""
    booted_at: int
    """Seconds since the epoch."""


def processes(prog: Program, everyone: Leaders, surroundings: Surroundings, gaps: Gaps) -> Iterator[Process]:
    """Describe processes.

    Args:
        prog: The guest.
        everyone: Whom.
        surroundings: What they are described by.
        gaps: Takes what could not be read.
    """
    reader = _Reader(prog, surroundings)

    def read(process: tuple[int, int]) -> Process:
        pid, leader = process
        found = reader.read(leader, everyone.seen_by[pid])
        if (unread := _unread(found)) is not None:
            raise FaultError(unread.detail, leader)
        if found.state and not everyone.seen_by[pid] >= {"task_list", "pid_table"}:
            # no difference between lists says what it is; what stays like this is told as a gap, for as long as it does
            raise FaultError(f"it says that it is {found.state}, and not every list shows it", leader)
        return found

    for (pid, leader), found in read_each(prog, everyone.tasks.items(), read, partial(still_running, prog)):
        if isinstance(found, FaultError):
            gaps.miss(f"process {pid}", found)
            with suppress(FaultError):
                yield reader.read(leader, everyone.seen_by[pid])  # as much of it as can be read
        else:
            gaps.examined += 1
            yield found


def _unread(process: Process) -> Unavailable | None:
    """The first of what a process is described by that should be there and could not be read."""
    parts = (process.args, process.executable, process.environment)
    return next((each for each in parts if isinstance(each, Unavailable) and each.reason is Reason.FAILED), None)


def _state_record(prog: Program) -> Record:
    try:
        return record(prog, "struct task_struct", "__state")
    except LookupError:  # before Linux 5.14 (commit 2f064a59a11f)
        return record(prog, "struct task_struct", "state")


class _Reader:
    """Reads processes for one pass."""

    def __init__(self, prog: Program, surroundings: Surroundings) -> None:
        self._prog = prog
        self._held = surroundings.held
        self._namespaces = surroundings.namespaces
        self._booted_at = surroundings.booted_at
        self._files: dict[int, OpenFile] = {}
        """Programs by ``struct file *``: what forks goes on with its parent's."""
        self._task = record(
            prog,
            "struct task_struct",
            "tgid",
            "flags",
            "comm",
            "start_boottime",
            "mm",
            "real_parent",
            "cred",
            "signal",
            "nsproxy",
            "exit_state",
        )
        self._state = _state_record(prog)
        kinds = (prog[f"PIDTYPE_{kind}"].value_() for kind in ("TGID", "PGID", "SID"))
        self._signal = record(prog, "struct signal_struct", *(f"pids[{kind}]" for kind in kinds), "tty")
        self._tgid = record(prog, "struct task_struct", "tgid")
        self._survivor = record(prog, "struct task_struct", "mm", "nsproxy")
        self._number = record(prog, "struct pid", "numbers[0].nr")
        self._user = record(prog, "struct cred", "euid.val")
        self._net = record(prog, "struct nsproxy", "net_ns")
        self._tty = record(prog, "struct tty_struct", "driver", "index")
        self._driver = record(prog, "struct tty_driver", "major", "minor_start")
        self._mm = record(prog, "struct mm_struct", "exe_file")

    def read(self, task: int, seen_by: set[str]) -> Process:
        pid, flags, name, start, mm, parent, cred, signal, nsproxy, exit_state = self._task.read(task)
        itself, group, session, tty = self._signal.read(signal)
        if itself and self._pid_number(itself) != pid:
            raise FaultError(f"a task that is numbered {self._pid_number(itself)} says that it is process {pid}", task)
        kernel_thread = bool(flags & _PF_KTHREAD)
        if not mm and not kernel_thread:
            mm, nsproxy = self._of_survivor(task)
        args, executable, environment = self._program(mm, kernel_thread=kernel_thread)
        return Process(
            pid=pid,
            parent_pid=self._tgid.read(parent)[0] if parent != task else 0,
            start_ticks=ticks(start),
            started_at=round(self._booted_at + ticks(start) / USER_HZ, 2),
            name=name.decode("utf-8", "backslashreplace"),
            args=args,
            executable=executable,
            environment=environment,
            kernel_thread=kernel_thread,
            user_id=self._user.read(cred)[0],
            session_id=self._pid_number(session),
            group_id=self._pid_number(group),
            tty=self._tty_number(tty),
            stdio_null=self._stdio_null(pid),
            network_namespace=self._network_namespace(nsproxy),
            seen_by=tuple(sorted(seen_by)),
            # what has memory of its own, or another thread that has, is not taken out of the lists yet
            state="ended" if exit_state and not mm else "beginning" if self._state.read(task)[0] == _TASK_NEW else "",
        )

    def _of_survivor(self, leader: int) -> tuple[int, int]:
        """Memory and namespaces of a thread that goes on although the first has ended; zeros where none does."""
        for thread in threads_of(self._prog, leader):
            mm, nsproxy = self._survivor.read(thread)
            if mm:
                return mm, nsproxy
        return 0, 0

    def _program(
        self, mm: int, *, kernel_thread: bool
    ) -> tuple[tuple[str, ...] | Unavailable, Executable | Unavailable, Environment | Unavailable]:
        """Arguments, executable and environment."""
        if kernel_thread or not mm:
            # io_uring and vhost threads borrow an mm; like other kernel threads they run no file
            return (), (_NO_MEMORY if kernel_thread else _ENDED), (_NO_MEMORY if kernel_thread else _ENDED)
        try:
            strings = strings_of(self._prog, mm)
        except FaultError as error:
            failed = Unavailable(reason=Reason.FAILED, detail=f"its memory: {error}")
            return failed, self._executable(mm), failed
        return strings.args, self._executable(mm), strings.environment

    def _executable(self, mm: int) -> Executable | Unavailable:
        try:
            (file,) = self._mm.read(mm)
            if not file:
                return Unavailable(reason=Reason.ABSENT, detail="it runs no file")
            found = self._files.get(file)
            if found is None:
                found = self._files[file] = open_file(self._prog, file)
        except FaultError as error:
            return Unavailable(reason=Reason.FAILED, detail=f"its executable: {error}")
        return Executable(
            path=found.path,
            deleted=found.unlinked,
            filesystem=found.filesystem,
            memfd=found.links == 0 and found.path.startswith("/memfd:"),
            device=found.device,
            inode=found.inode,
            replaced=found.replaced,
        )

    def _pid_number(self, pid: int) -> int:
        return max(int(self._number.read(pid)[0]), 0) if pid else 0

    def _tty_number(self, tty: int) -> int:
        """The controlling terminal's device number, as /proc/PID/stat shows it."""
        if not tty:
            return 0
        driver, index = self._tty.read(tty)
        major, minor_start = self._driver.read(driver)
        minor = minor_start + index
        return int((minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12))

    def _stdio_null(self, pid: int) -> bool | Unavailable:
        if pid in self._held.unread:
            return Unavailable(reason=Reason.FAILED, detail="its descriptors could not be read")
        return pid in self._held.stdio_null

    def _network_namespace(self, nsproxy: int) -> int | Unavailable:
        if not nsproxy:
            return Unavailable(reason=Reason.ABSENT, detail="it has ended")
        (net,) = self._net.read(nsproxy)
        nowhere = Unavailable(reason=Reason.FAILED, detail="its network namespace is in no list")
        return self._namespaces.get(net, nowhere)
