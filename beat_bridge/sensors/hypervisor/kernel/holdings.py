"""Who holds what: the descriptors of every process, and of threads that have a table of their own."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from drgn import FaultError, Program

from beat_bridge.sensors.hypervisor.kernel.descriptors import descriptors_of
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.program import symbol
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, record
from beat_bridge.sensors.hypervisor.kernel.tasks import threads_of

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
    walk = _Walk(prog, gaps)
    tables: defaultdict[int, set[int]] = defaultdict(set)
    main_table: dict[int, int] = {}
    files_of = record(prog, "struct task_struct", "files")
    for pid, leader in leaders.items():
        try:
            (main_table[pid],) = files_of.read(leader)
            tables[main_table[pid]].add(pid)
            for thread in threads_of(prog, leader):
                tables[files_of.read(thread)[0]].add(pid)
        except FaultError as error:
            walk.found.unread.add(pid)
            gaps.miss(f"threads of process {pid}", error)
    tables.pop(0, None)
    for table, pids in tables.items():
        try:
            if walk.table(table, pids):
                walk.found.stdio_null |= {pid for pid in pids if main_table.get(pid) == table}
        except FaultError as error:
            walk.found.unread.update(pids)
            gaps.miss(f"descriptors of process {min(pids)}", error)
    walk.found.complete = everyone and not walk.found.unread
    return walk.found


class _Walk:
    """Goes through descriptor tables, for one pass."""

    def __init__(self, prog: Program, gaps: Gaps) -> None:
        self.found = Holdings()
        self._prog = prog
        self._gaps = gaps
        self._socket_operations = symbol(prog, "socket_file_ops")
        self._file = record(prog, "struct file", "f_op", "private_data", "f_inode")
        self._inode = record(prog, "struct inode", "i_rdev")

    def table(self, table: int, pids: Iterable[int]) -> bool:
        """Take note of the sockets in one table; whether 0, 1 and 2 all lead to /dev/null."""
        null = 0
        for descriptor, file in descriptors_of(self._prog, table):
            try:
                operations, private, inode = self._file.read(file)
                if operations != self._socket_operations:
                    null += descriptor < 3 and self._inode.read(inode)[0] == _NULL_DEVICE
                    continue
            except FaultError as error:
                self.found.unread.update(pids)
                self._gaps.miss(f"descriptor {descriptor} of process {min(pids)}", error)
                continue
            for pid in pids:
                self.found.sockets[private].setdefault(pid, descriptor)
        return null == 3


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
