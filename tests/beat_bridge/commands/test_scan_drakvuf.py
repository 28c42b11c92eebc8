"""`doorwatch scan --drakvuf`: DRAKVUF's lines, judged as any other look."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from beat_bridge.commands.scan import scan
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Viewpoint
from beat_bridge.model.inventory import decode
from tests.beat_bridge.sensors.test_drakvuf import attach, executed, packet_socket

STORY = b"".join([executed(), *packet_socket(), attach()])
QUIET = executed("/usr/bin/true", "")


def _scan(*arguments: str | Path, given: bytes = b"") -> Result:
    return CliRunner().invoke(scan, ["--drakvuf", *map(str, arguments)], input=given)


def _named(*arguments: str | Path, given: bytes = b"") -> Result:
    return _scan(*arguments, "--host-id", "0f9d", "--host-name", "web-1", given=given)


def test_a_story_is_judged_from_a_file_and_from_standard_input(tmp_path: Path) -> None:
    """The same lines give the same findings either way, under the name that was given, and exit code 1."""
    (tmp_path / "lines").write_bytes(STORY)
    of_file, piped = _named(tmp_path / "lines"), _named("-", given=STORY)
    assert of_file.output == piped.output
    assert of_file.exit_code == piped.exit_code == 1
    assert "Findings on web-1: 1" in of_file.output
    assert "backdoor process" in of_file.output


def test_documents_bear_the_guest_that_was_named() -> None:
    """--format json prints documents of the viewpoint drakvuf whose host is the one that was named."""
    told = _named("-", "--format", "json", given=STORY)
    bodies = [json.loads(line) for line in told.stdout.splitlines()]
    assert {(body["host"]["id"], body["host"]["name"]) for body in bodies} == {("0f9d", "web-1")}
    assert {tuple(body["doorwatch"]["view"]["seen_by"]) for body in bodies} == {("drakvuf",)}
    assert not [body for body in bodies if "observer" in body]
    assert "finding-opened" in {body["event"]["action"] for body in bodies}


def test_lines_that_are_no_events_are_told_as_not_checked() -> None:
    """How many, which was the first and why; what the good lines hold is judged all the same."""
    told = _named("-", given=b'not json\n{"Plugin": 5}\n' + b"x" * 70_000 + b"\n" + STORY)
    assert told.exit_code == 1
    rows = " ".join(told.output.replace("│", " ").split())
    assert "2 lines are no event of DRAKVUF's" in rows
    assert "1 lines are too long" in rows
    assert "line 1" in rows


@pytest.mark.parametrize("given", [QUIET, b"", b"\xff\xfe\n", b"{" * 1000])
def test_nothing_found_is_never_nothing_to_check(given: bytes) -> None:
    """DRAKVUF never sees everything, and an empty log nothing at all: exit code 3, with a document of today's."""
    told = _named("-", given=given)
    assert told.exit_code == 3
    assert "Not checked" in told.output
    if given != QUIET:
        assert "no event was read" in " ".join(told.output.replace("│", " ").split())
        bodies = [json.loads(line) for line in _named("-", "--format", "json", given=given).stdout.splitlines()]
        assert not [body for body in bodies if body["@timestamp"].startswith("1970")]


def test_what_it_saw_can_be_recorded(tmp_path: Path) -> None:
    """--save keeps the inventory, of which --inventory says the same again."""
    saved = tmp_path / "inventory.json"
    first = _named("-", "--save", saved, given=STORY)
    again = CliRunner().invoke(scan, ["--inventory", str(saved)])
    assert decode(saved.read_bytes(), "saved").viewpoint is Viewpoint.DRAKVUF
    told = [each.output.partition("\n\n")[2] for each in (first, again)]  # below what was looked at
    assert (told[0], first.exit_code) == (told[1], again.exit_code)
    assert told[0]


@pytest.mark.parametrize(
    ("arguments", "named"), [(("--host-name", "web-1"), "hostname:web-1"), (("--host-id", "0f9d"), "0f9d")]
)
def test_one_name_is_enough(arguments: tuple[str, ...], named: str) -> None:
    """Of id and name the one that is given stands for both."""
    told = _scan("-", *arguments, "--format", "json", given=STORY)
    assert json.loads(told.stdout.splitlines()[0])["host"]["id"] == named


def test_lines_of_nobody_are_not_judged() -> None:
    """Without id and name there is one line that says what to give."""
    error = _scan("-", given=STORY).exception
    assert isinstance(error, DoorwatchError)
    assert "--host-id" in str(error)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """It names the file and the reason."""
    error = _named(tmp_path / "nothing").exception
    assert isinstance(error, DoorwatchError)
    assert str(error) == f"{tmp_path / 'nothing'}: cannot read: No such file or directory"


@pytest.mark.parametrize(
    "other",
    [
        ("--memory", "x"),
        ("--guest", "x"),
        ("--qmp", "x"),
        ("--libvirt", "x"),
        ("--kernel", "x"),
        ("--inside", "x"),
        ("--inside-command", "x"),
        ("--inventory", "-"),
    ],
)
def test_two_things_at_once_are_not_looked_at(other: tuple[str, str]) -> None:
    """An option of another kind of look is wrong usage, named, and exit code 2."""
    told = _named("-", *other, given=STORY)
    assert told.exit_code == 2
    assert f"leave out {other[0]}" in told.output


@pytest.mark.parametrize("arguments", [["--host-name", "x"], ["--host-name", "x", "--memory", "y"]])
def test_a_name_is_given_to_drakvufs_lines_alone(arguments: list[str]) -> None:
    """Every other look tells the name itself."""
    told = CliRunner().invoke(scan, arguments)
    assert told.exit_code == 2
    assert "--host-name" in told.output
