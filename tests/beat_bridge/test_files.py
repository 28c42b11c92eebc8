"""Files that must never be half written or readable by others."""

import os
import stat
from pathlib import Path

import pytest

from beat_bridge import files
from beat_bridge.errors import DoorwatchError


def test_a_written_file_is_whole_and_private(tmp_path: Path) -> None:
    """Content and mode are as asked, and nothing else is left in the directory."""
    path = tmp_path / "state"
    path.write_bytes(b"old")
    files.write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fails at the last moment, the old content stands and no temporary file is left."""

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "state"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_a_private_directory_admits_only_its_owner(tmp_path: Path) -> None:
    """The directory is made with mode 0700, and one that others may enter is closed to them."""
    fresh = files.ensure_private_directory(tmp_path / "a" / "b")
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o700
    loose = tmp_path / "loose"
    loose.mkdir(mode=0o755)
    assert stat.S_IMODE(files.ensure_private_directory(loose).stat().st_mode) == 0o700


def test_a_private_directory_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    """A file in the way, and somebody else's directory, are told as errors."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DoorwatchError, match="cannot make this directory"):
        files.ensure_private_directory(tmp_path / "file")
    if os.geteuid() == 0:
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        os.chown(theirs, 65534, 65534)
        with pytest.raises(DoorwatchError, match="belongs to user id 65534"):
            files.ensure_private_directory(theirs)


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines", b"\xff", b"x" * (files.MAX_SECRET_BYTES + 1), b"nul\0"])
def test_bad_secrets_are_refused_without_being_shown(tmp_path: Path, content: bytes) -> None:
    """A file that holds no secret is named; its content is not."""
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(DoorwatchError, match=str(path)) as caught:
        files.read_secret(path)
    assert "lines" not in str(caught.value)
    with pytest.raises(DoorwatchError, match="cannot read the secret"):
        files.read_secret(tmp_path / "gone")


def test_a_secret_for_a_header_is_ascii(tmp_path: Path) -> None:
    """Umlauts may stand in a password and not in a token; white space around either is not part of it."""
    path = tmp_path / "secret"
    path.write_text(" schlüssel\n", "utf-8")
    assert files.read_secret(path) == "schlüssel"
    with pytest.raises(DoorwatchError, match="plain ASCII"):
        files.read_secret(path, ascii_only=True)
    path.write_text("key\n")
    assert files.read_secret(path, ascii_only=True) == "key"
