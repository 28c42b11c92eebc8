"""Files that take long to write, and count only when they are whole."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import sync_directory


@contextmanager
def arriving(path: Path) -> Iterator[int]:
    """A descriptor to write to; what was written stands at the path when the block ends well, and nowhere otherwise.

    Only its owner can read it.

    Raises:
        DoorwatchError: The directory does not take it.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot write there: {error.strerror}") from error
    temporary = Path(name)
    try:
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DoorwatchError(f"{path}: cannot write there: {error.strerror}") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
