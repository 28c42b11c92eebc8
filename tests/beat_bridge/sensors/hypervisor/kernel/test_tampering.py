"""What is changed from outside, by ways that are not the product's, is found; and nothing else is."""

import pytest

from beat_bridge.detectors import detect
from beat_bridge.model.findings import FindingKind
from tests.beat_bridge.sensors.hypervisor.kernel.conftest import Watched
from tests.lab.guest import plants
from tests.lab.guest.outside import UNUSED_SYSCALL, Outside

pytestmark = pytest.mark.guest


def _drift(watched: Watched) -> set[str]:
    findings = detect(watched.look())
    return {finding.subject for finding in findings if finding.kind is FindingKind.KERNEL_HOOK_DRIFT}


def test_a_changed_system_call_is_found(watched: Watched) -> None:
    """A table entry that leads to another system call's function is told, and gone when it is put back."""
    with Outside(watched.guest) as outside:
        with outside.changed_syscall():
            found = _drift(watched)
        assert f"hook:syscall_table:sys_call_table[{UNUSED_SYSCALL}]" in found
        assert all(subject.startswith("hook:syscall_table:") for subject in found)
        assert _drift(watched) == set()


def test_a_changed_dispatcher_is_found(watched: Watched) -> None:
    """One changed byte in the code that dispatches system calls is told where it is."""
    size = next(watched.profile.symbols_named("x64_sys_call")).size
    with Outside(watched.guest) as outside:
        # the last bytes are reached by the highest number only, which nobody calls
        with outside.changed_text("x64_sys_call", size - 12):
            found = _drift(watched)
        assert len(found) == 1
        assert found.pop().startswith("hook:syscall_dispatch:x64_sys_call+")
        assert _drift(watched) == set()


def test_a_pointer_out_of_the_kernel_is_found(watched: Watched) -> None:
    """A function of /proc/net that leads to data is told as nobody's code."""
    with Outside(watched.guest) as outside:
        nowhere = outside.symbols["init_task"].to_bytes(8, "little")
        with outside.changed("udp6_seq_ops", 24, nowhere):
            seen = watched.look()
    (hook,) = (hook for hook in seen.hooks if hook.actual != hook.expected)
    assert (hook.surface, hook.symbol, hook.owner) == ("seq_operations", "udp6_seq_ops.show", "")
    assert hook.expected == "udp6_seq_show"


def test_a_process_out_of_the_list_is_seen_by_the_others(watched: Watched) -> None:
    """A task unlinked from the task list is still told, by the pid table, with its socket and filter."""
    with plants.program(watched.guest, "raw_socket") as planted, Outside(watched.guest) as outside:
        with outside.unlinked_task(planted.pid):
            seen = watched.whole_look("processes", "socket_filters")
        again = watched.whole_look("processes")
    hidden = seen.by_pid()[planted.pid]
    assert "task_list" not in hidden.seen_by
    assert "pid_table" in hidden.seen_by
    assert [process.pid for process in seen.processes if "task_list" not in process.seen_by] == [planted.pid]
    (socket,) = (each for each in seen.sockets if each.inode == planted.facts["inode"])
    assert [holder.pid for holder in socket.holders] == [planted.pid]
    assert "task_list" in again.by_pid()[planted.pid].seen_by


def test_a_module_out_of_the_list_is_seen_by_the_others(watched: Watched) -> None:
    """A module unlinked from the list is still told, and its kprobe with it."""
    with (
        plants.module(watched.guest),
        Outside(watched.guest) as outside,
        outside.unlinked_module(plants.KPROBE_MODULE),
    ):
        seen = watched.look()
    (hidden,) = (module for module in seen.modules if "module_list" not in module.seen_by)
    assert (hidden.name, hidden.seen_by) == (plants.KPROBE_MODULE, ("module_kset", "module_tree"))
    assert plants.KPROBE_MODULE in {hook.owner for hook in seen.hooks if hook.surface == "kprobe"}
