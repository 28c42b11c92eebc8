"""Dead letters: documents that Elasticsearch will not have, each with the reason, kept until somebody replays them."""

import base64
import os
import re
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import sync_directory, write_atomically
from beat_bridge.model.base import Value
from beat_bridge.model.documents import SerialisedDocument

FILE_BYTES = 4 << 20
_NAME = re.compile(r"letters-(\d{10})\.jsonl")


class Refusal(Value, frozen=True, kw_only=True):
    """Why a document was refused, in Elasticsearch's words."""

    type: str
    """`document_parsing_exception`, ..."""
    reason: str
    status: int
    """HTTP status of the item, or of the request where the document was alone in it."""


class Letter(Value, frozen=True, kw_only=True):
    """One refused document: one line of JSON."""

    sequence: int
    """Its place in the spool: what a letter is known by."""
    data_stream: str
    id: str
    at: datetime
    """When it was refused."""
    reason: Refusal
    source: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """The document, byte for byte."""
    source_base64: str = ""
    """The document in place of `source` where it is no JSON object that can stand in a line."""

    def document(self) -> SerialisedDocument:
        """The document as it was spooled."""
        source = base64.b64decode(self.source_base64) if self.source is msgspec.UNSET else bytes(self.source)
        return SerialisedDocument(data_stream=self.data_stream, id=self.id, source=source)


class Unreadable(Value, frozen=True, kw_only=True):
    """A line of a letters file that is no letter: it was damaged on disk. It stays where it is."""

    file: str
    line: int
    """From 1."""


def write_letter(document: SerialisedDocument, sequence: int, at: datetime, reason: Refusal) -> Letter:
    """A letter for a refused document."""
    embeddable = _is_object(document.source)
    return Letter(
        sequence=sequence,
        data_stream=document.data_stream,
        id=document.id,
        at=at,
        reason=reason,
        source=msgspec.Raw(document.source) if embeddable else msgspec.UNSET,
        source_base64="" if embeddable else base64.b64encode(document.source).decode(),
    )


def _is_object(source: bytes) -> bool:
    """Whether bytes are one JSON object and nothing else, so that they survive inside another one unchanged."""
    if not (source.startswith(b"{") and source.endswith(b"}")) or b"\n" in source:
        return False
    try:
        msgspec.json.decode(source)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


class DeadLetters:
    """A directory of letters, oldest file first. Reading needs no lock; writing is the spool's alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._descriptor = -1
        self._size = 0

    def append(self, letters: Sequence[Letter]) -> int:
        """Write letters and wait until they are on disk.

        Returns:
            How many bytes they take.

        Raises:
            OSError: None of them is there.
        """
        if not letters:
            return 0
        if self._descriptor < 0 or self._size > FILE_BYTES:
            self.close()
            self._open_next()
        data = b"".join(msgspec.json.encode(letter) + b"\n" for letter in letters)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(data)
        return len(data)

    def read(self) -> Iterator[Letter | Unreadable]:
        """All letters, oldest first.

        Raises:
            DoorwatchError: The directory or a file cannot be read.
        """
        for path in self.files():
            yield from self.read_file(path)

    def files(self) -> list[Path]:
        """The files, oldest first.

        Raises:
            DoorwatchError: The directory cannot be read.
        """
        try:
            return sorted(path for path in self.directory.iterdir() if _NAME.fullmatch(path.name))
        except OSError as error:
            raise DoorwatchError(f"{self.directory}: cannot read: {error.strerror}") from error

    def read_file(self, path: Path) -> Iterator[Letter | Unreadable]:
        """One file's letters. A last line without its line break was cut short by a crash: the spool still has it."""
        try:
            with path.open("rb") as stream:
                for number, line in enumerate(stream, 1):
                    if not line.endswith(b"\n"):
                        return
                    try:
                        yield msgspec.json.decode(line, type=Letter)
                    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                        yield Unreadable(file=path.name, line=number)
        except FileNotFoundError:
            return  # replayed while the list was read
        except OSError as error:
            raise DoorwatchError(f"{path}: cannot read: {error.strerror}") from error

    def sequences(self, at_least: int) -> frozenset[int]:
        """Which documents from a sequence on have a letter: those a crash kept the spool from settling."""
        found: set[int] = set()
        for path in reversed(self.files()):
            here = {letter.sequence for letter in self.read_file(path) if isinstance(letter, Letter)}
            found |= here
            if any(sequence < at_least for sequence in here):
                break  # letters are written in rising order
        return frozenset(sequence for sequence in found if sequence >= at_least)

    def remove(self, path: Path, sequences: Collection[int]) -> None:
        """Take letters out of one file, whose other lines stay as they are.

        Raises:
            OSError: The file is unchanged.
        """
        self.close()
        if not path.exists():
            return
        with path.open("rb") as stream:
            kept = [
                line
                for line, item in zip(stream, self.read_file(path), strict=False)
                if not (isinstance(item, Letter) and item.sequence in sequences)
            ]
        if kept:
            write_atomically(path, b"".join(kept))
        else:
            path.unlink()
            sync_directory(self.directory)

    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self.files())

    def close(self) -> None:
        """Close the file that is written to; the next letter begins a new one."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open_next(self) -> None:
        files = self.files()
        number = int(files[-1].name[8:18]) + 1 if files else 0
        path = self.directory / f"letters-{number:010d}.jsonl"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._size = 0
        sync_directory(self.directory)
