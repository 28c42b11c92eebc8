"""What became of everything the spool was given, in one small file that needs no free space to be written.

Two slots of fixed size are written in turn, in place: a full disk cannot stop the spool from noting what was delivered
(and so from freeing space), and a crash while one slot is written leaves the other.
"""

import errno
import os
import zlib
from pathlib import Path
from struct import Struct

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import write_atomically
from beat_bridge.model.base import Value
from beat_bridge.shipping.reader import Position

_SLOT_BYTES = 4096
_HEADER = Struct("<II")  # length and crc32 of the JSON behind


class Counts(Value, frozen=True, kw_only=True):
    """Durable counts of documents. `settled` is `delivered + dead_letters + damaged`, always."""

    generation: int = 0
    """One more with each write: tells the newer slot."""
    settled: int = 0
    """Every document with a lower sequence is delivered, in dead letters, or was destroyed on disk."""
    delivered: int = 0
    dead_letters: int = 0
    """Ever written to dead letters; a replayed one counts as appended again."""
    damaged: int = 0
    """Appended documents whose bytes were destroyed on disk before they could be sent."""
    torn: int = 0
    """Stretches of bytes set aside that hold no document which `append` had reported as safe."""
    refused: int = 0
    """Documents that `append` turned away."""
    replayed: int = 0
    """Dead letters put back."""
    appended: int = 0
    """At least this many were appended; the segments may hold more."""
    position: Position = Position()
    """Damage before this place is in `damaged` or `torn`."""
    ordinal: int = 0
    """No segment was ever made with this ordinal or a higher one, except those on disk."""


class Cursor:
    """The file with the counts."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            DoorwatchError: It cannot be opened, or both slots are damaged.
        """
        self._path = path
        try:
            if not path.exists():
                write_atomically(path, _slot(Counts()) * 2)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            content = os.pread(self._descriptor, 2 * _SLOT_BYTES, 0)
        except OSError as error:
            raise DoorwatchError(f"{path}: cannot open: {error.strerror}") from error
        slots = (_read(content[:_SLOT_BYTES]), _read(content[_SLOT_BYTES:]))
        readable = [slot for slot in slots if slot is not None]
        if not readable:
            os.close(self._descriptor)
            raise DoorwatchError(
                f"{path}: damaged; move it away and everything still in the spool is sent again "
                "(Elasticsearch knows what it has), with counts that begin anew"
            )
        self.counts = max(readable, key=lambda counts: counts.generation)

    def write(self, counts: Counts) -> None:
        """Make these the counts, durably.

        Raises:
            OSError: The disk failed; the old counts then still stand.
        """
        counts = msgspec.structs.replace(counts, generation=self.counts.generation + 1)
        written = os.pwrite(self._descriptor, _slot(counts), counts.generation % 2 * _SLOT_BYTES)
        if written != _SLOT_BYTES:
            raise OSError(errno.EIO, "only part of the counts was written", str(self._path))
        os.fdatasync(self._descriptor)
        self.counts = counts

    def remember(self, counts: Counts) -> None:
        """Keep counts that the disk does not take now: they go with the next write that succeeds."""
        self.counts = msgspec.structs.replace(counts, generation=self.counts.generation)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _slot(counts: Counts) -> bytes:
    body = msgspec.json.encode(counts)
    return (_HEADER.pack(len(body), zlib.crc32(body)) + body).ljust(_SLOT_BYTES, b"\0")


def _read(slot: bytes) -> Counts | None:
    """The counts in a slot; None where a crash or the disk left it damaged."""
    if len(slot) != _SLOT_BYTES:
        return None
    length, checksum = _HEADER.unpack_from(slot)
    body = slot[_HEADER.size : _HEADER.size + length]
    if zlib.crc32(body) != checksum:
        return None
    try:
        return msgspec.json.decode(body, type=Counts)
    except msgspec.DecodeError:
        return None
