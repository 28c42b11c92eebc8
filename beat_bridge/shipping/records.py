r"""One document as the spool holds it: a small header, then its two lines of a `_bulk` request.

    0   4  marker    d0 0a 57 1e: where to look for the next record behind damaged bytes
    4   4  length    of the lines, in bytes
    8   8  sequence  position among all documents ever appended to this spool, from 0
    16  4  checksum  crc32 over bytes 4 to 15 and the lines
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
HEADER = Struct("<4sIQI")
_CHECKED = Struct("<IQ")
MAX_DOCUMENT_BYTES = 32 << 20
"""Far below the 100 MiB that Elasticsearch accepts in one request, far above any event."""
_SEARCH_FACTOR = 8
"""A search for the next record checks at most this many times the bytes it is given."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A document with its position."""

    sequence: int
    lines: bytes
    """Action line and source line, each with its line break."""

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return HEADER.size + len(self.lines)

    def document(self) -> SerialisedDocument:
        """The document these lines were made from."""
        action, _, source = self.lines.partition(b"\n")
        target = msgspec.json.decode(action, type=_Action).create
        return SerialisedDocument(data_stream=target.index, id=target.id, source=source[:-1])


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
    return HEADER.pack(MARKER, len(lines), sequence, _checksum(len(lines), sequence, lines)) + lines


def scan(data: bytes, base: int = 0) -> Iterator[tuple[int, Record | Damage]]:
    """The records in some bytes of a segment, and the damage between them.

    Args:
        data: Bytes that begin where a record should.
        base: Their offset within the segment, for `Damage`.

    Yields:
        The offset in `data` behind each record or damage, with it. A record that the end of `data` cuts short is the
        last damage; the caller knows whether more bytes follow.
    """
    offset, size, unpack = 0, len(data), HEADER.unpack_from
    header = HEADER.size
    while offset < size:
        if offset + header <= size:
            marker, length, sequence, checksum = unpack(data, offset)
            end = offset + header + length
            if marker == MARKER and end <= size:
                lines = data[offset + header : end]
                if zlib.crc32(lines, zlib.crc32(data[offset + 4 : offset + 16])) == checksum:
                    yield end, Record(sequence, lines)
                    offset = end
                    continue
        end = _next_record(data, offset + 1)
        yield end, Damage(base + offset, base + end)
        offset = end


def _next_record(data: bytes, start: int) -> int:
    """The offset of the first whole record at or behind `start`; the end of the data where there is none.

    No document holds the marker (it contains a line break), so more than a few false ones are no accident: the search
    then gives up rather than check the same bytes again and again.
    """
    view, allowance = memoryview(data), _SEARCH_FACTOR * len(data)
    while (start := data.find(MARKER, start)) >= 0 and start + HEADER.size <= len(data):
        _, length, sequence, checksum = HEADER.unpack_from(data, start)
        end = start + HEADER.size + length
        if end <= len(data):
            allowance -= length + HEADER.size
            if allowance < 0:
                break
            if _checksum(length, sequence, view[start + HEADER.size : end]) == checksum:
                return start
        start += 1
    return len(data)


def _checksum(length: int, sequence: int, lines: bytes | memoryview) -> int:
    return zlib.crc32(lines, zlib.crc32(_CHECKED.pack(length, sequence)))


class _Target(msgspec.Struct, frozen=True, rename={"index": "_index", "id": "_id"}):
    index: str
    id: str


class _Action(msgspec.Struct, frozen=True):
    create: _Target
