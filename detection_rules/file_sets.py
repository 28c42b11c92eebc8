"""Several files of one directory, changed together or not at all, whatever happens on the way.

New contents are written beside the old ones first; a full disk is met there, and nothing has changed. Then a list of
what is to take whose place is put down: from that moment the change is decided. Whoever is killed before it has changed
nothing; whoever is killed after it leaves the list, with which `finish` completes the change, and until then nobody
reads the directory (`refuse_half_changed`), so that half a change is never taken for a whole one.
"""

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import sync_directory, write_atomically
from detection_rules.bounded_files import read_bounded

PENDING: Final = ".doorwatch-pending.json"
"""The list; it stands in a directory only while its files are being exchanged."""
_LEFT_BEHIND: Final = re.compile(r"\.[^/]+\.doorwatch-new(\.[^/.]+)?|\.\.doorwatch-pending\.json\.[^/.]+")
_MAX_BYTES: Final = 8 << 20


class _Pending(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names within the directory."""

    written: tuple[str, ...]
    removed: tuple[str, ...] = ()


def refuse_half_changed(directory: Path) -> None:
    """Say that a change of a directory's files was broken off.

    Raises:
        DoorwatchError: It was.
    """
    if (directory / PENDING).exists():
        raise DoorwatchError(
            f"{directory}: a change was broken off half-way: run `doorwatch rules import` once more, which finishes it"
        )


def finish(directory: Path) -> bool:
    """Complete a change that was broken off after it was decided, and sweep up after one that was broken off before.

    Returns:
        Whether there was one to complete.

    Raises:
        DoorwatchError: The list cannot be read, or the disk refuses; the change is then still pending.
    """
    if not directory.is_dir():
        return False
    with _alone(directory):
        return _finish(directory)


def _finish(directory: Path) -> bool:
    path = directory / PENDING
    try:
        pending = msgspec.json.decode(read_bounded(path, _MAX_BYTES), type=_Pending)
    except FileNotFoundError:
        _sweep(directory)
        return False
    except msgspec.DecodeError as error:
        raise DoorwatchError(f"{path}: {error}: remove it, and look through what changed last in here") from error
    if any(Path(name).name != name for name in (*pending.written, *pending.removed)):
        raise DoorwatchError(f"{path}: names files of other directories: this is no list of Doorwatch's")
    _exchange(directory, pending)
    return True


def change_files(directory: Path, files: Mapping[Path, bytes | None]) -> None:
    """Change files of a directory, all of them or none.

    Args:
        directory: Made where it is not there.
        files: What is to stand in each, None for one that is to go; all of them lie in the directory itself.

    Raises:
        DoorwatchError: The disk refuses; nothing has changed, or, where the line says so, the change is pending.
    """
    if not files:
        return
    made = _make(directory)
    with _alone(directory):
        _finish(directory)
        _change(directory, files, made)


def _change(directory: Path, files: Mapping[Path, bytes | None], made: list[Path]) -> None:
    written = tuple(path.name for path, data in files.items() if data is not None)
    removed = tuple(path.name for path, data in files.items() if data is None)
    pending = _Pending(written=written, removed=removed)
    try:
        for path, data in files.items():
            if data is not None:
                write_atomically(_staged(directory, path.name), data, mode=0o644)
        write_atomically(directory / PENDING, msgspec.json.encode(pending), mode=0o644)
    except OSError as error:
        _sweep(directory)
        for path in reversed(made):
            path.rmdir()
        raise DoorwatchError(f"{directory}: cannot write: {error.strerror}; nothing was changed") from error
    _exchange(directory, pending)


def _exchange(directory: Path, pending: _Pending) -> None:
    try:
        for name in pending.written:
            staged = _staged(directory, name)
            if staged.exists():  # else it took its place before the change was broken off
                staged.replace(directory / name)
        for name in pending.removed:
            (directory / name).unlink(missing_ok=True)
        sync_directory(directory)
        (directory / PENDING).unlink()
    except OSError as error:
        raise DoorwatchError(
            f"{error.filename or directory}: cannot write: {error.strerror}; run it once more"
        ) from error


def _make(directory: Path) -> list[Path]:
    """Make a directory; which of those on the way to it were not there."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()][::-1]
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DoorwatchError(f"{error.filename or directory}: cannot make this directory: {error.strerror}") from error
    return missing


def _staged(directory: Path, name: str) -> Path:
    return directory / f".{name}.doorwatch-new"


def _sweep(directory: Path) -> None:
    """Remove what a change that never came to be left behind."""
    try:
        left = [path for path in directory.iterdir() if _LEFT_BEHIND.fullmatch(path.name)]
    except OSError:
        return  # there is nothing, or it is told by whoever reads next
    for path in left:
        path.unlink(missing_ok=True)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep others from changing files of a directory at the same time.

    Raises:
        DoorwatchError: Somebody is at it.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise DoorwatchError(f"{directory}: another import is changing it; try again when that has ended") from error
    finally:
        os.close(descriptor)
