"""Who holds what: the descriptors of every process, and of threads that have a table of their own."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial

from drgn import FaultError, Program

from beat_bridge.sensors.hypervisor.kernel.asking import read_each
from beat_bridge.sensors.hypervisor.kernel.descriptors import descriptors_of
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.program import symbol
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, record
from beat_bridge.sensors.hypervisor.kernel.tasks import still_running, threads_of

_NULL_DEVICE = 1 << 20 | 3
"""/dev/null, as the kernel writes a dev_t."""


@dataclass(slots=True)
class Holdings:
    """What one walk over all descriptor tables saw."""

    sockets: defaultdict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    """``struct socket *`` to the lowest descriptor of each process that holds it."""
    stdio_null: set[int] = field(default_factory=set)
    """Processes whose descriptors 0, 1 and 2 all lead to /dev/null."""
    unread: set[int] = field(default_factory=set)
    """Processes of which not every descriptor could be read."""
    complete: bool = False
    """Every descriptor of every process that exists was read: a socket that nobody holds here is nobody's."""


def holdings(prog: Program, leaders: Mapping[int, int], gaps: Gaps, *, everyone: bool) -> Holdings:
    """Walk every descriptor table once, whoever shares it.

    Args:
        prog: The guest.
        leaders: Process id to ``struct task_struct *`` of its leader.
        gaps: Takes what could not be read.
        everyone: Whether no other process exists.
    """
    walk = _Walk(prog)
    tables: defaultdict[int, set[int]] = defaultdict(set)
    main_table: dict[int, int] = {}
    for (pid, _), told in read_each(prog, leaders.items(), walk.tables_of, partial(still_running, prog)):
        if isinstance(told, FaultError):
            walk.found.unread.add(pid)
            gaps.miss(f"threads of process {pid}", told)
            continue
        main_table[pid] = told[0]
        for table in told:
            tables[table].add(pid)
    tables.pop(0, None)  # of who has ended

    def there(some: Collection[int]) -> Iterable[int]:
        owners = {(pid, leaders[pid]) for table in some for pid in tables[table]}
        kept: set[int] = set()
        for _, told in read_each(prog, still_running(prog, owners), walk.tables_of, lambda unread: unread):
            if isinstance(told, FaultError):
                return some
            kept.update(told)
        return [table for table in some if table in kept]

    for table, told in read_each(prog, tables, walk.table, there):
        pids = tables[table]
        opened = told
        if isinstance(opened, FaultError):
            walk.found.unread.update(pids)
            gaps.miss(f"descriptors of process {min(pids)}", opened)
            opened = walk.readable(table)
        for socket, descriptor in opened.sockets:
            for pid in pids:
                walk.found.sockets[socket].setdefault(pid, descriptor)
        if opened.stdio_null:
            walk.found.stdio_null |= {pid for pid in pids if main_table.get(pid) == table}
    walk.found.complete = everyone and not walk.found.unread
    return walk.found


@dataclass(frozen=True, slots=True)
class _Table:
    """What one descriptor table leads to."""

    sockets: tuple[tuple[int, int], ...] = ()
    """(``struct socket *``, descriptor), ascending by descriptor."""
    stdio_null: bool = False
    """0, 1 and 2 all lead to /dev/null."""


class _Walk:
    """Goes through descriptor tables, for one pass."""

    def __init__(self, prog: Program) -> None:
        self.found = Holdings()
        self._prog = prog
        self._socket_operations = symbol(prog, "socket_file_ops")
        self._files = record(prog, "struct task_struct", "files")
        self._file = record(prog, "struct file", "f_op", "private_data", "f_inode")
        self._inode = record(prog, "struct inode", "i_rdev")

    def tables_of(self, process: tuple[int, int]) -> tuple[int, ...]:
        """The tables of a process's threads, (process id, leader), its leader's first; 0 of threads that have ended.

        Raises:
            FaultError: Not all of them can be read.
        """
        _, leader = process
        (main,) = self._files.read(leader)
        return (main, *(self._files.read(thread)[0] for thread in threads_of(self._prog, leader)))

    def table(self, table: int) -> _Table:
        """One table.

        Raises:
            FaultError: Not all of it can be read.
        """
        return self._table(descriptors_of(self._prog, table), nullcontext())

    def readable(self, table: int) -> _Table:
        """As much of a table as can be read."""
        return self._table(Gaps().whole(descriptors_of(self._prog, table), "descriptors"), suppress(FaultError))

    def _table(self, descriptors: Iterable[tuple[int, int]], careful: AbstractContextManager[None]) -> _Table:
        sockets, null = [], 0
        for descriptor, file in descriptors:
            with careful:
                operations, private, inode = self._file.read(file)
                if operations == self._socket_operations:
                    sockets.append((private, descriptor))
                elif descriptor < 3:
                    null += self._inode.read(inode)[0] == _NULL_DEVICE
        return _Table(tuple(sockets), null == 3)


def inode_of_socket(prog: Program, socket: int) -> int:
    """The inode number that /proc shows for a ``struct socket *``; 0 for one that no process ever opened.

    Raises:
        FaultError: It cannot be read.
    """
    if not socket:
        return 0
    allocation = socket - offset_of(prog, "struct socket_alloc", "socket")
    (number,) = record(prog, "struct socket_alloc", "vfs_inode.i_ino").read(allocation)
    return int(number)
