"""The hash chain: what happens to a file shows."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.host import Host
from beat_bridge.model.responses import ResponseStep, StepState
from responders import audit

HOST = Host(id="h", name="n", boot_id="b")


def step(number: int) -> ResponseStep:
    """A step that is told apart by its number."""
    return ResponseStep(
        response_id=f"i-{number}",
        incident="i",
        action="capture_evidence",
        state=StepState.SUCCEEDED,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        sequence=number,
        host=HOST,
        playbook="p",
        explanation="ä  ünïcode\n",
    )


@pytest.fixture(scope="module")
def pristine() -> Iterator[tuple[bytes, bytes]]:
    """A sound file of six lines, and its anchor."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "audit.jsonl"
        for number in range(6):
            audit.append(path, step(number))
        yield path.read_bytes(), audit.anchor_file(path).read_bytes()


def write(directory: Path, data: bytes, anchor: bytes) -> Path:
    """A file and its anchor in a fresh place."""
    path = directory / "audit.jsonl"
    path.write_bytes(data)
    audit.anchor_file(path).write_bytes(anchor)
    return path


def test_the_chain_can_be_checked_without_this_program(pristine: tuple[bytes, bytes], tmp_path: Path) -> None:
    """Each hash is SHA-256 over the line's sorted JSON without `hash`, recomputed here with the standard library."""
    path = write(tmp_path, *pristine)
    previous = "0" * 64
    for number, data in enumerate(pristine[0].splitlines()):
        line = json.loads(data)
        sealed = line.pop("hash")
        canonical = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert hashlib.sha256(canonical).hexdigest() == sealed
        assert (line["previous"], line["sequence"]) == (previous, number)
        previous = sealed
    assert audit.verify(path) == audit.AuditReport(lines=6, head=previous)


@settings(max_examples=150)
@given(st.data())
def test_any_changed_byte_is_noticed(pristine: tuple[bytes, bytes], data: st.DataObject) -> None:
    """Whichever byte of the file is changed to whatever else, verifying finds a problem at that line or before."""
    content = bytearray(pristine[0])
    place = data.draw(st.integers(0, len(content) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda new: new != content[place]))
    content[place] = value
    with TemporaryDirectory() as directory:
        report = audit.verify(write(Path(directory), bytes(content), pristine[1]))
    assert not report.sound
    assert report.lines <= pristine[0][:place].count(b"\n")


@given(st.permutations(range(6)), st.integers(0, 6))
def test_deleting_and_reordering_lines_is_noticed(pristine: tuple[bytes, bytes], order: list[int], count: int) -> None:
    """Any selection of the lines but all of them in order is a broken chain, a cut at the end included."""
    lines = pristine[0].splitlines(keepends=True)
    chosen = order[:count]
    with TemporaryDirectory() as directory:
        report = audit.verify(write(Path(directory), b"".join(lines[number] for number in chosen), pristine[1]))
    assert report.sound == (chosen == list(range(6)))


@pytest.mark.parametrize("number", range(6))
def test_a_forged_line_that_fits_its_own_hash_is_noticed(
    pristine: tuple[bytes, bytes], tmp_path: Path, number: int
) -> None:
    """Whoever changes a line and seals it anew breaks the next one, or the anchor."""
    lines = pristine[0].splitlines(keepends=True)
    forged = json.loads(lines[number])
    forged["step"]["explanation"] = "nothing happened"
    del forged["hash"]
    canonical = json.dumps(forged, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    forged["hash"] = hashlib.sha256(canonical).hexdigest()
    lines[number] = json.dumps(forged, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    report = audit.verify(write(tmp_path, b"".join(lines), pristine[1]))
    assert ("does not follow" if number < 5 else "does not meet its anchor") in report.problem


def test_a_chain_rewritten_with_its_anchor_lacks_the_hashes_that_were_sent(tmp_path: Path) -> None:
    """Whoever makes a whole new chain is found out by a hash that a response document carries."""
    path = tmp_path / "audit.jsonl"
    sent = audit.append(path, step(0))
    assert audit.verify(path, head=sent).sound
    path.unlink()
    audit.anchor_file(path).unlink()
    audit.append(path, step(1))
    assert audit.verify(path).sound
    assert "rewritten since" in audit.verify(path, head=sent).problem


def test_a_torn_line_is_set_aside_and_said(pristine: tuple[bytes, bytes], tmp_path: Path) -> None:
    """After a crash in the middle of a line the chain goes on, the torn bytes are kept, and the next line says so."""
    path = write(tmp_path, pristine[0] + b'{"torn": tr', pristine[1])
    audit.append(path, step(6))
    report = audit.verify(path)
    assert (report.sound, report.lines) == (True, 7)
    assert (tmp_path / "audit.jsonl.torn-6").read_bytes() == b'{"torn": tr'
    assert "torn" in list(audit.read(path))[-1].note


def test_a_crash_before_the_anchor_was_written_loses_nothing(pristine: tuple[bytes, bytes], tmp_path: Path) -> None:
    """A whole line that the anchor does not know yet is adopted."""
    lines = pristine[0].splitlines(keepends=True)
    before = b"".join(lines[:5])
    anchor = audit.Anchor(count=5, hash=json.loads(lines[4])["hash"], size=len(before))
    path = write(tmp_path, pristine[0], msgspec.json.encode(anchor))
    assert audit.verify(path).sound
    audit.append(path, step(6))
    assert audit.verify(path).lines == 7


def test_nothing_is_appended_to_a_cut_file(pristine: tuple[bytes, bytes], tmp_path: Path) -> None:
    """A file shorter than its anchor says is evidence: appending to it is refused."""
    path = write(tmp_path, pristine[0].splitlines(keepends=True)[0], pristine[1])
    with pytest.raises(DoorwatchError, match="it was cut"):
        audit.append(path, step(9))


def test_several_processes_append_to_one_chain(tmp_path: Path) -> None:
    """Three processes that append at once leave one sound chain with every line."""
    path = tmp_path / "audit.jsonl"
    script = (
        "import sys; from pathlib import Path; from responders import audit\n"
        "from tests.responders.test_audit import step\n"
        "[audit.append(Path(sys.argv[1]), step(number)) for number in range(20)]"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path)]) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert audit.verify(path) == audit.AuditReport(lines=60, head=audit.verify(path).head)
    assert path.stat().st_mode & 0o777 == 0o600
