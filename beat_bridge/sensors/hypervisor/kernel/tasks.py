"""Which tasks exist, asked in three ways that a rootkit would have to falsify alike."""

import struct
from collections.abc import Iterator

from drgn import Program

from beat_bridge.sensors.hypervisor.kernel.lists import idr_for_each, list_for_each
from beat_bridge.sensors.hypervisor.kernel.program import symbol, view
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, record

MOST_CPUS = 8192
"""CONFIG_NR_CPUS with CONFIG_MAXSMP."""


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
    for _, pid in idr_for_each(prog, prog["init_pid_ns"].idr):
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
