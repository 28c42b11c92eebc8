"""`doorwatch guests` holds real guests, and what became of them is proven by something else than its own word."""

import json
import os
import pty
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from beat_bridge.commands.guests import guests
from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory.elf_dump import ElfDump
from tests.beat_bridge.sensors.hypervisor.guests.conftest import Wired, wired
from tests.beat_bridge.sensors.hypervisor.guests.peers import answering, impostor
from tests.lab.guest import Guest
from tests.lab.guest.monitor import execute

__all__ = ["wired"]
HOSTILE = "\x1b[2Jweb\nGuests: none"
"""A name that would wipe the screen and write a line of ours."""


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(guests, [str(each) for each in arguments])


def _done(*arguments: object) -> str:
    result = _run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def _refused(*arguments: object) -> str:
    """The one line of a command that did nothing."""
    result = _run(*arguments)
    assert isinstance(result.exception, DoorwatchError), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def _paste(told: str) -> str:
    """Do what the last line of an answer says to paste."""
    words = shlex.split(told.splitlines()[-1])
    assert words[:2] == ["doorwatch", "guests"]
    return _done(*words[2:])


def _status(guest: Guest) -> str:
    return str(execute(guest.monitor_path, "query-status")["status"])


@pytest.mark.guest
def test_a_list_says_what_can_be_looked_at(wired: Wired, tmp_path: Path) -> None:
    """A guest that runs is readable; a socket that nobody listens at is in the list, and says why it is not."""
    socket = wired.guest.qmp_path
    (row,) = (json.loads(line) for line in _done("list", "--qmp", socket, "--format", "json").splitlines())
    assert (row["state"], row["route"], row["readable"], row["obstacle"]) == ("running", str(socket), True, "")
    dead = tmp_path / "dead.qmp"
    dead.touch()
    (row,) = (json.loads(line) for line in _done("list", "--qmp", dead, "--format", "json").splitlines())
    assert not row["readable"]
    assert str(dead) in row["obstacle"]
    assert str(dead.name) in _done("list", "--qmp", dead).replace("\n", "")


@pytest.mark.guest
def test_what_is_paused_stands_still_until_what_is_told_to_paste(wired: Wired) -> None:
    """QEMU's own account follows each command; both say when there is nothing to do; a directory will do as route."""
    socket = wired.guest.qmp_path
    paused = _done("pause", socket, "--qmp", socket.parent)
    assert _status(wired.guest) == "paused"
    assert "already" in _done("pause", socket, "--qmp", socket)
    assert "runs" in _paste(paused)
    assert _status(wired.guest) == "running"
    assert "already" in _done("resume", socket, "--qmp", socket)


@pytest.mark.guest
def test_a_cable_is_pulled_only_when_somebody_wants_it(wired: Wired) -> None:
    """Where nobody can be asked frames go on; with --yes none arrives; what is told to paste brings them back."""
    socket = wired.guest.qmp_path
    line = _refused("link", socket, "down", "--qmp", socket)
    assert "--yes" in line
    assert "nothing was done" in line
    assert wired.heard() == [True, True]
    down = _done("link", socket, "down", "--yes", "--qmp", socket)
    assert wired.heard() == [False, False]
    _paste(down)
    assert wired.heard() == [True, True]


@pytest.mark.guest
def test_who_answers_no_keeps_the_guest_as_it_is(wired: Wired) -> None:
    """On a terminal the guest and the way back are named, and after `n` its frames still arrive."""
    socket = wired.guest.qmp_path
    master, slave = pty.openpty()
    os.write(master, b"n\n")
    try:
        program = "from doorwatch.main import main; main()"
        asked = subprocess.run(
            [sys.executable, "-c", program, "guests", "link", str(socket), "down", "--qmp", str(socket)],
            stdin=slave,
            capture_output=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(master)
        os.close(slave)
    assert asked.returncode == 2
    assert b"(no UUID)" in asked.stderr
    assert f"guests link {socket} up".encode() in asked.stderr
    assert wired.heard() == [True, True]


@pytest.mark.guest
def test_a_dump_is_private_and_never_replaces_evidence(wired: Wired, tmp_path: Path) -> None:
    """It is an ELF core of the guest's RAM with mode 0600; a second one to the same name leaves the first alone."""
    socket, file = wired.guest.qmp_path, tmp_path / "web.elf"
    assert f"--memory {file}" in _done("dump", socket, file, "--qmp", socket)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    dump = ElfDump(file)
    try:
        assert sum(region.size for region in dump.regions()) >= wired.guest.ram_file.stat().st_size
    finally:
        dump.close()
    before = file.stat()
    assert str(file) in _refused("dump", socket, file, "--qmp", socket)
    assert file.stat() == before
    assert _status(wired.guest) == "running"


@pytest.mark.guest
def test_a_guest_goes_back_only_when_somebody_wants_it(wired: Wired) -> None:
    """What was written after the snapshot is there when nobody could be asked, and gone after --yes."""
    socket = wired.guest.qmp_path
    wired.guest.check("rm", "-f", "/run/later")
    kept = _done("snapshot", socket, "kept", "--qmp", socket)
    assert shlex.split(kept.splitlines()[-1])[2] == "revert"
    wired.guest.check("touch", "/run/later")
    assert "before-kept" in _refused("revert", socket, "kept", "--qmp", socket)
    assert wired.guest.run(["test", "-e", "/run/later"]).code == 0
    assert "running" in _done("revert", socket, "kept", "--yes", "--qmp", socket)
    assert wired.guest.run(["test", "-e", "/run/later"]).code == 1
    assert "no snapshot other" in _refused("revert", socket, "other", "--yes", "--qmp", socket)


@pytest.mark.guest
def test_a_name_that_is_no_guests_is_told_with_those_there_are(wired: Wired) -> None:
    """The line names what was asked for and what could have been."""
    socket = wired.guest.qmp_path
    line = _refused("pause", "nobody", "--qmp", socket)
    assert "no guest nobody" in line
    assert str(socket) in line
    assert _status(wired.guest) == "running"


def test_a_place_that_does_not_answer_is_no_empty_list(tmp_path: Path) -> None:
    """Where libvirt cannot be reached, or is not installed, the exit code is 3 and one line names the connection."""
    uri = f"qemu+unix:///system?socket={tmp_path / 'absent'}"
    result = _run("list", "--libvirt", uri, "--format", "json")
    assert result.exit_code == 3, result.output
    assert not result.stdout
    (line,) = result.stderr.splitlines()
    assert "libvirt" in line


def test_a_guests_name_draws_nothing(tmp_path: Path) -> None:
    """Escape sequences and line breaks in what a hypervisor calls a guest are shown, not carried out."""
    answers: dict[str, object] = {"query-name": {"name": HOSTILE}, "query-uuid": {"UUID": str(UUID(int=0))}}
    with impostor(tmp_path / "web.qmp", answering(answers)) as socket:
        shown = CliRunner(env={"COLUMNS": "200"}).invoke(guests, ["list", "--qmp", str(socket)]).stdout
        assert "\\x1b[2Jweb\\x0aGuests: none" in shown
        assert "\x1b" not in shown
