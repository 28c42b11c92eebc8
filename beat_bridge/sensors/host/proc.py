"""Reading /proc, whose contents hostile processes shape: bounded reads, and text that stays text."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from beat_bridge.errors import DoorwatchError

PF_KTHREAD = 0x00200000  # include/linux/sched.h
MAX_THREADS = 1024
MAX_PROCESSES = 1 << 17
INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO, include/linux/proc_ns.h
_COVERED = re.compile(rb"^\d+ \d+ \d+:\d+ \S+ /proc/(\d+)[ /]", re.MULTILINE)
_NAMED = re.compile(r"(net|socket):\[(\d+)\]")


def text(raw: bytes) -> str:
    r"""Bytes as text that any encoder takes: what is not UTF-8 becomes `\xNN`."""
    return raw.decode("utf-8", "backslashreplace")


def read(path: str, limit: int) -> bytes:
    """At most `limit` bytes of a /proc file.

    Raises:
        OSError: As the kernel says.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        chunks = []
        while limit > 0:
            chunk = os.read(descriptor, min(limit, 1 << 16))
            if not chunk:
                break
            chunks.append(chunk)
            limit -= len(chunk)
        return b"".join(chunks)
    finally:
        os.close(descriptor)


def link(path: str) -> str:
    """Where a /proc link leads, as text.

    Raises:
        OSError: As the kernel says.
    """
    return text(os.readlink(os.fsencode(path)))  # noqa: PTH115 - a Path would decode what is no text


def namespace_inode(target: str) -> int | None:
    """The number in `net:[4026531833]` or `socket:[123]`; None for any other target."""
    match = _NAMED.fullmatch(target)
    return int(match[2]) if match else None


def pids() -> list[int]:
    """The processes of this /proc, ascending, MAX_PROCESSES at most.

    Raises:
        DoorwatchError: There is no /proc.
    """
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - numbers are wanted, not thousands of Path objects
    except OSError as error:
        raise DoorwatchError(f"/proc: cannot read: {error.strerror}; Doorwatch looks at a host through it") from error
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())[:MAX_PROCESSES]


@dataclass(frozen=True, slots=True)
class Stat:
    """What matters of /proc/PID/stat (proc_pid_stat(5))."""

    pid: int
    name: str
    state: str
    parent_pid: int
    group_id: int
    session_id: int
    tty: int
    flags: int
    threads: int
    start_ticks: int

    @property
    def kernel_thread(self) -> bool:
        """PF_KTHREAD is set."""
        return bool(self.flags & PF_KTHREAD)

    @property
    def leader_ended(self) -> bool:
        """Its first thread is a zombie, or dead; others may go on."""
        return self.state in {"Z", "X"}

    @property
    def ended(self) -> bool:
        """Nothing of it runs any more."""
        return self.leader_ended and self.threads <= 1


def parse_stat(raw: bytes) -> Stat:
    """Decode a stat line; the name may hold spaces, parentheses and line breaks.

    Raises:
        ValueError: It is not one.
    """
    begin, end = raw.find(b"("), raw.rfind(b")")
    fields = raw[end + 1 :].split()
    if begin < 0 or end < begin or len(fields) < 20:
        raise ValueError("not a stat line")
    return Stat(
        pid=int(raw[:begin]),
        name=text(raw[begin + 1 : end]),
        state=text(fields[0]),
        parent_pid=int(fields[1]),
        group_id=int(fields[2]),
        session_id=int(fields[3]),
        tty=int(fields[4]),
        flags=int(fields[6]),
        threads=int(fields[17]),
        start_ticks=int(fields[19]),
    )


def stat(pid: int) -> Stat:
    """The stat line of a process.

    Raises:
        OSError: It has gone, or cannot be read.
    """
    return parse_stat(read(f"/proc/{pid}/stat", 4096))


def survivor(status: Stat) -> int | None:
    """A thread that goes on although the leader has ended; None where the leader has not, or nothing is left.

    A leader that has ended keeps its pid but neither memory, descriptors nor namespaces, and `ps` calls the whole
    process defunct: what its other threads hold is told by /proc/PID/task/TID alone.
    """
    if not status.leader_ended or status.ended:
        return None
    try:
        threads = sorted(int(name) for name in os.listdir(f"/proc/{status.pid}/task"))  # noqa: PTH208 - numbers are wanted
    except (OSError, ValueError):
        return None
    for thread in threads[:MAX_THREADS]:
        try:
            if not parse_stat(read(f"/proc/{status.pid}/task/{thread}/stat", 4096)).leader_ended:
                return thread
        except (OSError, ValueError):
            continue
    return None


def other_threads(pid: int) -> list[int]:
    """The threads of a process but its first; none where it has ended.

    The directory's link count is two more than there are threads (fs/proc/base.c, proc_task_getattr), which spares
    most processes the listing.
    """
    place = f"/proc/{pid}/task"
    try:
        if os.stat(place).st_nlink == 3:  # noqa: PTH116 - asked of every process
            return []
        return sorted(int(name) for name in os.listdir(place) if name != str(pid))  # noqa: PTH208 - numbers are wanted
    except (OSError, ValueError):
        return []


def threads_of(pids: Iterable[int]) -> dict[int, list[int]]:
    """The further threads of those processes that have some."""
    return {pid: others for pid in pids if (others := other_threads(pid))}


def lines(raw: bytes) -> Iterator[list[str]]:
    """The fields of each line, as text."""
    for line in raw.split(b"\n"):
        fields = text(line).split()
        if fields:
            yield fields


def blind_spot() -> str:
    """Why this /proc does not show every process of the machine as it is, as one line; empty where it does."""
    return confined() or covered()


def confined() -> str:
    """Why there may be processes that this /proc does not list; empty where it lists them all."""
    try:
        if link("/proc/self/ns/pid") != INITIAL_PID_NAMESPACE:
            return "this runs in a PID namespace and sees nothing outside it; run it on the host"
        os.stat("/proc/1")  # noqa: PTH116 - only whether it is there
    except OSError:
        return "/proc hides other users' processes (mount option hidepid); run as root"
    return ""


def covered() -> str:
    """Which processes are hidden under a mount on their directory (ATT&CK T1564.013); empty where none is."""
    try:
        pids = parse_covered(read("/proc/self/mountinfo", 16 << 20))
    except OSError:
        return ""
    if not pids:
        return ""
    listed = ", ".join(map(str, pids[:8])) + (", ..." if len(pids) > 8 else "")
    return (
        f"something is mounted over /proc/PID and hides what these processes are: {listed}; unmount it and look again"
    )


def parse_covered(raw: bytes) -> list[int]:
    """The processes under whose directory in /proc the mounts of a mountinfo file lie (proc_pid_mountinfo(5))."""
    return sorted({int(pid) for pid in _COVERED.findall(raw)})


def more_rights() -> str:
    """What to do about a refusal, as one clause."""
    if os.geteuid() == 0:
        return "even root is refused here: look from the host, outside any container or security profile"
    return "run as root, or with CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH and CAP_SYS_ADMIN"
