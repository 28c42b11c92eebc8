"""One process to a directory."""

import fcntl
import os
from pathlib import Path

from beat_bridge.errors import DoorwatchError


class Lock:
    """Held (flock) from its making until it is closed, or the process ends; the owner's pid is in the file."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            DoorwatchError: Another process has it.
        """
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DoorwatchError(f"{path}: cannot open: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._descriptor, 20, 0).decode(errors="replace").strip()
            self.close()
            raise DoorwatchError(
                f"{path.parent}: the spool is open in another process (pid {owner or 'unknown'}): stop it first"
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def close(self) -> None:
        """Let go."""
        os.close(self._descriptor)
