"""Servers and their directories go when the tests go, whatever ended those."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

GUARD = Path(__file__).with_name("guard.py")
HOLDER = """
import subprocess, sys
guard = subprocess.Popen([sys.executable, "-I", *sys.argv[1:]], stdin=subprocess.PIPE)
guard.wait()
"""


@pytest.mark.parametrize("paused", [False, True])
def test_a_killed_holder_takes_every_process_along(paused: bool) -> None:
    """When whoever asked for a server is killed with SIGKILL, the server and its own children end, paused ones too."""
    command = ["run", "-1", "sh", "-c", "sleep 1000 & echo $! >&2; wait"]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(GUARD), *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with holder:
        assert holder.stdout
        assert holder.stderr
        server, child = int(holder.stdout.readline()), int(holder.stderr.readline())
        ends = [os.pidfd_open(pid) for pid in (server, child)]
        if paused:
            os.killpg(server, signal.SIGSTOP)
        holder.kill()
        for end in ends:
            assert select.select([end], [], [], 30)[0]
            os.close(end)


def test_a_server_that_ends_ends_its_guard() -> None:
    """The guard of a server that ended by itself ends too, so that its death is seen."""
    guard = subprocess.run(
        [sys.executable, GUARD, "run", "-1", "false"],
        stdin=subprocess.PIPE,
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert int(guard.stdout)


def test_a_directory_goes_when_its_last_user_does(tmp_path: Path) -> None:
    """A directory stays while anybody holds the other end of the pipe, and goes with the last."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    reading, writing = os.pipe()
    second = os.dup(writing)
    with subprocess.Popen([sys.executable, GUARD, "remove", tmp_path / "a"], stdin=reading) as remover:
        os.close(reading)
        os.close(writing)
        with pytest.raises(subprocess.TimeoutExpired):
            remover.wait(0.2)
        assert (tmp_path / "a" / "file").exists()
        os.close(second)
        assert remover.wait(30) == 0
    assert not (tmp_path / "a").exists()
