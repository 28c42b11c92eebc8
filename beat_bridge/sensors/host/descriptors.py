"""Who holds what open: one walk over /proc/PID/fd, shared by every sensor of a pass.

Only links are read, which asks no file system and cannot hang; nothing is opened or stat'ed here.
"""

import os
from collections.abc import Iterable, Iterator, KeysView, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from beat_bridge.sensors.host import proc

MAX_DESCRIPTORS = 4_000_000
_NAMES = tuple(str(number) for number in range(1024))
_GAP = 2
"""Missing numbers in a descriptor table after which it is listed: a miss costs twice what a hit costs."""
_FD_BITS = 32


@dataclass(slots=True)
class Descriptors:
    """What one walk saw."""

    _first: dict[int, int] = field(default_factory=dict)
    """Socket inode to its first holder, packed: tens of thousands of tuples would keep the garbage collector busy."""
    _further: dict[int, list[int]] = field(default_factory=dict)
    stdio: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Pid to where its descriptors 0, 1 and 2 lead, those that are open."""
    run_files: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Path under /run to its holders."""
    namespaces: dict[int, str] = field(default_factory=dict)
    """Network namespaces that a descriptor keeps alive: inode to a path that leads there."""
    threads: dict[int, int] = field(default_factory=dict)
    """Thread to its process, for holders that are threads with a table of their own."""
    examined: int = 0
    """Descriptors read."""
    refused: list[int] = field(default_factory=list)
    """Processes whose descriptors this one may not read; kernel threads and zombies, which have none, left out."""
    truncated: bool = False
    """There were more than MAX_DESCRIPTORS."""

    @property
    def sockets(self) -> KeysView[int]:
        """Inodes of the sockets that somebody holds."""
        return self._first.keys()

    def holders(self, inode: int) -> list[tuple[int, int]]:
        """Who holds a socket: (pid, descriptor), in the order of the walk."""
        if inode not in self._first:
            return []
        packed = [self._first[inode], *self._further.get(inode, ())]
        return [(each >> _FD_BITS, each & ((1 << _FD_BITS) - 1)) for each in packed]

    def adopt(self, inode: int, other: "Descriptors") -> None:
        """Take over from another walk who holds a socket."""
        for pid, number in other.holders(inode):
            self.add_socket(inode, pid, number)
            if pid in other.threads:
                self.threads[pid] = other.threads[pid]

    def add_socket(self, inode: int, pid: int, number: int) -> None:
        """One more holder of a socket."""
        holder = pid << _FD_BITS | number
        if self._first.setdefault(inode, holder) != holder:
            self._further.setdefault(inode, []).append(holder)

    def add(self, pid: int, links: Iterable[tuple[int, str]]) -> None:
        """Take in where descriptors of a process lead."""
        for number, target in links:
            if target[:8] == "socket:[":
                self.add_socket(int(target[8:-1]), pid, number)
            elif target[:5] == "/run/":
                self.run_files.setdefault(target, []).append((pid, number))
            elif target[:5] == "net:[":
                self.namespaces.setdefault(int(target[5:-1]), f"/proc/{pid}/fd/{number}")
            if number < 3:
                self.stdio[pid] = (*self.stdio.get(pid, ()), target)
            self.examined += 1


def walk(pids: Iterable[int]) -> Descriptors:
    """Read the descriptor tables of processes; one that vanishes meanwhile is no gap."""
    found = Descriptors()
    for pid in pids:
        if found.examined > MAX_DESCRIPTORS:
            found.truncated = True
            break
        try:
            _walk_one(pid, f"/proc/{pid}/fd", found)
        except PermissionError:
            if _may_hold_descriptors(pid):
                found.refused.append(pid)
        except OSError:
            continue  # ended meanwhile
    return found


def walk_threads(pids: Sequence[int], limit: int = 65536) -> Descriptors:
    """Read the descriptor tables of every thread but the first of each process: a thread may have unshared its own."""
    found = Descriptors()
    for pid in pids:
        try:
            threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if int(task.name) != pid]
        except OSError:
            continue
        for thread in threads:
            limit -= 1
            if limit < 0:
                found.truncated = True
                return found
            try:
                _walk_one(thread, f"/proc/{pid}/task/{thread}/fd", found)
            except OSError:
                continue
            found.threads[thread] = pid
    return found


def _walk_one(pid: int, path: str, found: Descriptors) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found.add(pid, _links(directory))
    finally:
        os.close(directory)


def _links(directory: int) -> Iterator[tuple[int, str]]:
    """Where the descriptors of a table lead, ascending.

    Numbers are tried from 0 until as many are found as the directory's size says there are (told since Linux 6.2,
    f1f1f2569901); a table is mostly dense, and listing it costs half as much as reading it. After a few misses, and
    for a size that cannot be, the rest is listed.
    """
    expected = os.fstat(directory).st_size
    found = missing = tried = 0
    for number, name in enumerate(_NAMES if expected else ()):
        tried = number + 1
        try:
            target = os.readlink(name, dir_fd=directory)
        except FileNotFoundError:
            missing += 1
            if missing > _GAP:
                break
            continue
        yield number, target
        found += 1
        if found == expected:
            return
    for number in sorted(listed for listed in map(int, os.listdir(directory)) if listed >= tried):
        try:
            yield number, os.readlink(str(number), dir_fd=directory)
        except FileNotFoundError:
            continue  # closed meanwhile


def _may_hold_descriptors(pid: int) -> bool:
    try:
        status = proc.stat(pid)
    except (OSError, ValueError):
        return False
    return not status.kernel_thread and status.state not in {"Z", "X"}
