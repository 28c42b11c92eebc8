"""The demo: what it claims is checked by itself, live, as root and as an ordinary user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from doorwatch.demo.emulator import FILTER

ROOT = Path(__file__).parent.parent.parent
ORDINARY_USER = 65534
PATIENCE = 120
AS_ORDINARY_USER = (
    # a checkout may lie where nobody else can go: it is mounted where everybody can, for this child alone
    'mount --bind "$1" "$2" && cd "$2" && shift 2 && '
    f'exec setpriv --reuid={ORDINARY_USER} --regid={ORDINARY_USER} --clear-groups --no-new-privs "$@"'
)


def _demo(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "doorwatch", "demo", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE,
        check=False,
        env=environment,
    )


@pytest.mark.live
def test_every_claim_of_the_demo_holds(tmp_path: Path) -> None:
    """The emulator is found, explained, isolated, released and proven gone, and a picture of it is written."""
    picture = tmp_path / "demo.svg"
    answer = _demo("--picture", str(picture))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "✗" not in answer.stdout
    assert "Everything held" in answer.stdout
    assert answer.stderr == ""
    assert picture.read_text().startswith("<svg")


@pytest.mark.live
def test_the_demo_leaves_nothing_behind() -> None:
    """After it, neither the emulator's file nor its state directory nor a process of it is left."""
    answer = _demo()
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert not list(Path("/dev/shm").glob("kdmtmpflush*"))  # noqa: S108 - where the emulator's file lies
    names = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True, timeout=10).stdout
    assert "/sbin/udevd -d" not in names
    assert "doorwatch.demo.outside" not in names


@pytest.mark.live
def test_an_ordinary_user_sees_the_whole_demo(tmp_path: Path) -> None:
    """Without any privilege, the same claims hold."""
    if os.geteuid() != 0:
        assert _demo().returncode == 0
        return
    public = tmp_path / "checkout"
    public.mkdir()
    home = tmp_path
    while home != home.parent:  # pytest keeps its directories to their owner
        home.chmod(home.stat().st_mode | 0o055) if home.stat().st_uid == 0 and home != Path("/tmp") else None  # noqa: S108
        home = home.parent
    interpreter = Path(sys.executable).relative_to(ROOT)
    answer = subprocess.run(
        [
            "unshare", "--mount", "sh", "-c", AS_ORDINARY_USER, "sh", str(ROOT), str(public),
            f"./{interpreter}", "-m", "doorwatch", "demo",
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, "HOME": "/nonexistent"},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "Everything held" in answer.stdout


def test_where_nothing_can_be_shown_live_a_recording_is(tmp_path: Path) -> None:
    """Without the tools for namespaces the demo says so, and judges a recorded look for real."""
    answer = _demo(environment={"PATH": str(tmp_path), "HOME": str(tmp_path)})
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "does not let the demo look live" in answer.stdout
    assert "shared_memory_execution" in answer.stdout


def test_the_emulators_filter_is_a_program_the_kernel_takes() -> None:
    """Every jump of the emulator's filter stays within it, and it ends by returning."""
    for place, instruction in enumerate(FILTER):
        if instruction.code & 0x07 == 0x05:
            assert place + 1 + max(instruction.jt, instruction.jf) < len(FILTER)
    assert FILTER[-1].code == 0x06
