"""Dead letters: nothing lost and nothing doubled, wherever a crash comes."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.documents import SerialisedDocument
from beat_bridge.shipping import DeadLetters, Letter, Refusal, Spool
from beat_bridge.shipping import replay as replay_module
from beat_bridge.shipping.cursor import Cursor
from beat_bridge.shipping.letters import Unreadable, write_letter
from beat_bridge.shipping.segments import Writer
from tests.beat_bridge.shipping.samples import STREAM, document, identity

REASON = Refusal(type="document_parsing_exception", reason="failed to parse field [n]", status=400)


def refuse(spool: Spool, *names: str) -> None:
    """Append documents and commit all of them as dead letters."""
    spool.append(document(name) for name in names)
    while batch := spool.next_batch(10, 10_000):
        spool.commit(batch, [letter_of(record.document(), record.sequence) for record in batch.records])


def letter_of(refused: SerialisedDocument, sequence: int) -> Letter:
    """A letter with the usual reason."""
    return write_letter(refused, sequence, datetime.now(UTC), REASON)


def letter_ids(spool: Spool) -> list[str]:
    """The documents that are letters now."""
    return [letter.id for letter in spool.letters.read() if isinstance(letter, Letter)]


def pending_ids(spool: Spool) -> list[str]:
    """The documents that are waiting to be sent now."""
    spool.rewind()
    batch = spool.next_batch(1000, 1 << 20)
    spool.rewind()
    return [identity(record.lines) for record in batch.records] if batch else []


@given(st.one_of(st.binary(min_size=1, max_size=40), st.sampled_from([b'{"a": 1, "a": [2, "\xc3\xa4"]}', b"{\n}"])))
def test_a_letter_keeps_the_document_byte_for_byte(source: bytes) -> None:
    """Whatever bytes were refused, JSON or not, come back exactly, after a trip through a line of a file."""
    refused = SerialisedDocument(data_stream=STREAM, id="x", source=source)
    letter = letter_of(refused, 3)
    line = msgspec.json.encode(letter)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=Letter).document() == refused


def test_letters_say_why(tmp_path: Path) -> None:
    """A letter names the stream, the id, the reason with its status, and the time."""
    with Spool(tmp_path) as spool:
        refuse(spool, "a", "b")
        assert letter_ids(spool) == ["a", "b"]
        (first, _) = spool.letters.read()
        assert isinstance(first, Letter)
        assert (first.data_stream, first.reason, first.sequence) == (STREAM, REASON, 0)
        status = spool.status()
        assert (status.dead_letters, status.delivered, status.pending_documents) == (2, 0, 0)


def test_a_letter_written_before_a_crash_is_not_sent_again(tmp_path: Path) -> None:
    """Killed between the letter and the cursor, the document stays a dead letter: never also delivered."""
    with Spool(tmp_path) as spool:
        spool.append([document("dead"), document("good")])
        batch = spool.next_batch(10, 10_000)
        assert batch
        spool.letters.append([letter_of(batch.records[0].document(), 0)])  # and then the power went
    with Spool(tmp_path) as spool:
        batch = spool.next_batch(10, 10_000)
        assert batch
        assert [identity(record.lines) for record in batch.records] == ["good"]
        spool.commit(batch)
        status = spool.status()
        assert (status.delivered, status.dead_letters, status.pending_documents) == (1, 1, 0)
        assert letter_ids(spool) == ["dead"]


def test_a_commit_tried_again_writes_no_letter_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the letters got to the disk and the counts did not, trying again settles with one letter."""
    with Spool(tmp_path) as spool:
        spool.append([document("dead")])
        batch = spool.next_batch(1, 1000)
        assert batch
        letters = [letter_of(batch.records[0].document(), 0)]

        def fail(*_: object) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(Cursor, "write", fail)
            with pytest.raises(OSError, match="Input/output error"):
                spool.commit(batch, letters)
        spool.commit(batch, letters)
        assert (letter_ids(spool), spool.status().dead_letters) == (["dead"], 1)


