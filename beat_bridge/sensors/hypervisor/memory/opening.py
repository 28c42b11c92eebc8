"""Opening what holds memory, with one clear line where it cannot be."""

import os
import stat
from pathlib import Path

from beat_bridge.errors import DoorwatchError


def open_regular(path: Path, what: str) -> tuple[int, int]:
    """A descriptor for reading, and the file's size in bytes.

    Args:
        path: The file.
        what: What it should be, for the error line: `RAM file`.

    Raises:
        DoorwatchError: It cannot be opened, is no regular file, or is empty.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not make us wait
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot open this {what}: {error.strerror}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise DoorwatchError(f"{path}: a {what} must be a regular file")
    if not status.st_size:
        os.close(descriptor)
        raise DoorwatchError(f"{path}: this {what} is empty")
    return descriptor, status.st_size
