"""Files that must never be half written or readable by others, and what they hold of secrets."""

import os
import tempfile
from pathlib import Path

from beat_bridge.errors import DoorwatchError

MAX_SECRET_BYTES = 16 << 10


def ensure_private_directory(path: Path) -> Path:
    """Make a directory that only its owner can enter; one that stands there already is closed to others.

    Raises:
        DoorwatchError: It cannot be made, or stands there and belongs to somebody else.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot make this directory: {error.strerror}") from error
    if status.st_uid != os.geteuid():
        raise DoorwatchError(f"{path}: belongs to user id {status.st_uid}, not to this one: choose another directory")
    if status.st_mode & 0o077:
        path.chmod(0o700)
    return path


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old content or the new, never a part.

    Args:
        path: The file; its directory must exist.
        data: The whole content.
        mode: Permission bits of the new file.

    Raises:
        OSError: As the file system says; the old file is then untouched.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames and new names in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, most: int, what: str) -> bytes:
    """The whole of a small file.

    Args:
        path: The file; a pipe will do.
        most: Bytes that it may hold.
        what: It holds, for the error line: `the secret`.

    Raises:
        DoorwatchError: It cannot be read, or is larger.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot read {what}: {error.strerror}") from error
    if len(content) > most:
        raise DoorwatchError(f"{path}: larger than {most} bytes; {what} would not be")
    return content


def read_secret(path: Path, *, ascii_only: bool = False) -> str:
    """A secret from its file: one line of printable text. The error never holds what is in the file.

    Args:
        path: The file.
        ascii_only: It goes into a header of HTTP as it is.

    Raises:
        DoorwatchError: It cannot be read, or is not one line.
    """
    content = read_bounded(path, MAX_SECRET_BYTES, "the secret")
    try:
        text = content.decode("ascii" if ascii_only else "utf-8").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        kind = "plain ASCII" if ascii_only else "text"
        raise DoorwatchError(f"{path}: a secret's file holds one line of {kind}")
    return text
