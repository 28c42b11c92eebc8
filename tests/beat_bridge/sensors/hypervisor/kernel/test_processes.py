"""Processes seen from outside are those the guest sees itself."""

import json
from typing import Any

import pytest

from beat_bridge.model.processes import Environment, Executable, Process
from doorwatch.demo import emulator
from tests.beat_bridge.sensors.hypervisor.kernel.conftest import Watched
from tests.lab.guest import plants

pytestmark = pytest.mark.guest

_ASK = """
import json, os
found = {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        raw = open(f"/proc/{pid}/stat").read()
        name, fields = raw[raw.index("(") + 1 : raw.rindex(")")], raw[raw.rindex(")") + 2 :].split()
        kernel = bool(int(fields[6]) & 0x200000)
        status = open(f"/proc/{pid}/status").read()
        exe = None if kernel else os.stat(f"/proc/{pid}/exe")
        found[pid] = {
            "name": name, "parent": int(fields[1]), "group": int(fields[2]), "session": int(fields[3]),
            "tty": int(fields[4]), "start": int(fields[19]), "kernel": kernel,
            "user": int(next(line for line in status.splitlines() if line.startswith("Uid:")).split()[2]),
            "net": os.stat(f"/proc/{pid}/ns/net").st_ino,
            "args": "" if kernel else open(f"/proc/{pid}/cmdline", "rb").read().decode(),
            "environment": 0 if kernel else len(open(f"/proc/{pid}/environ", "rb").read().rstrip(b"\\0").split(b"\\0")),
            "exe": exe and [os.readlink(f"/proc/{pid}/exe"), exe.st_dev, exe.st_ino],
        }
    except OSError:
        pass
boot = next(int(line.split()[1]) for line in open("/proc/stat") if line.startswith("btime"))
print(json.dumps({"processes": found, "boot": boot, "id": open("/proc/sys/kernel/random/boot_id").read().strip()}))
"""


def _inside(watched: Watched) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(watched.guest.check("python3", "-S", "-c", _ASK))
    return answer


def _told(process: Process) -> dict[str, Any]:
    """A process in the words of the script."""
    executable = process.executable
    args = process.args if isinstance(process.args, tuple) else ("?",)
    return {
        "name": process.name,
        "parent": process.parent_pid,
        "group": process.group_id,
        "session": process.session_id,
        "tty": process.tty,
        "start": process.start_ticks,
        "kernel": process.kernel_thread,
        "user": process.user_id,
        "net": process.network_namespace,
        "args": "".join(f"{each}\0" for each in args),
        "environment": process.environment.count if isinstance(process.environment, Environment) else 0,
        "exe": [executable.path, executable.device, executable.inode] if isinstance(executable, Executable) else None,
    }


def test_every_process_is_seen_as_proc_shows_it(watched: Watched) -> None:
    """Each process that lives through the look has the same names, parents, times, file and arguments in both views."""
    before = _inside(watched)
    seen = watched.whole_look("processes")
    after = _inside(watched)["processes"]
    outside = {str(process.pid): _told(process) for process in seen.processes}
    stayed = {
        pid: told for pid, told in before["processes"].items() if after.get(pid, {}).get("start") == told["start"]
    }
    assert len(stayed) > 20
    for pid, told in stayed.items():
        if told["kernel"]:
            # /proc knows longer names of kernel threads than `comm` holds, and adds what a worker is doing
            told["name"] = told["name"][:15] if "kworker" not in told["name"] else outside[pid]["name"]
        assert outside[pid] == told
    assert outside.keys() <= before["processes"].keys() | after.keys()
    assert all({"task_list", "pid_table"} <= set(process.seen_by) for process in seen.processes)
    assert abs(seen.processes[0].started_at - before["boot"] - seen.processes[0].start_ticks / 100) < 2
    assert seen.host.boot_id == before["id"]
    assert seen.host.kernel_release == watched.guest.kernel_release


def test_the_emulator_is_recovered_whole(watched: Watched) -> None:
    """Argv, name, deleted executable, environment signs, descriptor and every instruction come out of RAM alone."""
    with plants.emulator(watched.guest) as planted:
        seen = watched.look()
    process = seen.by_pid()[planted.pid]
    (socket,) = (each for each in seen.sockets if each.inode == planted.facts["inode"])
    assert process.args == emulator.FALSE_ARGV
    assert process.name == emulator.FALSE_NAME
    assert isinstance(process.executable, Executable)
    assert process.executable.path == f"{emulator.DIRECTORY}/{emulator.FILE_NAME}"
    assert process.executable.deleted
    assert not process.executable.replaced
    assert process.executable.filesystem == "tmpfs"
    assert isinstance(process.environment, Environment)
    assert process.environment.signs == tuple(sorted(f"{name}={value}" for name, value in emulator.ENVIRONMENT.items()))
    assert socket.filter.program == emulator.FILTER
    assert [holder.pid for holder in socket.holders] == [planted.pid]
    assert socket.seen_by == ("descriptor", "packet_sklist", "packet_type")


def test_an_upgraded_program_is_told_from_a_hidden_one(watched: Watched) -> None:
    """A deleted executable whose name another file has taken is `replaced`."""
    guest = watched.guest
    guest.check("cp", "/usr/bin/python3", _UPGRADED)
    started = guest.start(["upgraded", "-S", "-c", _WAIT], executable=_UPGRADED)
    try:
        guest.check("sh", "-c", f"rm {_UPGRADED}; cp /usr/bin/python3 {_UPGRADED}")
        executable = watched.look().by_pid()[started.pid].executable
    finally:
        guest.stop(started.pid)
        guest.check("rm", _UPGRADED)
    assert isinstance(executable, Executable)
    assert (executable.path, executable.deleted, executable.replaced) == (_UPGRADED, True, True)


def test_a_memfd_is_known_for_what_it_is(watched: Watched) -> None:
    """A program that never was a file is told as a memfd."""
    launcher = (
        "import os; d = os.memfd_create('doorwatch-lab', 0);"
        "f = open('/usr/bin/python3', 'rb');\n"
        "while part := f.read(1 << 20): os.write(d, part)\n"
        f"os.execv(f'/proc/self/fd/{{d}}', ['lab', '-S', '-c', {_WAIT!r}])"
    )
    started = watched.guest.start(["python3", "-S", "-c", launcher])
    try:
        executable = watched.look().by_pid()[started.pid].executable
    finally:
        watched.guest.stop(started.pid)
    assert isinstance(executable, Executable)
    assert (executable.path, executable.memfd, executable.deleted) == ("/memfd:doorwatch-lab", True, True)


_UPGRADED = "/dev/shm/upgraded"  # noqa: S108 - in the guest
_WAIT = "import signal; print('ready', flush=True); signal.pause()"
