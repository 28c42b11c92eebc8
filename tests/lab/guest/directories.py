"""Directories for guests, in shared memory: their RAM files should never be written to a disk.

One whose tester was killed before it could remove it is removed by the next.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - what is made there is private to its maker
PREFIX = "doorwatch-guest-"


@contextlib.contextmanager
def held(parent: Path = SHARED_MEMORY) -> Iterator[Path]:
    """A private directory, which is gone afterwards; meanwhile a lock tells others that it is in use."""
    _sweep(parent)
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent))  # hidden from others until it is locked
    with _open(made) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        path = made.rename(parent / made.name.removeprefix("."))
        try:
            yield path
        finally:
            shutil.rmtree(path)


def _sweep(parent: Path) -> None:
    for left in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError, BlockingIOError, PermissionError), _open(left) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
