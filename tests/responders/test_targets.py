"""Processes held open, confirmed, and ended: the right one or none."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from responders.actions.stop_process import stop_process
from responders.confirmation import confirm, confirm_executable, still_same
from responders.outcomes import GoneError, RefusedError
from responders.playbooks.model import StopProcess, StopSignal
from responders.targets import OpenedProcess, ancestors, untouchable
from tests.responders.parts import HOST, alert_about

REUSE = """
import subprocess, sys
from pathlib import Path
from responders.confirmation import still_same
from responders.outcomes import GoneError, RefusedError
from responders.targets import OpenedProcess

def born_as(pid):
    for _ in range(200):  # another process may be born in between
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        child = subprocess.Popen(["sleep", "60"])
        if child.pid == pid:
            return child
        child.kill(), child.wait()
    sys.exit("the pid could not be used again")

first = subprocess.Popen(["sleep", "60"])
opened = OpenedProcess(first.pid)
first.kill(), first.wait()
second = born_as(first.pid)
try:
    opened.send_signal(9)
except ProcessLookupError:
    print("signal missed")
try:
    opened.look_again()
except GoneError:
    print("gone")
with OpenedProcess(second.pid) as namesake:
    different = namesake.identity.start_ticks != opened.identity.start_ticks
    try:
        still_same(opened.identity, namesake.identity, executable=False)
    except RefusedError:
        print("refused")
    print("different" if different else "same tick")
print("alive" if second.poll() is None else "killed")
second.kill(), second.wait()
"""


@pytest.mark.live
def test_a_pid_that_is_used_again_is_never_hit() -> None:
    """A process opened before its end is out of reach afterwards, although another one now has its pid, and lives."""
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", sys.executable, "-c", REUSE]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = answer.stdout.split("\n")
    assert said[:2] == ["signal missed", "gone"], answer.stderr
    # within one clock tick the two cannot be told apart by start, which is why the descriptors are what counts
    assert said[2:4] == ["refused", "different"] or said[2] == "same tick"
    assert "alive" in said


def test_identity_is_what_proc_says(victim: "subprocess.Popen[bytes]") -> None:
    """Start, executable and namespace agree with /proc as another program (ps, readlink) reads it."""
    with OpenedProcess(victim.pid) as process:
        identity = process.identity
    assert identity.executable == str(Path(f"/proc/{victim.pid}/exe").readlink())
    assert str(Path(f"/proc/{victim.pid}/ns/net").readlink()) == f"net:[{identity.network_namespace}]"
    lifetime = subprocess.run(["ps", "-o", "etimes=", "-p", str(victim.pid)], capture_output=True, check=True).stdout
    assert int(lifetime) < 60


def test_the_confirmed_process_is_ended(victim: "subprocess.Popen[bytes]") -> None:
    """A process that matches its alert ends by SIGKILL, as its parent learns from the kernel too."""
    alert = alert_about(victim.pid)
    with OpenedProcess(victim.pid) as process:
        confirm(alert, process, HOST)
        confirm_executable(alert, process.identity)
        outcome = stop_process(process, StopProcess())
    assert victim.wait(10) == -signal.SIGKILL
    assert "pidfd" in outcome.proof


def test_terminate_asks_first_and_then_insists() -> None:
    """With `terminate` a process that ignores SIGTERM is killed after the grace time."""
    script = "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        with OpenedProcess(stubborn.pid) as process:
            stop_process(process, StopProcess(signal=StopSignal.TERMINATE, grace_seconds=0.2))
        assert stubborn.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"start_ticks": 1}, "is another one: it started at tick"),
        ({"start_ticks": None, "started_at": 1.0}, "s apart from it"),
        ({"start_ticks": None, "started_at": None}, "at an unknown time"),
        ({"boot_id": "an earlier boot"}, "the alert is about boot an earlier boot"),
    ],
)
def test_a_process_that_differs_is_refused(
    victim: "subprocess.Popen[bytes]", changes: dict[str, object], reason: str
) -> None:
    """Each difference from the alert is refused, and named."""
    alert = msgspec.structs.replace(alert_about(victim.pid), **changes)
    with OpenedProcess(victim.pid) as process, pytest.raises(RefusedError, match=reason):
        confirm(alert, process, HOST)
    assert victim.poll() is None


@pytest.mark.parametrize(("executable", "reason"), [("/usr/bin/other", "the alert speaks of"), ("", "names no exec")])
def test_a_process_that_runs_something_else_is_not_ended(
    victim: "subprocess.Popen[bytes]", executable: str, reason: str
) -> None:
    """The executable must be the alert's, and must be known."""
    with OpenedProcess(victim.pid) as process, pytest.raises(RefusedError, match=reason):
        confirm_executable(msgspec.structs.replace(alert_about(victim.pid), executable=executable), process.identity)


def test_an_execve_between_plan_and_act_is_noticed() -> None:
    """A process that became another program since it was planned is refused, though pid and start are the same."""
    with subprocess.Popen(["sh", "-c", "read line; exec sleep 300"], stdin=subprocess.PIPE) as shell:
        assert shell.stdin is not None
        with OpenedProcess(shell.pid) as process:
            planned = process.identity
            still_same(planned, process.look_again(), executable=True)
            shell.stdin.write(b"\n")
            shell.stdin.close()
            while process.look_again().executable == planned.executable and not process.ended(0.001):
                pass
            with pytest.raises(RefusedError, match="now /"):
                still_same(planned, process.identity, executable=True)
            still_same(planned, process.identity, executable=False)
            process.send_signal(signal.SIGKILL)


def test_some_processes_are_never_touched() -> None:
    """Process 1, this process, its parents and kernel threads are refused."""
    with OpenedProcess(os.getpid()) as ourselves:
        identity = ourselves.identity
    assert "the responder itself" in untouchable(identity)
    assert os.getppid() in ancestors()
    forbidden: Callable[..., str] = lambda **changes: untouchable(msgspec.structs.replace(identity, **changes))  # noqa: E731 - three uses
    assert "never" in forbidden(pid=1)
    assert "parent" in forbidden(pid=os.getppid())
    assert "kernel thread" in forbidden(pid=2, kernel_thread=True)


def test_a_zombie_and_a_thread_are_no_targets() -> None:
    """A process that has ended and was not waited for is gone; a thread's number is no process id."""
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(GoneError):
        OpenedProcess(zombie.pid)
    zombie.wait()
    with pytest.raises(GoneError):
        OpenedProcess(zombie.pid)
