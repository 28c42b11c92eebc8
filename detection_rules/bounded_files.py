"""Files that may be anything: read up to a bound, and never waited for."""

import os
import stat
from pathlib import Path

from beat_bridge.errors import DoorwatchError


def read_bounded(path: Path, limit: int, hint: str = "") -> bytes:
    """A whole file.

    Args:
        path: The file.
        limit: How many bytes it may have.
        hint: What to say of a larger one, after its size: `; this is no rule file`.

    Raises:
        FileNotFoundError: It is not there; the caller knows whether that matters.
        DoorwatchError: It is larger, no file (a pipe would be waited for for ever), or cannot be read.
    """
    try:
        # a pipe without a writer would block in open() already
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise DoorwatchError(f"{path}: is no regular file")
            data = stream.read(limit + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot read: {error.strerror}") from error
    if len(data) > limit:
        raise DoorwatchError(f"{path}: larger than {limit} bytes{hint}")
    return data
