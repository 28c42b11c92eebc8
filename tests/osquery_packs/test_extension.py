"""The extension, spoken to over osquery's own wire by a real Thrift extension manager."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.filters import FilterKind, SocketFilter
from beat_bridge.model.inventory import Inventory
from osquery_packs import load_packs
from osquery_packs.extension import rows, schema
from osquery_packs.extension.looks import Looks
from osquery_packs.extension.serving import CONNECTIONS, serve
from tests.inventories.builders import bpfdoor, inventory, partial, process
from tests.inventories.builders import socket as made_socket
from tests.inventories.strategies import values
from tests.lab import processes as lab
from tests.lab.osquery_manager import Manager, running

PROGRAM = "from osquery_packs.commands import osquery; osquery()"


@contextmanager
def _served(directory: Path, look: Callable[[], Inventory], fresh: float = 60.0) -> Iterator[tuple[Manager, int]]:
    """An extension in a thread of this process, registered with a manager; both end with the block."""
    with running(directory / "em") as manager:
        looks = Looks(look, fresh=fresh)
        thread = threading.Thread(
            target=serve, args=(str(manager.path),), kwargs={"timeout": 5, "interval": 0.05, "looks": looks}
        )
        thread.start()
        assert manager.registered.wait(10)
        uuid = next(iter(manager.extensions_by_uuid))
        _await(lambda: Path(f"{manager.path}.{uuid}").exists())
        try:
            yield manager, uuid
        finally:
            with manager.client(uuid) as client:
                client.shutdown()
            thread.join(10)
            assert not thread.is_alive()


def _await(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.005)


def test_sql_over_the_wire_gives_what_the_look_saw(tmp_path: Path) -> None:
    """A BPFDoor filter comes back with its owner, its hash, its magic and its verdict; findings and coverage too."""
    with _served(tmp_path, bpfdoor) as (manager, _):
        (found,) = manager.query("SELECT * FROM doorwatch_socket_filters")
        assert (found["pid"], found["path"], found["deleted"]) == (812, "/dev/shm/kdmtmpflush", 1)  # noqa: S108 - its name
        assert (found["family"], found["kind"], found["verdict"]) == (17, "classic", "malicious")
        assert "0x7255" in found["magic"]
        assert len(found["filter_sha256"]) == 64
        assert found["instructions"] == len(bpfdoor().sockets[0].filter.program)
        kinds = {
            row["kind"] for row in manager.query("SELECT kind FROM doorwatch_findings WHERE verdict = 'malicious'")
        }
        assert {"socket_filter", "backdoor_process"} <= kinds
        assert {row["status"] for row in manager.query("SELECT status FROM doorwatch_coverage")} == {"complete"}
        joined = "SELECT f.kind FROM doorwatch_findings f JOIN doorwatch_socket_filters s ON s.pid = f.pid"
        assert manager.query(joined)


def test_the_shipped_pack_runs_on_the_extensions_tables(tmp_path: Path) -> None:
    """The queries of doorwatch-extension find the backdoor through the real wire."""
    pack = next(pack for pack in load_packs() if pack.name == "doorwatch-extension")
    with _served(tmp_path, lambda: partial(bpfdoor(), "processes")) as (manager, _):
        for name, query in pack.queries.items():
            assert manager.query(query.sql), name


def test_a_failing_look_is_a_status_and_a_coverage_row_never_an_empty_table(tmp_path: Path) -> None:
    """Where nothing could be looked at, queries fail with the reason, and coverage says so in a row."""

    def fail() -> Inventory:
        raise DoorwatchError("/proc: not mounted")

    with _served(tmp_path, fail) as (manager, _):
        for table in (schema.SOCKET_FILTERS.name, schema.FINDINGS.name):
            with pytest.raises(RuntimeError, match="doorwatch could not look: /proc: not mounted"):
                manager.query(f"SELECT * FROM {table}")  # noqa: S608 - the test's own names
        (row,) = manager.query("SELECT * FROM doorwatch_coverage")
        assert (row["sensor"], row["status"], row["reason"], row["detail"]) == (
            "look", "none", "failed", "/proc: not mounted",
        )  # fmt: skip


def test_a_sensor_that_breaks_does_not_take_the_extension_with_it(tmp_path: Path) -> None:
    """Whatever a look raises becomes a row; the next look works again."""
    looks = iter([ZeroDivisionError("oops"), None])

    def look() -> Inventory:
        problem = next(looks)
        if problem:
            raise problem
        return bpfdoor()

    with _served(tmp_path, look, fresh=0) as (manager, _):
        (row,) = manager.query("SELECT detail FROM doorwatch_coverage")
        assert row["detail"] == "a sensor failed: ZeroDivisionError: oops"
        assert manager.query("SELECT 1 FROM doorwatch_findings")


def test_a_burst_of_queries_costs_one_look(tmp_path: Path) -> None:
    """All who ask within a few seconds share one look, also when they ask at once."""
    taken = []

    def look() -> Inventory:
        taken.append(1)
        return bpfdoor()

    with _served(tmp_path, look) as (manager, _):
        threads = [threading.Thread(target=manager.query, args=("SELECT * FROM doorwatch_findings",)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(taken) == 1


def test_a_look_that_does_not_end_is_not_waited_for() -> None:
    """A second query gives up after its patience, and says why."""
    begun, go = threading.Event(), threading.Event()

    def look() -> Inventory:
        begun.set()
        assert go.wait(20)
        return bpfdoor()

    looks = Looks(look)
    first = threading.Thread(target=looks.latest)
    first.start()
    assert begun.wait(10)
    assert looks.latest(patience=0.01).problem == "a look is still under way after 0.01 s"
    go.set()
    first.join()
    assert looks.latest().inventory == bpfdoor()


def test_columns_and_unknown_requests_are_answered_with_a_status(tmp_path: Path) -> None:
    """`columns` gives what was registered; an unknown table, registry or action is refused, never a crash."""
    with _served(tmp_path, bpfdoor) as (manager, uuid):
        _, registry = manager.extensions_by_uuid[uuid]
        for table in schema.TABLES:
            answer = manager.call(uuid, "table", table.name, {"action": "columns"})
            assert answer.response == registry["table"][table.name]
        for registry_name, item, request in (
            ("table", "processes", {"action": "generate"}),
            ("config", "doorwatch_findings", {"action": "genConfig"}),
            ("table", "doorwatch_findings", {"action": "delete"}),
            ("table", "doorwatch_findings", {}),
        ):
            assert manager.call(uuid, registry_name, item, request).status.code == 1


def test_bytes_that_are_not_thrifts_end_one_connection_only(tmp_path: Path) -> None:
    """Garbage, an endless string and more connections than there are places leave the extension answering."""
    with _served(tmp_path, bpfdoor) as (manager, uuid):
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x80\x01\x00\x01\x7f\xff\xff\xff", os.urandom(512), b""):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(f"{manager.path}.{uuid}")
                connection.sendall(garbage)
        crowd = [socket.socket(socket.AF_UNIX) for _ in range(CONNECTIONS)]
        for connection in crowd:
            connection.connect(f"{manager.path}.{uuid}")
            connection.close()
        assert manager.query("SELECT 1 FROM doorwatch_findings")


def test_names_of_a_hostile_process_cross_the_wire(tmp_path: Path) -> None:
    """Bytes that are no text, control characters and endless arguments neither break Thrift nor grow without bound."""
    hostile = process(7, "/tmp/\udcff\x1b[2J", ("\udc80" * 10_000, "a\0b"))  # noqa: S108 - a name
    with _served(tmp_path, lambda: inventory(hostile, made_socket(9, (7,), "bpfdoor"))) as (manager, _):
        (row,) = manager.query("SELECT path, cmdline FROM doorwatch_socket_filters")
    assert row["path"] == "/tmp/\\udcff\x1b[2J"  # noqa: S108 - a name
    assert len(row["cmdline"]) <= rows.LONGEST_CELL * 6
    assert "\0" not in row["cmdline"]


def test_what_could_not_be_judged_is_never_benign() -> None:
    """eBPF, a refusal, and a socket without a holder: each has a row of its own, with the reason."""
    refused = SocketFilter(kind=FilterKind.UNKNOWN, unavailable=Unavailable(reason=Reason.REFUSED, detail="EPERM"))
    look = inventory(
        msgspec.structs.replace(made_socket(1, ()), filter=SocketFilter(kind=FilterKind.EBPF)),
        msgspec.structs.replace(made_socket(2, ()), filter=refused),
    )
    found = {row["socket"]: row for row in rows.socket_filter_rows(look)}
    assert {row["verdict"] for row in found.values()} == {"unknown"}
    assert {row["pid"] for row in found.values()} == {"-1"}
    assert found["2"]["summary"] == "EPERM"


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(values(Inventory))
def test_every_inventory_becomes_rows(look: Inventory) -> None:
    """Whatever an inventory holds, each table gives rows with exactly its columns, all text that can be sent."""
    for table in schema.TABLES:
        for row in rows.ROWS[table.name](look):
            assert row.keys() == {column.name for column in table.columns}
            assert all("\0" not in cell and cell.encode() is not None for cell in row.values())


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        (lambda _: None, "there is no such socket: is osquery running"),
        (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "nobody answers at this socket"),
        (lambda path: path.touch(), "nobody answers at this socket"),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed.*socket:ResourceWarning")
def test_a_socket_that_cannot_be_used_is_one_line(
    tmp_path: Path, prepare: Callable[[Path], object], problem: str
) -> None:
    """No osquery, a dead one, a file in its place: one line that says what to do."""
    prepare(tmp_path / "em")
    with pytest.raises(DoorwatchError, match=problem) as caught:
        serve(str(tmp_path / "em"), timeout=0.1, interval=1)
    assert "\n" not in str(caught.value)


def test_a_path_too_long_for_a_socket_is_said() -> None:
    """Unix sockets have short names; ours is osquery's and a number."""
    with pytest.raises(DoorwatchError, match="too long for a socket"):
        serve("/" + "x" * 120, timeout=0.1, interval=1)


