"""Who holds what open: one walk over /proc/PID/fd, shared by every sensor of a pass.

Only links are read, which asks no file system and cannot hang; nothing is opened or stat'ed here.
"""

import os
from collections.abc import KeysView, Mapping, Sequence
from dataclasses import dataclass, field

from beat_bridge.sensors.host import proc
from beat_bridge.sensors.host.syscalls import share_descriptors

MAX_DESCRIPTORS = 4_000_000
_FD_BITS = 32
_FD_MASK = (1 << _FD_BITS) - 1
_STDIO = {"0", "1", "2"}
_NOTED = {"/run/", "net:[", "anon_"}
_MAX_THREADS = 1 << 16


@dataclass(slots=True)
class Descriptors:
    """What one walk saw."""

    first: dict[int, int] = field(default_factory=dict)
    """Socket inode to its first holder, packed: tens of thousands of tuples would keep the garbage collector busy."""
    further: dict[int, list[int]] = field(default_factory=dict)
    stdio: dict[int, dict[int, str]] = field(default_factory=dict)
    """Pid to where its descriptors 0, 1 and 2 lead, where they are open and no sockets."""
    run_files: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Path under /run to its holders."""
    namespaces: dict[int, str] = field(default_factory=dict)
    """Network namespaces that a descriptor keeps alive: inode to a path that leads there."""
    threads: dict[int, int] = field(default_factory=dict)
    """Thread to its process, for holders that are threads with a table of their own."""
    rings: list[tuple[int, int]] = field(default_factory=list)
    """Where io_uring instances are held, which may hold sockets in turn."""
    elsewhere: dict[int, set[int]] = field(default_factory=dict)
    """Socket inode to the processes that keep it open without a descriptor (io_uring, a mapped ring)."""
    examined: int = 0
    """Descriptors read."""
    refused: list[int] = field(default_factory=list)
    """Processes whose descriptors this one may not read; kernel threads and zombies, which have none, left out."""
    truncated: bool = False
    """There were more descriptors, threads or processes than one look takes."""

    @property
    def sockets(self) -> KeysView[int]:
        """Inodes of the sockets that somebody holds."""
        return self.first.keys()

    def holders(self, inode: int) -> list[tuple[int, int]]:
        """Who holds a socket: (pid, descriptor), in the order of the walk."""
        if inode not in self.first:
            return []
        packed = [self.first[inode], *self.further.get(inode, ())]
        return [(each >> _FD_BITS, each & _FD_MASK) for each in packed]

    def holder(self, inode: int, turn: int) -> tuple[int, int] | None:
        """One holder of a socket, the first for turn 0; None where there are no more."""
        if turn == 0:
            packed = self.first.get(inode)
        else:
            further = self.further.get(inode, ())
            packed = further[turn - 1] if turn <= len(further) else None
        return None if packed is None else (packed >> _FD_BITS, packed & _FD_MASK)

    def adopt(self, inode: int, other: "Descriptors") -> None:
        """Take over from another walk who holds a socket."""
        for pid, number in other.holders(inode):
            self.add_socket(inode, pid, number)
            if pid in other.threads:
                self.threads[pid] = other.threads[pid]

    def add_socket(self, inode: int, pid: int, number: int) -> None:
        """One more holder of a socket."""
        holder = pid << _FD_BITS | number
        if self.first.setdefault(inode, holder) != holder:
            self.further.setdefault(inode, []).append(holder)

    def add_other(self, pid: int, number: int, target: str) -> None:
        """A descriptor that leads to something else than a socket."""
        if target[:5] == "/run/":
            self.run_files.setdefault(target, []).append((pid, number))
        elif target[:5] == "net:[":
            self.namespaces.setdefault(int(target[5:-1]), f"/proc/{pid}/fd/{number}")
        elif target == "anon_inode:[io_uring]":
            self.rings.append((pid, number))
        if number < 3:
            self.stdio.setdefault(pid, {})[number] = target


def walk(pids: Sequence[int], threads: Mapping[int, Sequence[int]]) -> Descriptors:
    """Read the descriptor tables of processes; one that vanishes meanwhile is no gap.

    Args:
        pids: The processes.
        threads: Their further threads, where they have some (`proc.threads_of`).
    """
    found = Descriptors(truncated=len(pids) >= proc.MAX_PROCESSES)
    for pid in pids:
        if found.examined > MAX_DESCRIPTORS:
            found.truncated = True
            break
        before = found.examined
        try:
            _walk_one(pid, f"/proc/{pid}/fd", found)
        except PermissionError:
            _walk_threads(pid, threads.get(pid, ()), found)
            if found.examined == before and _may_hold_descriptors(pid):
                found.refused.append(pid)
            continue
        except OSError:
            continue  # ended meanwhile
        _walk_threads(pid, threads.get(pid, ()), found)
    return found


def _walk_threads(pid: int, threads: Sequence[int], found: Descriptors) -> None:
    """Read the descriptor tables of threads that have left the one their process shares."""
    for thread in threads:
        if len(found.threads) > _MAX_THREADS:
            found.truncated = True
            return
        if share_descriptors(pid, thread):
            continue
        try:
            _walk_one(thread, f"/proc/{pid}/task/{thread}/fd", found)
        except OSError:
            continue  # ended meanwhile, or its process is refused as a whole
        found.threads[thread] = pid


def _walk_one(pid: int, path: str, found: Descriptors) -> None:
    """Read one descriptor table: the innermost loop of a look, taken once for every descriptor on the host."""
    first, further, readlink = found.first, found.further, os.readlink
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        names = os.listdir(directory)  # noqa: PTH208 - a descriptor, not a path
        for name in names:
            try:
                target = readlink(name, dir_fd=directory)
            except FileNotFoundError:
                continue  # closed meanwhile
            if target[:8] == "socket:[":
                inode, holder = int(target[8:-1]), pid << _FD_BITS | int(name)
                if first.setdefault(inode, holder) != holder:
                    further.setdefault(inode, []).append(holder)
            elif name in _STDIO or target[:5] in _NOTED:
                found.add_other(pid, int(name), target)
        found.examined += len(names)
    finally:
        os.close(directory)


def _may_hold_descriptors(pid: int) -> bool:
    try:
        status = proc.stat(pid)
    except (OSError, ValueError):
        return False
    return not status.kernel_thread and not status.ended
