r"""One document as the spool holds it: a small header, then its two lines of a `_bulk` request.

    0   4  marker    d0 0a 57 1e: where to look for the next record behind damaged bytes
    4   4  checksum  crc32 over everything behind it
    8   4  length    of the lines, in bytes
    12  8  sequence  position among all documents ever appended to this spool, from 0
    20     {"create":{"_index":"logs-doorwatch.finding-default","_id":"..."}}\n{...}\n

Integers are little-endian. The lines are sent as they stand, so a request is the records without their headers.
"""

import zlib
from collections.abc import Iterator
from struct import Struct

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.documents import SerialisedDocument

MARKER = b"\xd0\x0aW\x1e"
HEADER = Struct("<4sIIQ")
_PREFIX = Struct("<4sI")
_CHECKED = Struct("<IQ")
MAX_DOCUMENT_BYTES = 32 << 20
"""Far below the 100 MiB that Elasticsearch accepts in one request, far above any event."""
_SEARCH_FACTOR = 8
"""A search for the next record checks at most this many times the bytes it is given."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A document with its position."""

    sequence: int
    lines: memoryview
    """Action line and source line, each with its line break. A view, since records are many and copies cost."""

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return HEADER.size + len(self.lines)

    def document(self) -> SerialisedDocument:
        """The document these lines were made from."""
        action, _, source = bytes(self.lines).partition(b"\n")
        target = msgspec.json.decode(action, type=_Action).create
        return SerialisedDocument(data_stream=target.index, id=target.id, source=source[:-1])


class Run(msgspec.Struct, frozen=True):
    """Undamaged records behind one another, with consecutive sequences."""

    records: list[Record]
    start: int
    end: int
    """Offsets of the first one's first byte, and behind the last."""


class Damage(msgspec.Struct, frozen=True, gc=False):
    """Bytes of a segment that are no record: cut short by a crash, or changed since they were written."""

    start: int
    end: int
    """Offsets within the segment; `end` is the first byte behind."""


def encode(document: SerialisedDocument, sequence: int) -> bytes:
    """A document as one record.

    Raises:
        DoorwatchError: Its source is more than one line, or larger than a document can be.
    """
    if not document.source or b"\n" in document.source or b"\r" in document.source:
        raise DoorwatchError(f"document {document.id} of {document.data_stream} is not one line of JSON: not spooled")
    target = _Target(index=document.data_stream, id=document.id)
    lines = msgspec.json.encode(_Action(create=target)) + b"\n" + document.source + b"\n"
    if len(lines) > MAX_DOCUMENT_BYTES:
        raise DoorwatchError(
            f"document {document.id} of {document.data_stream} has {len(lines)} bytes, "
            f"more than the {MAX_DOCUMENT_BYTES} a document may have: not spooled"
        )
    checked = _CHECKED.pack(len(lines), sequence) + lines
    return _PREFIX.pack(MARKER, zlib.crc32(checked)) + checked


def scan(data: bytes) -> Iterator[Run | Damage]:
    """The records in some bytes of a segment, and the damage between them; together they are all of the bytes.

    Args:
        data: Bytes that begin where a record should.

    Yields:
        Runs and damage in order, with offsets in `data`. A record that the end of `data` cuts short is the last
        damage; the caller knows whether more bytes follow.
    """
    view, offset, size = memoryview(data), 0, len(data)
    unpack, header, prefix, crc32 = HEADER.unpack_from, HEADER.size, _PREFIX.size, zlib.crc32
    run: list[Record] = []
    start, expected = 0, -1
    while offset < size:
        if offset + header <= size:
            marker, checksum, length, sequence = unpack(data, offset)
            end = offset + header + length
            if marker == MARKER and end <= size and crc32(view[offset + prefix : end]) == checksum:
                if sequence != expected and run:
                    yield Run(run, start, offset)
                    run, start = [], offset
                run.append(Record(sequence, view[offset + header : end]))
                offset, expected = end, sequence + 1
                continue
        if run:
            yield Run(run, start, offset)
        start = _next_record(data, offset + 1)
        yield Damage(offset, start)
        run, offset = [], start
    if run:
        yield Run(run, start, offset)


def _next_record(data: bytes, start: int) -> int:
    """The offset of the first whole record at or behind `start`; the end of the data where there is none.

    No document holds the marker (it contains a line break), so more than a few false ones are no accident: the search
    then gives up rather than check the same bytes again and again.
    """
    view, allowance = memoryview(data), _SEARCH_FACTOR * len(data)
    while (start := data.find(MARKER, start)) >= 0 and start + HEADER.size <= len(data):
        _, checksum, length, _ = HEADER.unpack_from(data, start)
        end = start + HEADER.size + length
        if end <= len(data):
            allowance -= length + HEADER.size
            if allowance < 0:
                break
            if zlib.crc32(view[start + _PREFIX.size : end]) == checksum:
                return start
        start += 1
    return len(data)


class _Target(msgspec.Struct, frozen=True, rename={"index": "_index", "id": "_id"}):
    index: str
    id: str


class _Action(msgspec.Struct, frozen=True):
    create: _Target
