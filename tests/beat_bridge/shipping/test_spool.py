"""The spool against a list: whatever is appended comes out, in order, once, across every kind of end."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.bridge import SpoolStatus
from beat_bridge.shipping import Spool, SpoolFullError
from tests.beat_bridge.shipping.samples import document, identity

SEGMENT = 600


def drain(spool: Spool) -> list[str]:
    """Deliver everything; the ids in order."""
    found = []
    while batch := spool.next_batch(3, 400):
        found += [identity(record.lines) for record in batch.records]
        spool.commit(batch)
    return found


def drain_one(spool: Spool) -> str:
    """Deliver one document; its id."""
    batch = spool.next_batch(1, 400)
    assert batch
    spool.commit(batch)
    return identity(batch.records[0].lines)


def balanced(status: SpoolStatus) -> bool:
    """Every appended document is in exactly one of the counts."""
    return status.appended == (
        status.delivered + status.dead_letters + status.damaged_records + status.pending_documents
    )


class SpoolMachine(RuleBasedStateMachine):
    """Appends, deliveries, crashes and reopenings in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(os.environ["DOORWATCH_TEST_SCRATCH"]) / str(id(self))
        self.spool = self.open()
        self.pending: list[str] = []
        self.delivered: list[str] = []
        self.number = 0
        self.torn = 0

    def open(self) -> Spool:
        """The spool, with small segments."""
        return Spool(self.directory, segment_bytes=SEGMENT)

    def teardown(self) -> None:
        """At the end everything is delivered, and each torn tail is counted and kept."""
        self.append(1)
        assert drain(self.spool) == self.pending
        status = self.spool.status()
        assert status.torn_records == self.torn == len(list((self.directory / "torn").iterdir()))
        assert (status.pending_documents, balanced(status)) == (0, True)
        self.spool.close()
        shutil.rmtree(self.directory)

    def fresh(self, count: int) -> list[str]:
        """New ids."""
        self.number += count
        return [f"{number:06d}" for number in range(self.number - count, self.number)]

    @rule(count=st.integers(1, 6))
    def append(self, count: int) -> None:
        """Append some documents."""
        names = self.fresh(count)
        self.spool.append(document(name) for name in names)
        self.pending += names

    @rule(count=st.integers(1, 4))
    def deliver(self, count: int) -> None:
        """Take a batch and commit it."""
        batch = self.spool.next_batch(count, 500)
        if batch is None:
            assert not self.pending
            return
        names = [identity(record.lines) for record in batch.records]
        assert names == self.pending[: len(names)]
        self.spool.commit(batch)
        self.delivered += names
        del self.pending[: len(names)]

    @rule()
    def take_and_forget(self) -> None:
        """Take a batch that is never committed, as a bridge that ends does."""
        self.spool.next_batch(3, 500)
        self.spool.rewind()

    @rule()
    def reopen(self) -> None:
        """End and begin again."""
        self.spool.close()
        self.spool = self.open()

    @rule(count=st.integers(1, 4), data=st.data())
    def crash_in_append(self, count: int, data: st.DataObject) -> None:
        """Lose power within an append: any part of what it wrote is on disk, and nobody was told it was safe."""
        segments = self.directory / "segments"
        before = {path: path.stat().st_size for path in segments.iterdir()}
        names = self.fresh(count)
        self.spool.append(document(name) for name in names)
        self.spool.close()
        (path,) = (p for p in segments.iterdir() if p.stat().st_size != before.get(p))
        start, end = before.get(path, 0), path.stat().st_size
        cut = data.draw(st.integers(start, end))
        content = path.read_bytes()
        path.write_bytes(content[:cut])
        whole = sum(cut - start >= (end - start) * part // count for part in range(1, count + 1))
        self.spool = self.open()
        self.pending += names[:whole]
        self.torn += (cut - start) % ((end - start) // count) != 0

    @invariant()
    def counts_are_true(self) -> None:
        """The status agrees with the model."""
        status = self.spool.status()
        assert status.pending_documents == len(self.pending)
        assert status.delivered == len(self.delivered)
        assert status.damaged_records == 0
        assert balanced(status)
        assert (status.pending_bytes > 0) >= bool(self.pending)


def test_the_spool_behaves_like_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any order of appends, deliveries, crashes and reopenings delivers each safe document once, in order."""
    monkeypatch.setenv("DOORWATCH_TEST_SCRATCH", str(tmp_path))
    case = SpoolMachine.TestCase
    case.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
    case("runTest").runTest()


def test_a_last_record_torn_anywhere_loses_only_itself(tmp_path: Path) -> None:
    """Cut at each byte of the last record, the spool opens, keeps the cut bytes aside, and delivers all before."""
    origin = tmp_path / "origin"
    with Spool(origin) as spool:
        spool.append([document("first"), document("second")])
    (segment,) = (origin / "segments").iterdir()
    content = segment.read_bytes()
    start = content.rindex(b"\xd0\x0aW\x1e")
    for cut in range(start, len(content)):
        directory = tmp_path / str(cut)
        shutil.copytree(origin, directory)
        (directory / "segments" / segment.name).write_bytes(content[:cut])
        with Spool(directory) as spool:
            spool.append([document("third")])
            assert drain(spool) == ["first", "third"]
            status = spool.status()
            assert status.torn_records == (cut > start)
            assert balanced(status)
        kept = b"".join(path.read_bytes() for path in (directory / "torn").iterdir())
        assert kept == content[start:cut]


@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_bit_rot_costs_one_document_and_says_so(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int
) -> None:
    """A changed byte anywhere costs the document it lies in, which is counted and whose bytes are kept."""
    directory = tmp_path_factory.mktemp("rot")
    with Spool(directory, segment_bytes=SEGMENT) as spool:
        for number in range(12):
            spool.append([document(f"{number:02d}")])
    files = sorted((directory / "segments").iterdir())
    path = files[place % len(files)]
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= flip
    path.write_bytes(content)
    with Spool(directory, segment_bytes=SEGMENT) as spool:
        spool.append([document("last")])
        found = drain(spool)
        status = spool.status()
    assert len(found) == 12
    assert set(found) < {*(f"{number:02d}" for number in range(12)), "last"}
    assert status.damaged_records + status.torn_records == 1
    assert balanced(status)
    (kept,) = (directory / "torn").iterdir()
    assert kept.read_bytes() in bytes(content)


def test_a_new_segment_is_read_at_once(tmp_path: Path) -> None:
    """Documents that arrive in a new segment after everything was read are there at the next look, not the second."""
    with Spool(tmp_path, segment_bytes=1) as spool:
        for number in range(3):
            spool.append([document(number)])
            assert drain_one(spool) == str(number)


def test_a_segment_that_vanished_is_counted(tmp_path: Path) -> None:
    """Documents whose file somebody removed are counted as damaged, not forgotten."""
    with Spool(tmp_path, segment_bytes=1) as spool:
        for number in range(3):
            spool.append([document(number)])
    sorted((tmp_path / "segments").iterdir())[1].unlink()
    with Spool(tmp_path) as spool:
        assert drain(spool) == ["0", "2"]
        assert spool.status().damaged_records == 1
        assert balanced(spool.status())


def test_a_full_budget_is_said_and_counted(tmp_path: Path) -> None:
    """Above the budget all documents of an append are refused and counted, and room that is freed can be used."""
    with Spool(tmp_path, budget_bytes=2000, segment_bytes=500) as spool:
        spool.append([document("kept", 500)])
        with pytest.raises(SpoolFullError, match=r"2 documents were not taken: .* of the budget's 2000 bytes"):
            spool.append([document("a", 1000), document("b", 1000)])
        assert spool.status().refused == 2
        spool.append([document("small")])
        assert drain(spool) == ["kept", "small"]
        spool.append([document("c", 1000)])
    with Spool(tmp_path) as spool:
        assert (spool.status().refused, drain(spool)) == (2, ["c"])


def test_a_write_that_fails_halfway_leaves_no_trace(tmp_path: Path) -> None:
    """When the kernel takes only a part of an append (file size limit), the part is cut off and the spool is good."""
    with Spool(tmp_path) as spool:
        spool.append([document("before")])
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        try:
            with pytest.raises(SpoolFullError, match=r"File too large\): free some space"):
                spool.append([document(f"lost {number}", 1000) for number in range(40)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert spool.status().refused == 40
        spool.append([document("after")])
    with Spool(tmp_path) as spool:
        spool.append([document("last")])
        assert drain(spool) == ["before", "after", "last"]
        assert (spool.status().torn_records, spool.status().refused) == (0, 40)


def test_what_a_failed_append_left_is_not_delivered(tmp_path: Path) -> None:
    """Records whose sequence belongs to a later segment, or comes a second time, are damage: told, not delivered."""
    with Spool(tmp_path, segment_bytes=1) as spool:
        spool.append([document("a")])
        spool.append([document("b")])
    first, second = sorted((tmp_path / "segments").iterdir())
    b = second.read_bytes()
    first.write_bytes(first.read_bytes() + b)
    second.write_bytes(b + first.read_bytes()[: -len(b)] + b)
    with Spool(tmp_path) as spool:
        spool.append([document("c")])
        assert drain(spool) == ["a", "b", "c"]
        status = spool.status()
        assert (status.torn_records, status.damaged_records, balanced(status)) == (2, 0, True)


def test_segments_removed_by_hand_take_no_later_ones_along(tmp_path: Path) -> None:
    """After somebody emptied the directory of delivered segments, new documents are delivered as ever."""
    with Spool(tmp_path, segment_bytes=1) as spool:
        for number in range(3):
            spool.append([document(number)])
        drain(spool)
    for path in (tmp_path / "segments").iterdir():
        path.unlink()
    with Spool(tmp_path, segment_bytes=1) as spool:
        spool.append([document("a")])
        spool.append([document("b")])
        assert spool.status().pending_bytes > 0
        assert drain(spool) == ["a", "b"]
        assert balanced(spool.status())


def test_torn_bytes_are_counted_once(tmp_path: Path) -> None:
    """Torn bytes that were counted before the bridge ended are not counted again when it comes back."""
    with Spool(tmp_path) as spool:
        spool.append([document("a")])
    (segment,) = (tmp_path / "segments").iterdir()
    segment.write_bytes(b"torn" + segment.read_bytes())
    with Spool(tmp_path) as spool:
        spool.append([document("b"), document("c")])
        assert (drain_one(spool), spool.status().torn_records) == ("a", 1)
    with Spool(tmp_path) as spool:
        assert drain(spool) == ["b", "c"]
        assert spool.status().torn_records == 1


def test_documents_larger_than_what_is_read_at_once(tmp_path: Path) -> None:
    """A document many times the size of the reader's window arrives whole, and so do its neighbours."""
    with Spool(tmp_path) as spool:
        spool.append([document("small"), document("large", 3 << 20), document("next")])
        batches = []
        while batch := spool.next_batch(10, 1 << 20):
            batches.append([len(record.lines) for record in batch.records])
            spool.commit(batch)
    assert [len(sizes) for sizes in batches] == [1, 1, 1]
    assert batches[1][0] > 3 << 20


def test_one_process_owns_a_spool(tmp_path: Path) -> None:
    """A second opener gets one line with the owner's pid, and the first goes on undisturbed."""
    with Spool(tmp_path) as spool:
        code = f"import pathlib; from beat_bridge.shipping import Spool; Spool(pathlib.Path({str(tmp_path)!r}))"
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert f"open in another process (pid {os.getpid()}): stop it first" in second.stderr
        spool.append([document("one")])
        assert drain(spool) == ["one"]
    Spool(tmp_path).close()


def test_the_spool_is_private(tmp_path: Path) -> None:
    """Nobody else can read what the spool holds."""
    directory = tmp_path / "spool"
    with Spool(directory) as spool:
        spool.append([document("secret")])
    for path in [directory, *directory.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_what_is_no_spool_directory_is_said(tmp_path: Path) -> None:
    """A path that cannot be a spool is one line, not a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DoorwatchError, match="file"):
        Spool(tmp_path / "file")


def test_a_bad_document_stops_nothing(tmp_path: Path) -> None:
    """An append with a document that is none is refused as a whole, and the next one is fine."""
    with Spool(tmp_path) as spool:
        bad = document("bad")
        with pytest.raises(DoorwatchError, match="not one line"):
            spool.append([document("good"), type(bad)(data_stream="s", id="x", source=b"{}\n")])
        spool.append([document("next")])
        assert drain(spool) == ["next"]
