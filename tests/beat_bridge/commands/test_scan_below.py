"""`doorwatch scan` from below: real guests and images of them, and what is said where there is nothing to read."""

import contextlib
import json
import shlex
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from beat_bridge.commands.scan import scan
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.inventory import encode
from beat_bridge.sensors.hypervisor.guests.qmp import open_qmp
from tests.lab.guest import Guest, plants, product
from tests.lab.guest.fixtures import bookworm, guest, trixie
from tests.lab.guest.monitor import paused

__all__ = ["bookworm", "guest", "trixie"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def infected(guest: Guest) -> Iterator[tuple[Guest, int]]:
    """A guest in which the emulator sleeps, and the emulator's process id."""
    with plants.emulator(guest) as planted:
        yield guest, planted.pid


def _scan(*arguments: object) -> Result:
    return CliRunner().invoke(scan, [str(each) for each in arguments])


def _documents(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def _told(result: Result, kind: str) -> list[dict[str, Any]]:
    return [document for document in _documents(result) if document["doorwatch"].get("finding", {}).get("kind") == kind]


def _refusal(*arguments: object) -> str:
    """The one line that a scan which cannot be done ends with."""
    result = _scan(*arguments)
    if isinstance(result.exception, DoorwatchError):
        told = str(result.exception)
    else:
        assert result.exit_code in (2, 3), result.output
        told = result.stderr.splitlines()[-1]
    assert "\n" not in told
    return told


@pytest.mark.guest
def test_a_backdoor_in_a_running_guest_is_found_from_outside(infected: tuple[Guest, int]) -> None:
    """The emulator is told as one malicious process, of the guest and not of this machine, and the exit code is 1."""
    guest, pid = infected
    result = _scan("--qmp", guest.qmp_path, "--kernel", guest.kernel_image, "--format", "json")
    assert result.exit_code == 1, result.output
    (found,) = _told(result, "backdoor_process")
    assert found["process"]["pid"] == pid
    assert found["host"]["name"] == guest.check("uname", "-n").strip()
    assert found["doorwatch"]["finding"]["verdict"] == "malicious"
    assert found["doorwatch"]["filter"]["magic"]


@pytest.mark.guest
def test_images_of_any_kind_tell_the_same(infected: tuple[Guest, int], tmp_path: Path) -> None:
    """A copy of the RAM file and an ELF dump, taken at one moment, give the same findings as the guest did."""
    guest, _ = infected
    with paused(guest.monitor_path):
        shutil.copyfile(guest.ram_file, tmp_path / "ram")
        open_qmp(guest.qmp_path).dump_memory(tmp_path / "elf")
    told = []
    for image in ("ram", "elf"):
        result = _scan("--memory", tmp_path / image, "--kernel", guest.kernel_image, "--format", "json")
        assert result.exit_code == 1, result.output
        found = [each for each in _documents(result) if each["event"]["action"] == "finding-opened"]
        told.append(sorted(each["doorwatch"]["finding"]["key"] for each in found))
    assert told[0] == told[1]
    assert len(told[0]) >= 4


_ASK = """
import shutil, socket, sys
with socket.socket(socket.AF_UNIX) as asking:
    asking.connect(sys.argv[1])
    shutil.copyfileobj(asking.makefile("rb"), sys.stdout.buffer)
"""


@contextlib.contextmanager
def _inside(guest: Guest, directory: Path, hidden: int) -> Iterator[str]:
    """A command that prints the view from inside a guest, taken when it is run."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "inside.sock"))
        listener.listen()

        def answer() -> None:
            with contextlib.suppress(OSError):  # the listener was closed: nobody asks any more
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.sendall(encode(product.look(guest, hidden=(hidden,))))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        (directory / "ask.py").write_text(_ASK)
        try:
            yield shlex.join([sys.executable, str(directory / "ask.py"), str(directory / "inside.sock")])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.guest
def test_what_the_inside_hides_is_told_and_confirmed(trixie: Guest, bookworm: Guest, tmp_path: Path) -> None:
    """A process that the view from inside leaves out is hidden, malicious, and was confirmed while nothing moved."""
    guest = bookworm if product.fits("bookworm") else trixie
    product.install(guest)
    with plants.program(guest, "raw_socket") as planted, _inside(guest, tmp_path, planted.pid) as command:
        result = _scan("--qmp", guest.qmp_path, "--inside-command", command, "--format", "json")
        table = _scan("--qmp", guest.qmp_path, "--inside-command", command)
        guest.check("sleep", "3")  # more than the margin of start times, which count in whole seconds
        (tmp_path / "inside").write_bytes(encode(product.look(guest, hidden=(planted.pid,))))
        recorded = _scan("--qmp", guest.qmp_path, "--inside", tmp_path / "inside", "--no-pause", "--format", "json")
    (hidden,) = _told(result, "hidden_process")
    assert hidden["process"]["pid"] == planted.pid
    assert hidden["doorwatch"]["finding"]["verdict"] == "malicious"
    assert hidden["doorwatch"]["view"]["missing_from"] == ["host"]
    assert table.exit_code == 1, table.stderr
    assert "stood still for" in table.stdout
    (sampled,) = _told(recorded, "hidden_process")
    assert sampled["doorwatch"]["finding"]["verdict"] == "suspicious"


@pytest.mark.guest
def test_a_view_that_is_not_of_this_guest_now_is_refused(trixie: Guest, bookworm: Guest, tmp_path: Path) -> None:
    """A stale view, one of another boot, one without a clock and one that never ends: one line each, nothing hidden."""
    guest = bookworm if product.fits("bookworm") else trixie
    product.install(guest)
    inside = product.look(guest)
    views = {
        "stale": encode(inside),
        "early": encode(msgspec.structs.replace(inside, taken_at=inside.taken_at + timedelta(hours=1))),
        "other": encode(msgspec.structs.replace(inside, host=msgspec.structs.replace(inside.host, boot_id="another"))),
        "naive": encode(msgspec.structs.replace(inside, taken_at=inside.taken_at.replace(tzinfo=None))),
        "ancient": encode(msgspec.structs.replace(inside, taken_at=datetime(1, 1, 1, tzinfo=UTC))),
    }
    with plants.program(guest, "raw_socket"):  # what began since would seem to be hidden
        guest.check("sleep", "3")
        for name, view in views.items():
            (tmp_path / name).write_bytes(view)
        command = ["--qmp", guest.qmp_path, "--inside-command"]
        assert "let it look now" in _refusal(*command, f"cat {tmp_path / 'stale'}")
        # the guest's clock was set back after it was taken
        assert "let it look now" in _refusal(*command, f"cat {tmp_path / 'early'}")
        assert "older than the one from inside" in _refusal("--qmp", guest.qmp_path, "--inside", tmp_path / "early")
        assert "prints more than" in _refusal(*command, "cat /dev/zero")
        for given in (["--inside"], ["--inside-command"]):
            place = {"--inside": "", "--inside-command": "cat "}[given[0]]
            told = _refusal("--qmp", guest.qmp_path, *given, f"{place}{tmp_path / 'other'}")
            assert "unless all are of one boot" in told or "let it look now" in told
            for name in ("naive", "ancient"):
                assert "time zone" in _refusal("--qmp", guest.qmp_path, *given, f"{place}{tmp_path / name}")
        recorded = _scan("--qmp", guest.qmp_path, "--inside", tmp_path / "stale", "--format", "json")
    assert _told(recorded, "hidden_process") == []
    assert _told(recorded, "hidden_socket") == []


@pytest.mark.guest
def test_a_recorded_look_from_outside_is_judged_again(infected: tuple[Guest, int], tmp_path: Path) -> None:
    """`--save` keeps a guest's inventory, from which `--inventory` makes the same findings."""
    guest, _ = infected
    saved = tmp_path / "guest.json"
    assert _scan("--qmp", guest.qmp_path, "--save", saved).exit_code == 1
    again = _scan("--inventory", saved, "--format", "json")
    assert again.exit_code == 1
    assert len(_told(again, "backdoor_process")) == 1
    piped = _scan("--inventory", saved, "--save", "-")
    assert piped.stdout_bytes.rstrip() == saved.read_bytes().rstrip()


@pytest.mark.guest
def test_an_image_cut_short_is_refused(infected: tuple[Guest, int], tmp_path: Path) -> None:
    """Of a truncated ELF dump one line says that it is not whole."""
    guest, _ = infected
    open_qmp(guest.qmp_path).dump_memory(tmp_path / "elf")
    with (tmp_path / "elf").open("r+b") as stream:
        stream.truncate(stream.seek(0, 2) // 2)
    assert "is it whole" in _refusal("--memory", tmp_path / "elf")


def test_noise_is_no_kernel(tmp_path: Path) -> None:
    """A file in which no Linux kernel lies is named, and so is what was looked for."""
    noise = tmp_path / "noise"
    noise.write_bytes(bytes(range(256)) * 40_000)
    told = _refusal("--memory", noise)
    assert "noise" in told
    assert "Linux" in told or "VMCOREINFO" in told


def test_an_absent_or_empty_image_is_one_line(tmp_path: Path) -> None:
    """A file that is not there, and one with nothing in it, are told as such."""
    assert "No such file" in _refusal("--memory", tmp_path / "absent")
    (tmp_path / "empty").touch()
    assert "empty" in _refusal("--memory", tmp_path / "empty")


def test_a_guest_that_is_not_there_is_told_beside_those_that_are(tmp_path: Path) -> None:
    """A wrong name is answered with what could be asked, and what did not answer."""
    told = _refusal("--guest", "web-9", "--qmp", tmp_path / "qmp.sock")
    assert "web-9" in told
    assert "qmp.sock" in told


def test_a_guest_that_does_not_answer_is_not_clean(tmp_path: Path) -> None:
    """A socket nobody listens at is an error line and exit code 3, never 0."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "qmp.sock"))
    listener.close()
    result = _scan("--qmp", tmp_path / "qmp.sock")
    assert result.exit_code == 3, result.output
    assert "qmp.sock" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--kernel", "/boot"], "--kernel is of a guest"),
        (["--inside", "x"], "--inside is of a guest"),
        (["--inside-command", "x"], "--inside-command is of a guest"),
        (["--memory", "x", "--guest", "y"], "leave out --guest"),
        (["--memory", "x", "--inventory", "y"], "--inventory judges a record"),
        (["--memory", "x", "--inside-command", "y"], "--inside-command needs a running guest"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments: list[str], word: str) -> None:
    """Each contradiction is one line that names the options."""
    assert word in _refusal(*arguments)


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("/nonexistent/command", "cannot be run"),
        ("false", "no view"),
        ("sh -c 'echo no such host >&2; exit 255'", "no such host"),
        ("echo nonsense", "not a Doorwatch inventory"),
        ("'", "cannot be run"),
    ],
)
def test_a_command_that_gives_no_view_is_refused(command: str, word: str) -> None:
    """Whatever is wrong with the view from inside is one line that names the command."""
    from beat_bridge.commands.below import run_inside  # noqa: PLC0415 - needs the extra, as what it tests does

    with pytest.raises(DoorwatchError) as caught:
        run_inside(command)
    told = str(caught.value)
    assert "--inside-command" in told
    assert word in told or (command == "false" and "not a Doorwatch inventory" in told)
