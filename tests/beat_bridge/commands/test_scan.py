"""`doorwatch scan`: what it says, and with which exit code."""

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from beat_bridge.commands import below
from beat_bridge.commands.findings_view import print_seen
from beat_bridge.commands.scan import noteworthy, scan
from beat_bridge.commands.seen import Seen
from beat_bridge.detectors import detect
from beat_bridge.ecs.fields import unknown_fields
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Reason, Viewpoint
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.filters import FilterKind, Instruction, SocketFilter
from beat_bridge.model.host import Host
from beat_bridge.model.inventory import Inventory, decode, encode
from beat_bridge.model.sockets import Holder, Socket
from tests.inventories import builders
from tests.inventories.builders import process
from tests.lab import processes as lab

COMPLETE = tuple(
    Coverage(sensor=sensor, status=CoverageStatus.COMPLETE)
    for sensor in ("packet_sockets", "socket_filters", "processes", "pid_files")
)
GAP = Coverage(
    sensor="socket_filters", status=CoverageStatus.PARTIAL, reason=Reason.REFUSED, detail="12 refused; run as root"
)


def _inventory(sockets: tuple[Socket, ...] = (), coverage: tuple[Coverage, ...] = COMPLETE) -> Inventory:
    return Inventory(
        host=Host(id="m", name="web-1", boot_id="b"),
        viewpoint=Viewpoint.HOST,
        taken_at=datetime(2026, 1, 2, tzinfo=UTC),
        sockets=sockets,
        coverage=coverage,
    )


def _print(look: Inventory) -> None:
    print_seen(Console(highlight=False), Seen(inventory=look, findings=noteworthy(detect(look))))


def _backdoor() -> Socket:
    program = tuple(Instruction(*each) for each in lab.BPF_MAGIC_PACKET)
    return Socket(
        inode=77,
        family=socket.AF_PACKET,
        type=3,
        protocol=3,
        network_namespace=1,
        filter=SocketFilter(kind=FilterKind.CLASSIC, program=program),
        holders=(Holder(pid=4, fd=3),),
    )


def _scan(inventory: Inventory, *arguments: str) -> Result:
    return CliRunner().invoke(scan, ["--inventory", "-", *arguments], input=encode(inventory))


@pytest.mark.parametrize(
    ("inventory", "code"),
    [
        (_inventory(), 0),
        (_inventory((_backdoor(),)), 1),
        (_inventory((_backdoor(),), (GAP,)), 1),
        (_inventory(coverage=(GAP,)), 3),
        (_inventory(coverage=()), 3),
    ],
    ids=["clean", "findings", "findings and gaps", "gaps", "no account of any sensor"],
)
def test_the_exit_code_tells_clean_from_not_checked(inventory: Inventory, code: int) -> None:
    """0 means that everything was checked and nothing found; a gap is never folded into it."""
    assert _scan(inventory).exit_code == code
    assert _scan(inventory, "--format", "json").exit_code == code


def test_the_table_shows_findings_and_gaps() -> None:
    """The table names the verdict and the magic value, and a gap with its reason and what to do."""
    text = " ".join(_scan(_inventory((_backdoor(),), (*COMPLETE[1:], GAP))).output.split())
    assert "malicious" in text
    assert "0x7255" in text
    assert "refused: 12 refused; run as root" in text


def test_json_is_one_known_document_a_line() -> None:
    """Every line is an ECS document of known fields: the findings first, then the account of each sensor."""
    lines = _scan(_inventory((_backdoor(),)), "--format", "json").output.splitlines()
    documents = [json.loads(line) for line in lines]
    assert all(not unknown_fields(document) for document in documents)
    assert documents[0]["doorwatch"]["finding"]["verdict"] == "malicious"
    sensors = [each["doorwatch"]["coverage"]["sensor"] for each in documents if "coverage" in each["doorwatch"]]
    assert sensors == [each.sensor for each in COMPLETE]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 3}', b"\xff\xfe"])
def test_what_is_no_inventory_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    """A file that is no inventory gets one line that names it."""
    path = tmp_path / "inventory.json"
    path.write_bytes(content)
    answer = CliRunner().invoke(scan, ["--inventory", str(path)])
    assert isinstance(answer.exception, DoorwatchError)
    assert str(answer.exception).startswith(f"{path}: not a Doorwatch inventory")
    assert "\n" not in str(answer.exception)


def test_a_missing_file_is_refused_in_one_line() -> None:
    """A path that cannot be read gets one line that says so."""
    answer = CliRunner().invoke(scan, ["--inventory", "/nonexistent/inventory.json"])
    assert str(answer.exception) == "/nonexistent/inventory.json: cannot read: No such file or directory"


@pytest.mark.live
def test_a_look_can_be_recorded_and_judged_again(tmp_path: Path) -> None:
    """The recorded look is private, holds the fixture's socket, and is judged the same when read again."""
    kept: list[socket.socket] = []

    def body() -> list[int]:
        kept.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
        lab.attach(kept[0], lab.BPF_MAGIC_PACKET)
        return [lab.inode(kept[0])]

    path = tmp_path / "look.json"
    with lab.running(body) as fixture:
        live = CliRunner().invoke(scan, ["--format", "json", "--save", str(path)])
    assert live.exit_code == 1
    assert path.stat().st_mode & 0o777 == 0o600
    recorded = decode(path.read_bytes(), str(path))
    assert fixture.told[0] in {each.inode for each in recorded.sockets}
    again = CliRunner().invoke(scan, ["--format", "json", "--inventory", str(path)])
    assert (again.exit_code, again.output) == (live.exit_code, live.output)


