"""The record format, against arbitrary documents and arbitrary bytes."""

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.documents import SerialisedDocument
from beat_bridge.shipping import records
from beat_bridge.shipping.records import HEADER, MARKER, Damage, Record, Run

documents = st.builds(
    SerialisedDocument,
    data_stream=st.text(max_size=20),
    id=st.text(max_size=20),
    source=st.dictionaries(st.text(max_size=5), st.text(max_size=30), max_size=4).map(lambda d: json.dumps(d).encode()),
)
rows = st.lists(documents, min_size=1, max_size=5)


def encode_row(row: list[SerialisedDocument]) -> list[bytes]:
    """Records with sequences from 0."""
    return [records.encode(document, sequence) for sequence, document in enumerate(row)]


def read(data: bytes) -> tuple[list[Record], list[Damage]]:
    """The records and the damage in some bytes."""
    found = list(records.scan(data))
    return (
        [record for item in found if isinstance(item, Run) for record in item.records],
        [item for item in found if isinstance(item, Damage)],
    )


@given(rows)
def test_documents_come_back_as_they_were(row: list[SerialisedDocument]) -> None:
    """What is encoded is read back: sequences in order, the same stream, id and source bytes."""
    found, damage = read(b"".join(encode_row(row)))
    assert [(record.sequence, record.document()) for record in found] == list(enumerate(row))
    assert not damage


@given(documents)
def test_the_lines_are_a_bulk_request(document: SerialisedDocument) -> None:
    """The lines of a record are an action and a source line that any JSON reader understands."""
    (record,), _ = read(records.encode(document, 7))
    action, source, rest = bytes(record.lines).split(b"\n")
    assert json.loads(action) == {"create": {"_index": document.data_stream, "_id": document.id}}
    assert (source, rest) == (document.source, b"")


@given(rows, st.data())
def test_no_changed_byte_goes_unnoticed(row: list[SerialisedDocument], data: st.DataObject) -> None:
    """One changed byte damages exactly the record it lies in; every other record is still read."""
    encoded = encode_row(row)
    whole = bytearray(b"".join(encoded))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    hit = next(index for index in range(len(row)) if place < sum(map(len, encoded[: index + 1])))
    found, damage = read(bytes(whole))
    assert [record.sequence for record in found] == [number for number in range(len(row)) if number != hit]
    start = sum(map(len, encoded[:hit]))
    assert damage == [Damage(start, start + len(encoded[hit]))]


@given(st.binary(max_size=300), st.lists(st.sampled_from([MARKER, HEADER.pack(MARKER, 3, 3, 1)]), max_size=5))
def test_any_bytes_are_accounted_for(noise: bytes, markers: list[bytes]) -> None:
    """Scanning hostile bytes never fails, and the pieces cover every byte once, in order."""
    data = noise.join([b"", *markers, b""])
    offset = 0
    for item in records.scan(data):
        assert item.start == offset < item.end
        offset = item.end
    assert offset == len(data)


def test_false_markers_cannot_make_a_scan_run_away() -> None:
    """A megabyte of headers that all claim half a megabyte is given up, not checked a hundred thousand times."""
    header = HEADER.pack(MARKER, 1, 500_000, 0)
    data = header * ((1 << 20) // len(header))
    checked = 0

    def count(data: memoryview) -> int:
        nonlocal checked
        checked += len(data)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zlib, "crc32", count)
        assert list(records.scan(data)) == [Damage(0, len(data))]
    assert checked <= 10 * len(data)


@pytest.mark.parametrize("source", [b"", b"{}\n{}", b'{"a":\r1}'])
def test_a_source_that_is_not_one_line_is_refused(source: bytes) -> None:
    """What would break the frame of a bulk request never reaches the disk, and the error names the document."""
    with pytest.raises(DoorwatchError, match="document x of logs-doorwatch"):
        records.encode(SerialisedDocument(data_stream="logs-doorwatch.finding-default", id="x", source=source), 0)


def test_a_document_too_large_is_refused() -> None:
    """A document above the limit is refused with its size."""
    huge = SerialisedDocument(data_stream="s", id="x", source=b" " * records.MAX_DOCUMENT_BYTES)
    with pytest.raises(DoorwatchError, match=str(records.MAX_DOCUMENT_BYTES)):
        records.encode(huge, 0)
