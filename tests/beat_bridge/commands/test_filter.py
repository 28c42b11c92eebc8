"""`doorwatch filter explain` from the outside."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from beat_bridge.model.filters import Program
from tests.beat_bridge.cbpf.assembler import assemble
from tests.beat_bridge.cbpf.recorded import CLASSIC


def written(program: Program) -> str:
    """As `tcpdump -ddd` prints it."""
    return "\n".join([str(len(program)), *(f"{i.code} {i.jt} {i.jf} {i.k}" for i in program)])


def explain(text: str | bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the real command with a program on standard input."""
    data = text if isinstance(text, bytes) else text.encode()
    command = [sys.executable, "-m", "doorwatch", "filter", "explain", *arguments]
    return subprocess.run(command, input=data, capture_output=True, check=False, timeout=30)


def test_json_is_one_object_with_the_promised_fields() -> None:
    """The classic filter: verdict, summary, magic and instructions, and exit code 1."""
    done = explain(written(CLASSIC), "-", "--format", "json")
    assert done.returncode == 1
    assert done.stdout.count(b"\n") == 1
    told = json.loads(done.stdout)
    assert told["verdict"] == "malicious"
    assert told["summary"].startswith("Wakes on UDP, ICMP or TCP packets")
    assert {(m["protocol"], m["offset"], m["width"], m["value"]) for m in told["magic"]} == {
        ("udp", 8, 2, 0x7255),
        ("icmp", 8, 2, 0x7255),
        ("tcp", 0, 2, 0x5293),
    }
    assert told["instruction_count"] == len(told["instructions"]) == 30
    assert told["instructions"][0] == "l0: ldh [12]"
    assert len(told["sha256"]) == 64
    assert told["complete"] is True
    assert told["paths"]


def test_a_table_for_people(tmp_path: Path) -> None:
    """Instructions, paths and the verdict are printed from a file."""
    file = tmp_path / "filter.txt"
    file.write_text(written(CLASSIC))
    done = explain("", str(file))
    assert done.returncode == 1
    for word in (b"ldh [x + 22]", b"malicious", b"udp[8:2] = 0x7255", b"BPFDoor"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("text", "link", "code"),
    [
        ("ret #0xffff", "ethernet", 0),
        ("ldxb 4*([14]&0xf)|ld [x + 22]|jeq #0x47455420, next, no|ret #1|no: ret #0", "ethernet", 1),
        ("ldb [9]|jeq #17, next, no|ldxb 4*([0]&0xf)|ld [x + 8]|jeq #0x12345678, next, no|ret #1|no: ret #0", "raw", 1),
        ("ldb [20]|tax|ldb [x + 9]|jeq #7, next, no|ret #1|no: ret #0", "raw", 3),
    ],
)
def test_exit_codes(text: str, link: str, code: int) -> None:
    """0 benign, 1 suspicious or malicious, 3 could not be judged."""
    assert explain(written(assemble(text)), "--link", link, "--format", "json").returncode == code


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", b"standard input: empty"),
        (b"hello", b"standard input:1: 'hello' is neither"),
        (b"\xff\xfe\x00", b"standard input:1: not text"),
        (b"0" * 300_000, b"standard input: larger than 262144 bytes"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(data: bytes, complaint: bytes) -> None:
    """No traceback: one line on standard error."""
    done = explain(data)
    assert done.returncode == 2
    assert done.stdout == b""
    assert complaint in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_missing_file_is_named() -> None:
    """The file that cannot be read stands in the complaint."""
    done = explain(b"", "/nonexistent/filter")
    assert done.returncode == 2
    assert b"/nonexistent/filter: cannot read: No such file or directory" in done.stderr
