"""The files the spool's records lie in: appended to, read from the start, removed as a whole.

A segment is named `ORDINAL-BASE.segment`: its place in the row, and the sequence its first record has. Records follow
one another with rising sequences below the next segment's base; whatever else lies in the file is damage.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from beat_bridge.files import sync_directory, write_atomically
from beat_bridge.shipping import records
from beat_bridge.shipping.records import HEADER, MAX_DOCUMENT_BYTES, Damage, Run

_NAME = re.compile(r"(\d{10})-(\d{20})\.segment")
_WINDOW_BYTES = 256 << 10
_LARGEST_WINDOW = MAX_DOCUMENT_BYTES + HEADER.size


class Segment:
    """One file of records, as far as it is known to be durable."""

    def __init__(self, path: Path, ordinal: int, base: int, size: int) -> None:
        self.path = path
        self.ordinal = ordinal
        self.base = base
        self.size = size
        """Bytes that are safely on disk; what may lie behind them was never reported as written."""

    def read(self, start: int, below: int | None) -> Iterator[Run | Damage]:
        """The records from an offset to the durable end, and the damage between them.

        Args:
            start: Offset of a record's first byte.
            below: The next segment's base: a record whose sequence is not below it was left by an append that failed,
                and counts as damage. None where there is no next segment.

        Yields:
            Runs and damage, with offsets in this segment.

        Raises:
            OSError: The file cannot be read.
        """
        offset, window, expected = start, _WINDOW_BYTES, self.base
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while offset < self.size:
                data = os.pread(descriptor, min(window, self.size - offset), offset)
                if not data:  # the file is shorter than it was: what it held is lost, and its sequences will be missed
                    return
                at, last = offset, len(data)
                for item in records.scan(data):
                    if (
                        isinstance(item, Damage)
                        and item.end == last
                        and at + last < self.size
                        and last < _LARGEST_WINDOW
                    ):
                        break  # cut short by the window, perhaps: read on from here
                    start, offset = at + item.start, at + item.end
                    if isinstance(item, Damage) or item.records[0].sequence < expected:
                        yield Damage(start, offset)
                    elif below is not None and item.records[-1].sequence >= below:
                        yield from _split(item, start, below)
                    else:
                        expected = item.records[-1].sequence + 1
                        yield Run(item.records, start, offset)
                window = _WINDOW_BYTES if offset > at else _LARGEST_WINDOW
        finally:
            os.close(descriptor)

    def keep_damage(self, damage: Damage, directory: Path) -> None:
        """Copy damaged bytes to a file of their own, named by where they lay; again and again with the same outcome.

        Raises:
            OSError: There is no space for them, or the disk failed.
        """
        target = directory / f"{self.path.stem}.{damage.start}"
        with self.path.open("rb") as stream:
            stream.seek(damage.start)
            write_atomically(target, stream.read(damage.end - damage.start))


class Writer:
    """Appends to the newest segment."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self._descriptor = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def append(self, data: bytes | bytearray) -> None:
        """Write records and wait until they are on disk.

        Raises:
            OSError: They are not on disk, and the segment is as it was. Should even that fail, the bytes behind
                `segment.size` are never read; the caller goes on in a new segment.
        """
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self.segment.size)
            raise
        self.segment.size += len(data)

    @property
    def clean(self) -> bool:
        """Nothing lies behind what was reported as written."""
        return os.fstat(self._descriptor).st_size == self.segment.size

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _split(run: Run, start: int, below: int) -> Iterator[Run | Damage]:
    """The part of a run that belongs to its segment, and the rest as damage."""
    kept = [record for record in run.records if record.sequence < below]
    middle = start + sum(record.size for record in kept)
    if kept:
        yield Run(kept, start, middle)
    yield Damage(middle, start + run.end - run.start)


def create(directory: Path, ordinal: int, base: int) -> Segment:
    """Make an empty segment whose name survives a power cut.

    Raises:
        OSError: As the file system says.
    """
    path = directory / f"{ordinal:010d}-{base:020d}.segment"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    sync_directory(directory)
    return Segment(path, ordinal, base, 0)


def find(directory: Path) -> list[Segment]:
    """The segments of a directory in their order; files with other names are left alone.

    Raises:
        OSError: The directory cannot be read.
    """
    found = []
    for path in directory.iterdir():
        name = _NAME.fullmatch(path.name)
        if name:
            found.append(Segment(path, int(name[1]), int(name[2]), path.stat().st_size))
    return sorted(found, key=lambda segment: segment.ordinal)
