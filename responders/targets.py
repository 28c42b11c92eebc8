"""A process held open, so that everything said and done about it concerns that process and no later namesake.

The order matters. The directory /proc/PID is opened first: its descriptor stays bound to that process, and reads
through it fail with ESRCH once the process is gone, even when the pid is used again. The pidfd is opened second. If
the directory still answers after that, both mean the same process, and a signal through the pidfd cannot miss.
"""

import os
import select
import signal
from types import TracebackType
from typing import Self

from beat_bridge.model.base import Value
from responders.outcomes import ActionFailedError, GoneError, RefusedError

PF_KTHREAD = 0x00200000  # include/linux/sched.h
_DELETED = " (deleted)"
_MAXIMUM_ANCESTORS = 128


class ProcessIdentity(Value, frozen=True, kw_only=True):
    """What tells one process from every other of this boot, and what it runs."""

    pid: int
    start_ticks: int
    """Field 22 of /proc/PID/stat."""
    name: str
    executable: str
    """Without the kernel's " (deleted)"; empty where there is none or it may not be read."""
    device: int
    inode: int
    """Of the executable; 0 where it may not be read."""
    network_namespace: int
    """Inode of the network namespace; 0 where it may not be read."""
    kernel_thread: bool = False


def without_deleted(path: str) -> str:
    """An executable's path as it was before the kernel marked it deleted."""
    return path.removesuffix(_DELETED)


class OpenedProcess:
    """A process, pinned by its /proc directory and its pidfd."""

    def __init__(self, pid: int) -> None:
        """Open a process.

        Raises:
            GoneError: There is no such process any more.
            RefusedError: The number names no process.
            ActionFailedError: The kernel does not let us look.
        """
        if pid < 1:
            raise RefusedError(f"{pid} is not a process id")
        self.pid = pid
        self.directory = -1
        self.pidfd = -1
        try:
            self.directory = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self.pidfd = os.pidfd_open(pid)
            self.identity = self._read_identity()
        except BaseException as error:
            self.close()
            if isinstance(error, FileNotFoundError | ProcessLookupError):
                raise GoneError(f"process {pid} does not exist any more") from error
            if isinstance(error, OSError):
                raise ActionFailedError(f"process {pid} cannot be opened: {error.strerror}") from error
            raise

    def __enter__(self) -> Self:
        """The process itself; closed when the block ends."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both descriptors."""
        self.close()

    def close(self) -> None:
        """Let go of it."""
        for descriptor in (self.directory, self.pidfd):
            if descriptor >= 0:
                os.close(descriptor)
        self.directory = self.pidfd = -1

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a file below /proc/PID; the descriptor is the caller's to close."""
        return os.open(name, flags | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self.directory)

    def send_signal(self, number: signal.Signals) -> None:
        """Signal exactly this process.

        Raises:
            ProcessLookupError: It has ended.
            PermissionError: Not allowed.
        """
        signal.pidfd_send_signal(self.pidfd, number)

    def ended(self, seconds: float) -> bool:
        """Whether it ends within so many seconds: a pidfd becomes readable when the whole thread group has ended."""
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def look_again(self) -> ProcessIdentity:
        """Its identity now: an execve since then shows as another executable.

        Raises:
            GoneError: It has ended.
            ActionFailedError: It cannot be read.
        """
        try:
            self.identity = self._read_identity()
        except ProcessLookupError as error:
            raise GoneError(f"process {self.pid} has ended") from error
        except OSError as error:
            raise ActionFailedError(f"process {self.pid} cannot be read: {error.strerror}") from error
        return self.identity

    def state(self) -> str:
        """One letter of /proc/PID/stat: R, S, D, T, Z, ..."""
        return self._stat()[1][0].decode("ascii")

    def _stat(self) -> tuple[str, list[bytes]]:
        descriptor = self.open("stat")
        try:
            data = os.read(descriptor, 4096)
        finally:
            os.close(descriptor)
        # comm stands in parentheses and may itself hold parentheses and spaces: the last ")" ends it
        head, _, tail = data.rpartition(b")")
        return head.partition(b"(")[2].decode("utf-8", "backslashreplace"), tail.split()

    def _read_identity(self) -> ProcessIdentity:
        if self.ended(0):
            raise ProcessLookupError  # a zombie still has its directory
        name, fields = self._stat()
        executable, device, inode = "", 0, 0
        try:
            executable = without_deleted(os.fsdecode(os.readlink("exe", dir_fd=self.directory)))
            status = os.stat("exe", dir_fd=self.directory)
            device, inode = status.st_dev, status.st_ino
        except (FileNotFoundError, PermissionError):
            pass  # a kernel thread, a zombie, or a process we may not inspect: empty says so
        try:
            network_namespace = os.stat("ns/net", dir_fd=self.directory).st_ino
        except (FileNotFoundError, PermissionError):
            network_namespace = 0
        return ProcessIdentity(
            pid=self.pid,
            start_ticks=int(fields[19]),
            name=name,
            executable=executable.encode("utf-8", "backslashreplace").decode(),
            device=device,
            inode=inode,
            network_namespace=network_namespace,
            kernel_thread=bool(int(fields[6]) & PF_KTHREAD),
        )


def untouchable(identity: ProcessIdentity) -> str:
    """Why this process must never be acted on; empty where it may be.

    Whoever stops process 1, a kernel thread, itself or one of its own parents loses the host or the responder.
    """
    if identity.pid <= 1:
        return f"process {identity.pid} is never acted on"
    if identity.kernel_thread:
        return f"process {identity.pid} ({identity.name}) is a kernel thread"
    if identity.pid == os.getpid():
        return f"process {identity.pid} is the responder itself"
    if identity.pid in ancestors():
        return f"process {identity.pid} ({identity.name}) is a parent of the responder"
    return ""


def ancestors() -> frozenset[int]:
    """Pids of this process's parents, up to the first."""
    found: set[int] = set()
    pid = os.getppid()
    while pid > 0 and pid not in found and len(found) < _MAXIMUM_ANCESTORS:
        found.add(pid)
        try:
            with open(f"/proc/{pid}/stat", "rb") as stream:  # noqa: PTH123 - /proc, not a path of ours
                pid = int(stream.read(4096).rpartition(b")")[2].split()[1])
        except OSError:
            break  # it ended while we looked; its own parents cannot be ours any more
    return frozenset(found)
