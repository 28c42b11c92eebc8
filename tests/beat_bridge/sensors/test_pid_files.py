"""PID and lock files: ordinary ones and traps."""

import fcntl
import os
from pathlib import Path

from beat_bridge.model.base import Unavailable
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.sensors.host.descriptors import Descriptors
from beat_bridge.sensors.host.pid_files import look_at_pid_files


def test_a_pid_file_is_read_with_its_times(tmp_path: Path) -> None:
    """Size, mode, owner, times and content agree with what stat(2) and the file itself say."""
    path = tmp_path / "haldrund.pid"
    path.write_bytes(b"12\xff\n")
    path.chmod(0o644)
    os.utime(path, (1225394236, 1225394236))
    (found,) = look_at_pid_files(Descriptors(), str(tmp_path)).files
    status = path.stat()
    assert (found.path, found.size, found.mode, found.user_id) == (str(path), 4, 0o644, status.st_uid)
    assert (found.modified_at, found.changed_at) == (1225394236, status.st_ctime)
    assert not isinstance(found.born_at, Unavailable)
    assert found.born_at > 1225394236
    assert found.content == "12\\xff\n"


def test_traps_are_neither_opened_nor_followed(tmp_path: Path) -> None:
    """A FIFO, a link, a directory and other names are passed over, and the look does not wait for any of them."""
    os.mkfifo(tmp_path / "fifo.pid")
    (tmp_path / "link.lock").symlink_to("/etc/passwd")
    (tmp_path / "directory.pid").mkdir()
    (tmp_path / "other").write_text("x")
    look = look_at_pid_files(Descriptors(), str(tmp_path))
    assert look.files == ()


def test_who_locks_a_file_is_told(tmp_path: Path) -> None:
    """The holder of an advisory lock is found through /proc/locks."""
    path = tmp_path / "daemon.lock"
    with path.open("w") as stream:
        fcntl.lockf(stream, fcntl.LOCK_EX)
        (found,) = look_at_pid_files(Descriptors(), str(tmp_path)).files
    assert found.locked_by == (os.getpid(),)


def test_a_holder_holds_this_very_file(tmp_path: Path) -> None:
    """A process counts as holder when its descriptor leads to the file, not when it merely has the same name."""
    path = tmp_path / "daemon.pid"
    with path.open("w") as stream, (tmp_path / "other").open("w") as other:
        held = Descriptors(run_files={str(path): [(os.getpid(), stream.fileno())]})
        (found,) = look_at_pid_files(held, str(tmp_path)).files
        named = Descriptors(run_files={str(path): [(os.getpid(), other.fileno())]})
        (false,) = look_at_pid_files(named, str(tmp_path)).files
    assert (found.open_by, false.open_by) == ((os.getpid(),), ())


def test_a_directory_that_is_not_there_is_a_gap() -> None:
    """No directory is told as a gap with its reason, never as nothing found."""
    look = look_at_pid_files(Descriptors(), "/nonexistent-run")
    assert look.files == ()
    assert look.coverage.status is CoverageStatus.NONE
    assert "No such file" in look.coverage.detail
