"""The local store: what goes in comes out, once, within a budget, and never half."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.documents import Document, SerialisedDocument, serialise
from beat_bridge.standalone import LocalStore

START = datetime(2026, 1, 15, tzinfo=UTC)
FINDING = "logs-doorwatch.finding-default"


def document(number: int, stream: str = FINDING, **body: Any) -> SerialisedDocument:
    """A document whose time is its number in seconds after START."""
    at = (START + timedelta(seconds=number)).isoformat()
    return serialise(Document(data_stream=stream, id=str(number), body={"@timestamp": at, "n": number, **body}))


def everything(_document: object) -> bool:
    """A predicate that holds."""
    return True


def numbers(found: tuple[Document, ...]) -> list[int]:
    """What was found, by number."""
    return [item.body["n"] for item in found]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store may be made."""
    return tmp_path / "state" / "store.sqlite"


def test_search_is_newest_first_and_filtered(path: Path) -> None:
    """A search gives the newest that the predicate, the time and the data stream allow, up to its limit."""
    with LocalStore(path) as store:
        store.add([document(n) for n in (3, 1, 2)] + [document(9, "logs-doorwatch.response-default")])
        assert numbers(store.search(everything)) == [9, 3, 2, 1]
        assert numbers(store.search(everything, data_stream="logs-doorwatch.finding-*")) == [3, 2, 1]
        assert numbers(store.search(everything, data_stream=FINDING, limit=1)) == [3]
        assert numbers(store.search(everything, since=START + timedelta(seconds=3))) == [9, 3]
        assert numbers(store.search(lambda body: body["n"] % 2 == 0)) == [2]
        assert store.search(everything, limit=0) == ()


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=4))
def test_a_document_is_kept_once(tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]) -> None:
    """However often a document is added, it is there once, as it was first, and counted once."""
    path = tmp_path_factory.mktemp("store") / "store.sqlite"
    with LocalStore(path) as store:
        added = sum(store.add([document(n, batch=at) for n in batch]) for at, batch in enumerate(batches))
        kept = {n for batch in batches for n in batch}
        found = store.search(everything)
        assert sorted(numbers(found)) == sorted(kept)
        assert added == store.status().added == store.status().documents == len(kept)
        for item in found:
            assert item.body["batch"] == next(at for at, batch in enumerate(batches) if item.body["n"] in batch)


def test_the_same_id_in_two_streams_is_two_documents(path: Path) -> None:
    """Ids are unique within a data stream only."""
    with LocalStore(path) as store:
        assert store.add([document(1), document(1, "logs-doorwatch.response-default")]) == 2


