"""Directories for guests."""

import signal
import subprocess
import sys
from pathlib import Path

from tests.lab.guest.directories import held

ROOT = Path(__file__).parents[3]
_HOLDER = """
import pathlib, sys
from tests.lab.guest.directories import held
with held(pathlib.Path(sys.argv[1])) as directory:
    print(directory, flush=True)
    sys.stdin.read()
"""


def test_a_directory_is_private_and_goes(tmp_path: Path) -> None:
    """Only its maker can enter it, and it goes with all that is in it."""
    with held(tmp_path) as directory:
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "ram").write_bytes(b"ram")
    assert list(tmp_path.iterdir()) == []


def test_what_the_dead_left_is_removed(tmp_path: Path) -> None:
    """A directory is left alone while its holder lives, and removed by the next one after it was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, tmp_path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        theirs = Path(holder.stdout.readline().strip())
        with held(tmp_path):
            assert theirs.is_dir()
        holder.send_signal(signal.SIGKILL)
    assert theirs.is_dir()
    with held(tmp_path):
        assert not theirs.exists()
