"""Processes taken out of one list or several, by ways that are not the product's, are told by the others."""

import contextlib
import json

import pytest

from beat_bridge.model.inventory import Inventory
from beat_bridge.sensors.hypervisor.kernel.tasks import threads_of
from tests.beat_bridge.sensors.hypervisor.kernel.conftest import LOOKS, Watched
from tests.lab.guest import plants
from tests.lab.guest.outside import Outside

pytestmark = pytest.mark.guest
_THREADS = """
import json, os, signal, threading
for _ in range(4):
    threading.Thread(target=signal.pause, daemon=True).start()
print(json.dumps(sorted(map(int, os.listdir("/proc/self/task")))))
print("ready", flush=True)
signal.pause()
"""


def _only(seen: Inventory, name: str) -> list[int]:
    """The processes that a list does not show."""
    return [process.pid for process in seen.processes if name not in process.seen_by]


def test_a_process_out_of_the_pid_table_is_seen_by_the_list(watched: Watched) -> None:
    """A process that /proc does not show any more is told by the task list, with its socket; and back, by both."""
    with plants.program(watched.guest, "raw_socket") as planted, Outside(watched.guest) as outside:
        with outside.unnumbered_task(planted.pid):
            seen = watched.whole_look("processes", "socket_filters")
            shown = watched.guest.run(["test", "-e", f"/proc/{planted.pid}/stat"]).code == 0
        again = watched.whole_look("processes")
    assert not shown
    assert _only(seen, "pid_table") == [planted.pid]
    assert "task_list" in seen.by_pid()[planted.pid].seen_by
    (socket,) = (each for each in seen.sockets if each.inode == planted.facts["inode"])
    assert [holder.pid for holder in socket.holders] == [planted.pid]
    assert _only(again, "pid_table") == []


def test_a_running_process_out_of_both_is_seen_by_its_run_queue(watched: Watched) -> None:
    """A process that is neither in the task list nor in the pid table is told as long as it runs."""
    with plants.program(watched.guest, "spinning") as planted, Outside(watched.guest) as outside:
        (pid, *_) = planted.facts["pids"]
        with outside.unlinked_task(pid), outside.unnumbered_task(pid):
            for _ in range(LOOKS):
                seen = watched.whole_look("processes")
                if pid in seen.by_pid():
                    break
        again = watched.whole_look("processes")
    assert seen.by_pid()[pid].seen_by == ("run_queue",)
    assert {"pid_table", "task_list"} <= set(again.by_pid()[pid].seen_by)


def test_run_queues_show_who_runs(watched: Watched) -> None:
    """What spins on each processor is on its run queue, as its state in /proc says."""
    with plants.program(watched.guest, "spinning") as planted:
        pids = set(planted.facts["pids"])
        assert {_state(watched, pid) for pid in pids} == {"R"}
        seen = watched.whole_look("processes")
    running = {process.pid for process in seen.processes if "run_queue" in process.seen_by}
    assert pids <= running
    assert len(running) < 10


def test_threads_are_those_of_proc(watched: Watched) -> None:
    """The threads of a process, from its group's list, are those under /proc/PID/task."""
    started = watched.guest.start(["python3", "-S", "-c", _THREADS])
    try:
        with Outside(watched.guest) as outside:
            found = _thread_ids(watched, outside.task(started.pid))
    finally:
        watched.guest.stop(started.pid)
    assert found == json.loads(started.out.splitlines()[0])
    assert len(found) == 5


def test_two_processes_of_one_number_are_a_gap(watched: Watched) -> None:
    """A process that takes another's id does not disappear behind it: that one of them was not told is a gap."""
    with plants.program(watched.guest, "crowd", "2") as planted, Outside(watched.guest) as outside:
        first, second = planted.facts["pids"]
        with contextlib.ExitStack() as stack:
            place = watched.prog.type("struct task_struct").member("tgid")
            task = outside.task(second)
            assert int.from_bytes(outside.read(task + place.offset, 4), "little") == second
            stack.enter_context(outside.still({task + place.offset: first.to_bytes(4, "little")}))
            seen = watched.look()
    (gap,) = (each for each in seen.coverage if each.sensor == "processes")
    assert gap.missed
    assert str(first) in gap.detail


def _state(watched: Watched, pid: int) -> str:
    return watched.guest.get(f"/proc/{pid}/stat").decode().rpartition(")")[2].split()[0]


def _thread_ids(watched: Watched, leader: int) -> list[int]:
    member = watched.prog.type("struct task_struct").member("pid").offset
    return sorted(watched.prog.read_u32(task + member) for task in threads_of(watched.prog, leader))
