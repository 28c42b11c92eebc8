"""Which tasks exist, asked in three ways that a rootkit would have to falsify alike."""

import struct
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from drgn import FaultError, Program

from beat_bridge.sensors.hypervisor.kernel.asking import listed, read_each, walked
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.lists import idr_for_each, list_for_each
from beat_bridge.sensors.hypervisor.kernel.program import symbol, view
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, record

MOST_CPUS = 8192
"""CONFIG_NR_CPUS with CONFIG_MAXSMP."""
_FIRST = 1
"""Process id of init: the kernel panics when it ends."""


@dataclass(slots=True)
class Leaders:
    """The processes that exist."""

    tasks: dict[int, int] = field(default_factory=dict)
    """Process id to its leader's ``struct task_struct *``."""
    seen_by: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Process id to the lists that showed it."""


def leaders(prog: Program, gaps: Gaps) -> Leaders:
    """Every process that any of the kernel's lists shows."""
    found = Leaders()
    of_thread = record(prog, "struct task_struct", "tgid", "group_leader")
    doubles: list[tuple[int, int]] = []
    for name, walk in (
        ("task_list", tasks_in_list),
        ("pid_table", tasks_in_pid_table),
        ("run_queue", tasks_on_run_queues),
    ):
        what, begin = name.replace("_", " "), partial(walk, prog)
        tasks = walked(prog, begin, f"the {what}", gaps)
        for _, told in read_each(prog, tasks, of_thread.read, listed(begin)):
            if isinstance(told, FaultError):
                gaps.miss(f"a task of the {what}", told)
                continue
            pid, leader = told
            if found.tasks.setdefault(pid, leader) != leader:
                doubles.append((pid, leader))
            found.seen_by[pid].add(name)
    if _FIRST not in found.tasks:
        missing = "no list shows the first process, without which no kernel runs: has the guest been restarted?"
        gaps.lose("the lists of processes", FaultError(missing, 0))
    if doubles:
        # a thread that executes a program takes its leader's place; both can lead for a moment only
        view(prog).again()
    for pid, leader in doubles:
        with gaps.question(f"the second process {pid}"):
            if all(of_thread.read(each) == (pid, each) for each in (leader, found.tasks[pid])):
                gaps.miss(f"process {pid}", FaultError("another says that it is this one", leader))
    return found


def still_running(prog: Program, some: Collection[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """Those of some processes, (process id, leader), that any list shows by now; all of them where that is unknown."""
    asked = Gaps()
    now = leaders(prog, asked).tasks
    return [each for each in some if now.get(each[0]) == each[1]] if asked.complete else some


def tasks_in_list(prog: Program) -> Iterator[int]:
    """The list that `for_each_process` walks, from `init_task.tasks`.

    Yields:
        ``struct task_struct *`` of each thread group's leader.
    """
    offset = offset_of(prog, "struct task_struct", "tasks")
    head = symbol(prog, "init_task") + offset
    for node in list_for_each(prog, head):
        yield node - offset


def tasks_in_pid_table(prog: Program) -> Iterator[int]:
    """The table that turns a process id into a task: `init_pid_ns.idr`, where kill(2) and /proc/PID look.

    Yields:
        ``struct task_struct *`` of each thread group's leader.
    """
    leader = prog["PIDTYPE_TGID"].value_()
    first = record(prog, "struct pid", f"tasks[{leader}].first")
    offset = offset_of(prog, "struct task_struct", f"pid_links[{leader}]")
    for _, pid in idr_for_each(prog, prog["init_pid_ns"].idr, reserved=True):
        (node,) = first.read(pid)
        if node:
            yield node - offset


def tasks_on_run_queues(prog: Program) -> Iterator[int]:
    """What the scheduler runs or is about to run: each CPU's `rq->curr` and `rq->cfs_tasks`. What sleeps is not there.

    Yields:
        ``struct task_struct *`` of threads; idle ones left out.
    """
    tasks = offset_of(prog, "struct rq", "cfs_tasks")
    group_node = offset_of(prog, "struct task_struct", "se.group_node")
    runqueues = symbol(prog, "runqueues")
    current = record(prog, "struct rq", "curr", "idle")
    for base in _per_cpu_bases(prog):
        queue = (runqueues + base) & 0xFFFF_FFFF_FFFF_FFFF
        running, idle = current.read(queue)
        if running != idle:
            yield running
        for node in list_for_each(prog, queue + tasks):
            if node - group_node != running:
                yield node - group_node


def threads_of(prog: Program, leader: int) -> Iterator[int]:
    """The threads of a process.

    Args:
        prog: The guest.
        leader: ``struct task_struct *``

    Yields:
        ``struct task_struct *``, the leader's own among them.
    """
    (signal,) = record(prog, "struct task_struct", "signal").read(leader)
    offset = offset_of(prog, "struct task_struct", "thread_node")
    for node in list_for_each(prog, signal + offset_of(prog, "struct signal_struct", "thread_head")):
        yield node - offset


def _per_cpu_bases(prog: Program) -> Iterator[int]:
    count = min(prog["nr_cpu_ids"].value_(), MOST_CPUS)
    offsets = prog["__per_cpu_offset"]
    yield from struct.unpack(f"<{count}Q", view(prog).read(int(offsets.address_ or 0), 8 * count))