@pytest.mark.live
def test_the_command_itself_exits_with_the_code() -> None:
    """The installed `doorwatch scan` hands its exit code to the shell."""
    answer = subprocess.run(
        [sys.executable, "-m", "doorwatch", "scan", "--inventory", "-"],
        input=encode(_inventory(coverage=(GAP,))),
        capture_output=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert answer.returncode == 3
    assert b"run as root" in answer.stdout


def test_findings_that_say_the_same_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Thirty processes of one kind make one entry that names them; a different one stays apart."""
    alike = [process(100 + n, "/dev/shm/x", filesystem="tmpfs") for n in range(30)]  # noqa: S108
    look = builders.inventory(*alike, process(500, "/memfd:x", memfd=True, deleted=True))
    _print(look)
    shown = capsys.readouterr().out
    assert shown.count("\nsuspicious  ") == 2
    assert "30 alike" in shown
    assert "x (100), x (101)" in shown
    assert "and 10 more" in shown


def test_a_look_says_first_what_was_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    """The machine, the time, the kernel and the number of processes stand above the findings, hostile names tamed."""
    look = builders.inventory(process(501, "/usr/bin/p"))
    look = msgspec.structs.replace(look, host=msgspec.structs.replace(look.host, kernel_release="6.1\nFindings"))
    seen = Seen(inventory=look, findings=(), what="guest web-1 (no UUID)", took_seconds=1.234, stood_still_seconds=0.05)
    print_seen(Console(highlight=False, width=200), seen)
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert first == "Looked at guest web-1 (no UUID), in 1.23 s (it stood still for 50 ms)"
    assert "kernel 6.1\\x0aFindings; 1 processes" in second
    assert any(line.startswith("Findings on") for line in rest)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (Coverage(sensor="kernel_text", status=CoverageStatus.COMPLETE, examined=2), "8,192 bytes compared"),
        (
            Coverage(sensor="kernel_text", status=CoverageStatus.PARTIAL, reason=Reason.UNSUPPORTED, examined=2),
            "NOT compared",
        ),
        (
            Coverage(sensor="kernel_text", status=CoverageStatus.PARTIAL, reason=Reason.FAILED, examined=2, missed=1),
            "not all of it",
        ),
    ],
)
def test_whether_the_code_was_compared_is_said(entry: Coverage, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """How many bytes of the kernel's code were compared with its image, or that they were not."""
    _print(_inventory(coverage=(entry,)))
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "kernel code" in line)
    assert told in line


def test_nothing_found_with_gaps_is_no_clean_bill(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing was found and something not checked, the last line says so; where all was checked it does not."""
    _print(_inventory(coverage=(GAP,)))
    assert "not a clean bill" in capsys.readouterr().out.splitlines()[-1]
    _print(_inventory())
    assert "clean" not in capsys.readouterr().out


def test_a_picture_stands_alone(tmp_path: Path) -> None:
    """What was printed is written as an SVG that loads nothing from elsewhere."""
    (tmp_path / "record").write_bytes(encode(_inventory((_backdoor(),))))
    picture = tmp_path / "scan.svg"
    CliRunner().invoke(scan, ["--inventory", str(tmp_path / "record"), "--picture", str(picture)])
    drawn = picture.read_text()
    assert "malicious" in drawn
    assert "url(" not in drawn.replace("url(#", "")


def test_a_name_cannot_begin_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Line breaks and escape sequences in the names of a hostile process are shown, not carried out."""
    look = builders.inventory(process(501, "/dev/shm/\x1b[2J\nEvery sensor", name="a\nb"))  # noqa: S108
    _print(look)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    begins = [line.split(" ")[0] for line in shown.splitlines() if line]
    assert begins.count("Every") == 1  # our own line
    assert "b" not in begins


@pytest.mark.parametrize("outside", [True, False])
def test_documents_of_a_look_from_outside_name_who_looked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outside: bool
) -> None:
    """What this machine sees of a guest bears this machine as observer; a record is judged without one."""
    seen = builders.inventory(process(5, "/usr/bin/p"), viewpoint=Viewpoint.HYPERVISOR)
    monkeypatch.setattr(below, "look_below", lambda *_: [Seen(inventory=seen, findings=detect(seen))])
    (tmp_path / "record").write_bytes(encode(seen))
    arguments = ["--memory", "image"] if outside else ["--inventory", str(tmp_path / "record")]
    told = CliRunner().invoke(scan, [*arguments, "--format", "json"])
    bodies = [json.loads(line) for line in told.stdout.splitlines()]
    assert {body.get("observer", {}).get("hostname") for body in bodies} == {socket.gethostname() if outside else None}
    assert {body["host"]["id"] for body in bodies} == {builders.HOST.id}