def test_osquerys_refusal_is_told(tmp_path: Path) -> None:
    """What osquery says against the extension is the error."""
    with running(tmp_path / "em") as manager:
        manager.refuse = "Duplicate extension registered"
        with pytest.raises(DoorwatchError, match="osquery refuses the extension: Duplicate extension registered"):
            serve(str(manager.path), timeout=5, interval=1)


def test_without_the_extra_the_missing_package_is_named() -> None:
    """Where osquery's library is not installed, one line says which extra brings it."""
    code = (
        "import sys; sys.modules['osquery'] = None; sys.modules['osquery.extensions'] = None\n"
        "from beat_bridge.errors import MissingExtraError\n"
        "try:\n    import osquery_packs.extension.serving\n"
        "except MissingExtraError as error:\n    print(error)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'doorwatch[osquery]'" in answer.stdout


@pytest.mark.live
def test_a_real_filter_on_this_kernel_is_seen_through_a_real_process(tmp_path: Path) -> None:
    """`doorwatch osquery extension` as osquery starts it: a live BPFDoor-like filter comes back with its owner."""

    def capture() -> list[int]:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        lab.attach(made, lab.BPF_MAGIC_PACKET)
        _kept.append(made)
        return [lab.inode(made)]

    with lab.running(capture) as fixture, running(tmp_path / "em") as manager:
        arguments = ["extension", "--socket", str(manager.path), "--timeout", "5", "--interval", "1", "--verbose"]
        with subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stderr=subprocess.PIPE) as extension:
            try:
                assert manager.registered.wait(30), "it did not register"
                uuid = next(iter(manager.extensions_by_uuid))
                _await(lambda: Path(f"{manager.path}.{uuid}").exists())
                sql = "SELECT * FROM doorwatch_socket_filters WHERE socket = "
                (found,) = manager.query(sql + str(fixture.told[0]))
                assert (found["pid"], found["instructions"], found["verdict"]) == (fixture.pid, 8, "malicious")
                assert found["magic"] == "udp[8:2] = 0x7255"
                assert manager.query("SELECT 1 FROM doorwatch_coverage WHERE sensor = 'socket_filters'")
                with manager.client(uuid) as client:
                    client.shutdown()
                assert extension.wait(20) == 0
            finally:
                extension.kill()


