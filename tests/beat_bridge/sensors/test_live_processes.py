"""Processes on this kernel: what was started is what the sensor tells."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.model.processes import Environment, Executable, Process
from beat_bridge.sensors.host import capabilities, look
from tests.lab import processes as lab

pytestmark = pytest.mark.live

SLEEP = shutil.which("sleep") or "/bin/sleep"
NULL = subprocess.DEVNULL


@contextmanager
def _started(*arguments: str, executable: str, environment: dict[str, str] | None = None) -> Iterator[int]:
    """A sleeping process, ended with the block."""
    child = subprocess.Popen(
        list(arguments),
        executable=executable,
        env=environment or {},
        start_new_session=True,
        stdin=NULL,
        stdout=NULL,
        stderr=NULL,
    )
    try:
        yield child.pid
    finally:
        child.kill()
        child.wait()


def _process(pid: int) -> Process:
    return look().by_pid()[pid]


def _executable(process: Process) -> Executable:
    assert isinstance(process.executable, Executable)
    return process.executable


def test_a_process_is_told_as_ps_tells_it() -> None:
    """Parent, session, group, user, name and start agree with ps."""
    with _started("sleep", "300", executable=SLEEP) as pid:
        found = _process(pid)
        answer = subprocess.run(
            ["ps", "-o", "ppid=,sid=,pgid=,euid=,comm=,etimes=", "-p", str(pid)],
            capture_output=True,
            text=True,
            check=True,
        )
    parent, session, group, user, name, seconds = answer.stdout.split()
    assert (found.parent_pid, found.session_id, found.group_id) == (int(parent), int(session), int(group))
    assert (str(found.user_id), found.name) == (user, name)
    assert abs(time.time() - int(seconds) - found.started_at) < 3
    assert found.args == ("sleep", "300")
    assert _executable(found).path == os.path.realpath(SLEEP)
    assert found.stdio_null is True
    assert not found.kernel_thread


def test_a_deleted_copy_in_shared_memory_is_told() -> None:
    """A program copied to /dev/shm, started under a false name and unlinked shows as deleted, from tmpfs."""
    path = Path(f"/dev/shm/doorwatch-test-{os.getpid()}")  # noqa: S108 - where BPFDoor puts itself
    shutil.copy(SLEEP, path)
    try:
        environment = {"HOME": "/tmp", "HISTFILE": "/dev/null", "MYSQL_HISTFILE": "/dev/null", "TOKEN": "secret"}  # noqa: S108
        with _started("/sbin/udevd", "300", executable=str(path), environment=environment) as pid:
            before = _executable(_process(pid))
            path.unlink()
            found = _process(pid)
            path.write_text("another file")
            replaced = _executable(_process(pid))
    finally:
        path.unlink(missing_ok=True)
    after = _executable(found)
    assert (before.deleted, before.filesystem, before.memfd) == (False, "tmpfs", False)
    assert (after.path, after.deleted, after.replaced) == (str(path), True, False)
    assert (replaced.deleted, replaced.replaced) == (True, True)
    assert found.args == ("/sbin/udevd", "300")
    signs = ("HISTFILE=/dev/null", "HOME=/tmp", "MYSQL_HISTFILE=/dev/null")
    assert found.environment == Environment(count=4, signs=signs)


def test_a_file_named_deleted_is_not_deleted(tmp_path: Path) -> None:
    """A program whose file is really called `x (deleted)` is told as standing there."""
    path = tmp_path / "x (deleted)"
    shutil.copy(SLEEP, path)
    with _started("x", "300", executable=str(path)) as pid:
        found = _executable(_process(pid))
    assert (found.path, found.deleted) == (str(path), False)


def test_a_program_that_never_was_a_file_is_told() -> None:
    """A process started from a memfd shows as one."""
    descriptor = os.memfd_create("kworker")
    with open(SLEEP, "rb") as source, open(descriptor, "wb") as target:  # noqa: PTH123 - a descriptor, not a path
        shutil.copyfileobj(source, target)
        target.flush()
        reader = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    try:
        child = subprocess.Popen(
            ["[kworker]", "300"],
            executable=f"/proc/self/fd/{reader}",
            pass_fds=[reader],
            stdin=NULL,
            stdout=NULL,
            stderr=NULL,
        )
        try:
            found = _executable(_process(child.pid))
        finally:
            child.kill()
            child.wait()
    finally:
        os.close(reader)
    assert (found.path, found.memfd, found.deleted, found.filesystem) == ("/memfd:kworker", True, True, "tmpfs")


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    """Names, arguments and paths of any bytes are told as text that JSON can carry, and disturb no field."""
    path = os.fsencode(tmp_path) + b"/a) S 1 \n\xff\x1b[2J"
    shutil.copy(os.fsencode(SLEEP), path)
    child = subprocess.Popen([b"\xfe\n", b"300"], executable=path, stdin=NULL, stdout=NULL, stderr=NULL)
    try:
        found = _process(child.pid)
    finally:
        child.kill()
        child.wait()
    assert found.parent_pid == os.getpid()
    assert found.name == "a) S 1 \n\\xff\x1b[2J"
    assert found.args == ("\\xfe\n", "300")
    assert _executable(found).path.endswith("a) S 1 \n\\xff\x1b[2J")
    str(found).encode("utf-8")


def test_arguments_of_any_length_are_bounded() -> None:
    """A process with a hundred kilobytes of arguments is told with the first 32 KiB of them."""
    with _started("sleep", "300", *["0"] * 2000, "0" * 100_000, executable=SLEEP) as pid:
        found = _process(pid)
    assert isinstance(found.args, tuple)
    assert found.args[:3] == ("sleep", "300", "0")
    assert sum(len(each) + 1 for each in found.args) <= (32 << 10) + 1


def test_kernel_threads_are_told_by_the_kernels_flag() -> None:
    """Every process without an executable that ps shows in brackets under kthreadd is a kernel thread, and no other."""
    processes = look().processes
    threads = [each for each in processes if each.kernel_thread]
    assert threads
    assert all(each.parent_pid in {0, 2} for each in threads)
    for each in threads:
        assert isinstance(each.executable, Unavailable)
        assert each.executable.reason is Reason.ABSENT
    assert os.getpid() in {each.pid for each in processes if not each.kernel_thread}


def test_capabilities_are_found_by_trying() -> None:
    """Every sensor gives an account of itself, and reading a filter back works where root looks."""
    found = {each.sensor: each for each in capabilities()}
    assert set(found) == {
        "bpf_objects",
        "modules",
        "packet_sockets",
        "pid_files",
        "pidfd_getfd",
        "processes",
        "socket_filters",
    }
    assert found["pidfd_getfd"].status is CoverageStatus.COMPLETE
    for each in found.values():
        assert each.detail or each.status is CoverageStatus.COMPLETE


@contextmanager
def _leaderless() -> Iterator[tuple[int, int]]:
    """A process whose main thread has ended while another goes on: its pid, and the inode of its packet socket."""
    exit_this_thread = 60  # exit(2) on x86-64, which ends one thread alone
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            lab.die_with_parent()
            lab.enter_own_namespaces()
            held = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            threading.Thread(target=lambda: threading.Event().wait(held.fileno() + 600), daemon=True).start()
            os.write(tell, str(lab.inode(held)).encode())
            ctypes.CDLL(None).syscall(exit_this_thread, 0)
        finally:
            os._exit(1)
    os.close(tell)
    try:
        inode = int(os.read(told, 32))
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            os.sched_yield()
        yield pid, inode
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(told)
        os.waitpid(pid, 0)


def test_a_process_whose_leader_has_ended_is_still_told() -> None:
    """A process that `ps` calls defunct, but whose other thread goes on, keeps its program, arguments and sockets."""
    with _leaderless() as (pid, inode):
        state = subprocess.run(
            ["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=True
        ).stdout
        inventory = look()
    assert state.strip() == "Z"
    found = inventory.by_pid()[pid]
    assert _executable(found).path == str(Path(sys.executable).resolve())
    assert found.args
    (held,) = (each for each in inventory.sockets if each.inode == inode)
    assert [holder.pid for holder in held.holders] == [pid]


def test_a_zombie_is_not_told() -> None:
    """A process that has ended, and only waits for its parent to take note, is not among those that run."""
    child = subprocess.Popen(["true"])
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert child.pid not in look().by_pid()
    finally:
        child.wait()