def test_what_was_added_survives_a_kill(path: Path) -> None:
    """After `add` returned, a SIGKILL loses nothing: another process finds it."""
    program = (
        "import os, signal, sys; from pathlib import Path; sys.path.insert(0, os.getcwd())\n"
        "from beat_bridge.standalone import LocalStore\n"
        "from beat_bridge.model.documents import SerialisedDocument\n"
        "store = LocalStore(Path(sys.argv[1]))\n"
        "store.add([SerialisedDocument(data_stream='logs-a', id=str(n), source=b'{\"n\": 1}') for n in range(50)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60)
    assert ended.returncode == -9
    with LocalStore(path) as store:
        assert store.status().documents == store.status().added == 50


def test_the_budget_is_kept_and_what_went_is_counted(path: Path) -> None:
    """Beyond its budget the store lets the oldest go, and says how many."""
    budget = 600_000
    with LocalStore(path, budget_bytes=budget) as store:
        for start in range(0, 2000, 100):
            store.add([document(n, padding="x" * 1000) for n in range(start, start + 100)])
        status = store.status()
        assert status.used_bytes <= budget
        assert status.added == 2000
        assert status.evicted == 2000 - status.documents > 0
        kept = numbers(store.search(everything, limit=5000))
        assert kept == list(range(1999, 1999 - len(kept), -1))
    assert path.stat().st_size <= 2 * budget


def test_nobody_else_can_read_it(path: Path) -> None:
    """The file, its journal and its directory belong to their owner alone, whatever the umask."""
    before = os.umask(0)
    try:
        with LocalStore(path) as store:
            store.add([document(1)])
            for file in path.parent.iterdir():
                assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0
        assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    finally:
        os.umask(before)


def test_a_reader_beside_a_writer(path: Path) -> None:
    """A second process may search while the first writes, and changes nothing."""
    with LocalStore(path) as writer, LocalStore(path, read_only=True) as reader:
        writer.add([document(1)])
        assert numbers(reader.search(everything)) == [1]
        with pytest.raises(DoorwatchError):
            reader.add([document(2)])
        writer.add([document(2)])
        assert numbers(reader.search(everything)) == [2, 1]


def test_threads_share_one_store(path: Path) -> None:
    """Four threads that add and search together lose nothing."""
    with LocalStore(path) as store:

        def work(start: int) -> None:
            for n in range(start, start + 25):
                store.add([document(n)])
                store.search(everything, limit=3)

        threads = [threading.Thread(target=work, args=(100 * index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert store.status().documents == 100


def test_what_is_no_store_is_refused_and_left_alone(path: Path) -> None:
    """A file of another kind, or of another version, is one clear line and keeps its bytes."""
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"this is a letter, not a database" * 200)
    with pytest.raises(DoorwatchError, match="no database"):
        LocalStore(path)
    assert path.read_bytes().startswith(b"this is a letter")
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE letters (id)")
        other.execute("PRAGMA user_version=77")
    other.close()
    with pytest.raises(DoorwatchError, match="version 77"):
        LocalStore(path)
    with pytest.raises(DoorwatchError, match="no such store"):
        LocalStore(path.with_name("gone"), read_only=True)


def test_a_damaged_store_is_said(path: Path) -> None:
    """Damage inside the file is an error of one line on search, never an empty result."""
    with LocalStore(path) as store:
        store.add([document(n, padding="x" * 2000) for n in range(200)])
    data = bytearray(path.read_bytes())
    for at in range(3 * 4096, len(data) - 8192, 8192):
        data[at : at + 4096] = b"\xa5" * 4096
    path.write_bytes(bytes(data))
    with pytest.raises(DoorwatchError, match="damaged"), LocalStore(path) as store:
        store.search(everything, limit=1000)


def test_all_or_none_of_a_batch(path: Path) -> None:
    """A batch with something that is no JSON document leaves the store as it was."""
    with LocalStore(path) as store:
        with pytest.raises(DoorwatchError, match="bad of logs-x"):
            store.add([document(1), SerialisedDocument(data_stream="logs-x", id="bad", source=b"{")])
        assert store.status().documents == 0


@pytest.mark.live
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    """On a full file system `add` takes none of a batch, says that the disk is full, and goes on once there is room."""
    program = (
        'mount -t tmpfs -o size=400k none "$1" && cd "$2" && exec "$3" -c \'\n'
        'import sys; from pathlib import Path; sys.path.insert(0, ".")\n'
        "from tests.beat_bridge.standalone.test_store import document, everything\n"
        "from beat_bridge.errors import DoorwatchError\n"
        "from beat_bridge.standalone import LocalStore\n"
        'place = Path(sys.argv[1]) / "state"\n'
        'store = LocalStore(place / "s")\n'
        "added = store.add([document(n) for n in range(10)])\n"
        'ballast = place / "ballast"\n'
        "try:\n"
        '    with ballast.open("wb") as stream: stream.write(bytes(1 << 20))\n'
        "except OSError: pass\n"
        "try:\n"
        '    store.add([document(n, padding="x" * 900) for n in range(100, 200)])\n'
        "except DoorwatchError as error: print(error)\n"
        "print(store.status().documents)\n"
        "ballast.unlink()\n"
        "print(store.add([document(n) for n in range(100, 110)]), store.status().documents)\n"
        '\' "$1"'
    )
    mount = tmp_path / "mount"
    mount.mkdir()
    root = Path(__file__).parents[3]
    ended = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", program, "sh", str(mount), str(root), sys.executable],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = ended.stdout.splitlines()
    assert ended.returncode == 0, ended.stderr
    assert "the disk is full" in said[0]
    assert said[1:] == ["10", "10 20"]