@pytest.mark.live
def test_the_extension_ends_when_osquery_does(tmp_path: Path) -> None:
    """A process of its own: osquery goes, and so does the extension, with its socket."""
    with running(tmp_path / "em") as manager:
        extension = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "extension", "--socket", str(manager.path), "--interval", "1"]
        )
        try:
            assert manager.registered.wait(30)
            assert manager.pinged.wait(30)
        except BaseException:
            extension.kill()
            raise
    try:
        assert extension.wait(20) == 0
        assert list(tmp_path.iterdir()) == []
    finally:
        extension.kill()
        extension.wait()


def test_a_socket_of_another_user_is_explained_in_one_line() -> None:
    """No permission is said at once, with whom to run it as."""
    with tempfile.TemporaryDirectory() as directory, running(Path(directory) / "em") as manager:
        Path(directory).chmod(0o755)  # pytest's own directories cannot be entered by others
        manager.path.chmod(0o000)
        answer = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, str(manager.path)], capture_output=True, text=True, check=True
        )
    assert "no permission to use osquery's socket: run this as the user that osquery runs as" in answer.stdout


_AS_NOBODY = """
import os, sys
from osquery_packs.extension.serving import serve
from beat_bridge.errors import DoorwatchError
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
try:
    serve(sys.argv[1], timeout=5, interval=1)
except DoorwatchError as error:
    print(error)
"""
_kept: list[object] = []