def test_replay_puts_documents_back(tmp_path: Path) -> None:
    """Replayed documents are pending again, byte for byte, are letters no more, and the counts say so."""
    with Spool(tmp_path) as spool:
        refuse(spool, "a", "b", "c")
        assert spool.replay({"a", "c"}) == 2
        assert (pending_ids(spool), letter_ids(spool)) == (["a", "c"], ["b"])
        assert (spool.status().replayed, spool.status().appended) == (2, 5)
        assert spool.replay() == 1
        assert (pending_ids(spool), letter_ids(spool)) == (["a", "c", "b"], [])


def test_replay_needs_no_budget(tmp_path: Path) -> None:
    """Letters that fill the budget can still be replayed: moving them takes no room in the end."""
    with Spool(tmp_path, budget_bytes=4000) as spool:
        refuse(spool, *(str(number) for number in range(8)))
        with pytest.raises(DoorwatchError, match="the spool is full"):
            spool.append([document("new", 3000)])
        assert spool.replay() == 8


@pytest.mark.parametrize("step", range(7))
def test_a_replay_killed_at_any_step_neither_loses_nor_doubles(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash at each step of a replay, every document is pending or a letter, and none is both."""

    class PowerCutError(BaseException):
        pass

    countdown = [step]

    def cutting(name: str, owner: object) -> None:
        real = getattr(owner, name)

        def wrapped(*arguments: object, **options: object) -> object:
            if countdown[0] == 0:
                raise PowerCutError(name)
            countdown[0] -= 1
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, wrapped)

    with Spool(tmp_path) as spool:
        refuse(spool, "a", "b", "c")
        cutting("write_atomically", replay_module)
        cutting("append", Writer)
        cutting("remove", DeadLetters)
        cutting("write", Cursor)
        cutting("unlink", Path)
        cutting("sync_directory", replay_module)
        try:
            spool.replay({"a", "c"})
        except PowerCutError:
            pass
        else:
            assert step == 6
        monkeypatch.undo()
    with Spool(tmp_path) as spool:
        pending, letters = pending_ids(spool), letter_ids(spool)
        assert sorted(pending + letters) == ["a", "b", "c"]
        assert spool.status().replayed == len(pending)
        assert not (tmp_path / "replay").exists()


def test_a_replay_torn_in_the_middle_keeps_what_was_not_written(tmp_path: Path) -> None:
    """Of a replay whose append was torn, only the documents that reached the disk leave the letters."""
    with Spool(tmp_path) as spool:
        refuse(spool, "a", "b", "c")
    shutil.copytree(tmp_path / "letters", tmp_path / "letters-before")
    with Spool(tmp_path) as spool:
        spool.replay()
    newest = max((tmp_path / "segments").iterdir())
    content = newest.read_bytes()
    newest.write_bytes(content[: len(content) // 3 + 10])  # the first of three, and a bit
    shutil.rmtree(tmp_path / "letters")
    (tmp_path / "letters-before").rename(tmp_path / "letters")
    (name,) = (path.name for path in (tmp_path / "letters").iterdir())
    (tmp_path / "replay").write_text(f'{{"file":"{name}","letters":[0,1,2],"first":3,"replayed":0}}')
    with Spool(tmp_path) as spool:
        assert (pending_ids(spool), letter_ids(spool)) == (["a"], ["b", "c"])


def test_damaged_letters_are_shown_and_kept(tmp_path: Path) -> None:
    """A line that is no letter is reported with its place, is not replayed, and stays in the file."""
    with Spool(tmp_path) as spool:
        refuse(spool, "a", "b")
        (path,) = spool.letters.files()
        path.write_bytes(b"{broken\n" + path.read_bytes() + b'{"cut short by a cra')
        first, *rest = spool.letters.read()
        assert first == Unreadable(file=path.name, line=1)
        assert [letter.id for letter in rest if isinstance(letter, Letter)] == ["a", "b"]
        spool.replay()
        assert path.read_bytes() == b"{broken\n"


def test_a_damaged_intent_is_said(tmp_path: Path) -> None:
    """A note of a replay that cannot be read is one line that says what to do, and the letters are untouched."""
    with Spool(tmp_path) as spool:
        refuse(spool, "a")
    (tmp_path / "replay").write_bytes(b'{"file":"lett\xff')
    with pytest.raises(DoorwatchError, match=r"replay: damaged.*move it away") as error:
        Spool(tmp_path)
    assert "\n" not in str(error.value)
    (tmp_path / "replay").unlink()
    with Spool(tmp_path) as spool:
        assert letter_ids(spool) == ["a"]
