"""When a finding is told."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.detectors import absence, lifecycle
from beat_bridge.detectors.lifecycle import Ledger, advance
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Reason, Unavailable, Verdict, Viewpoint
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.filters import FilterKind, SocketFilter
from beat_bridge.model.findings import Change, Finding, FindingEvent, FindingKind
from beat_bridge.model.inventory import Inventory
from tests.inventories.builders import HOST, NOON, SENSORS, bpfdoor, hook, inventory, partial, pid_file, process, socket

REBOOTED = msgspec.structs.replace(HOST, boot_id="another-boot")


def finding(number: int = 1, **changes: Any) -> Finding:
    """A false name of a process."""
    seen = process(number, "/usr/bin/evil")
    fields: dict[str, Any] = {
        "kind": FindingKind.MASQUERADE,
        "host": HOST,
        "viewpoint": Viewpoint.HOST,
        "subject": f"process:{seen.identity}",
        "verdict": Verdict.SUSPICIOUS,
        "confidence": 0.7,
        "explanation": "It is not what it says.",
        "reasons": ("its name says udevd",),
        "process": seen,
    }
    return Finding(**{**fields, **changes})


def told(events: tuple[FindingEvent, ...]) -> list[tuple[Change, int]]:
    """What happened, and the count."""
    return [(event.change, event.sequence) for event in events]


def test_a_new_finding_opens_once() -> None:
    """A finding is told when it first shows, and not again while nothing changes."""
    ledger, events = advance(Ledger(), [finding()], inventory())
    assert told(events) == [(Change.OPENED, 0)]
    assert events[0].first_seen == events[0].at == NOON
    _, again = advance(ledger, [finding()], inventory())
    assert again == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": Verdict.MALICIOUS},
        {"reasons": ("its name says udevd", "it runs from shared memory")},
        {"techniques": ("T1036.005",)},
        {"related": ("a",)},
        {"process": process(1, "/usr/bin/evil", deleted=True)},
        {"socket": socket(5, (1,), "arp")},
        {"pid_file": pid_file(content="abc", size=3)},
        {"hook": hook()},
    ],
)
def test_new_evidence_is_told(changes: dict[str, Any]) -> None:
    """A change of evidence is told under the next count, with the moment it was first seen."""
    ledger, _ = advance(Ledger(), [finding()], inventory())
    later = inventory(taken_at=NOON.replace(hour=13))
    ledger, events = advance(ledger, [finding(**changes)], later)
    assert told(events) == [(Change.CHANGED, 1)]
    assert (events[0].first_seen, events[0].at) == (NOON, later.taken_at)
    assert advance(ledger, [finding(**changes)], later)[1] == ()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"explanation": "In other words."}),
        ({}, {"confidence": 0.71}),
        ({}, {"process": process(1, "/usr/bin/evil", ("another", "title"), started_at=1.0)}),
        ({}, {"parent": process(1, "/sbin/init")}),
        ({"reasons": ("a", "b")}, {"reasons": ("b", "a")}),
        ({"socket": socket(5, (1, 2))}, {"socket": socket(5, (2, 1), seen_by=("packet_diag",))}),
        ({"pid_file": pid_file()}, {"pid_file": pid_file(modified_at=1.0, open_by=(5,))}),
    ],
)
def test_what_wavers_is_not_told(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Wording, times, titles, orders and the parent may waver without the finding being told again."""
    ledger, _ = advance(Ledger(), [finding(**before)], inventory())
    assert advance(ledger, [finding(**after)], inventory())[1] == ()


def test_a_complete_look_that_shows_nothing_closes() -> None:
    """Where every sensor it depends on looked completely, an absent finding is gone, with the reason in words."""
    ledger, _ = advance(Ledger(), [finding()], inventory())
    ledger, events = advance(ledger, [], inventory())
    assert told(events) == [(Change.GONE, 1)]
    assert events[0].finding.explanation.endswith("Gone: a complete look no longer shows it.")
    assert not ledger.open


def test_a_finding_that_returns_continues_its_count() -> None:
    """Open, gone, open: 0, 1, 2, and every event has an id of its own."""
    ledger = Ledger()
    ids: list[tuple[int, str]] = []
    for shown in ([finding()], [], [finding()], []):
        ledger, events = advance(ledger, shown, inventory())
        ids.extend((event.sequence, event.id) for event in events)
    assert [sequence for sequence, _ in ids] == [0, 1, 2, 3]
    assert len({name for _, name in ids}) == 4


SOCKET_FOUND = finding(kind=FindingKind.SOCKET_FILTER, subject="socket:5", process=None, socket=socket(5, (1,)))
FILE_FOUND = finding(
    kind=FindingKind.ABNORMAL_PID_FILE, subject="file:/run/haldd.pid", process=None, pid_file=pid_file()
)
HOOK_FOUND = finding(
    kind=FindingKind.KERNEL_HOOK_DRIFT, subject="hook:syscall_table:__x64_sys_bpf", process=None, hook=hook()
)
UNREADABLE = Unavailable(reason=Reason.REFUSED)
IN_SIGHT: dict[FindingKind, tuple[Finding, Any]] = {
    # a finding of each kind, and its thing in a state that proves nothing
    **{
        kind: (finding(kind=kind), process(1, "/usr/bin/evil", executable=UNREADABLE))
        for kind in (FindingKind.MASQUERADE, FindingKind.SHARED_MEMORY_EXECUTION, FindingKind.BACKDOOR_PROCESS)
    },
    FindingKind.SOCKET_FILTER: (SOCKET_FOUND, socket(5, filter=SocketFilter(kind=FilterKind.UNKNOWN))),
    FindingKind.ORPHAN_SOCKET: (msgspec.structs.replace(SOCKET_FOUND, kind=FindingKind.ORPHAN_SOCKET), socket(5)),
    FindingKind.ABNORMAL_PID_FILE: (FILE_FOUND, pid_file(locked_by=(7,))),
    FindingKind.KERNEL_HOOK_DRIFT: (HOOK_FOUND, hook(symbol="__x64_sys_read")),
}


@pytest.mark.parametrize(("found", "seen"), IN_SIGHT.values(), ids=IN_SIGHT)
def test_every_sensor_a_kind_depends_on_must_have_looked(found: Finding, seen: Any) -> None:
    """Each gap in a sensor that a kind depends on, and each silence of one, keeps its findings open."""
    ledger, _ = advance(Ledger(), [found], inventory())
    look = inventory(seen)
    assert absence.SENSORS[found.kind] <= set(SENSORS)
    for sensor in absence.SENSORS[found.kind]:
        silent = inventory(seen, coverage=tuple(entry for entry in look.coverage if entry.sensor != sensor))
        assert advance(ledger, [], partial(look, sensor))[1] == ()
        assert advance(ledger, [], silent)[1] == ()
    assert told(advance(ledger, [], look)[1]) == [(Change.GONE, 1)]


@pytest.mark.parametrize(
    ("surface", "sensors"),
    [
        ("kernel_text", {"kernel_text"}),
        ("module_text", {"module_text"}),
        ("read_only_data", {"read_only_data"}),
        ("syscall_dispatch", {"kernel_hooks", "kernel_text"}),
        ("syscall_table", {"kernel_hooks", "read_only_data"}),
        ("seq_operations", {"kernel_hooks", "read_only_data"}),
        ("lsm", {"kernel_hooks"}),
    ],
)
def test_changed_code_is_gone_by_a_look_at_the_code(surface: str, sensors: set[str]) -> None:
    """Bytes of code or data are gone by a complete look of whoever compares them, and of no other sensor."""
    place = hook(surface=surface, symbol="__do_sys_swapoff+0x40", expected="90", actual="cc")
    found = finding(
        kind=FindingKind.KERNEL_HOOK_DRIFT, subject=f"hook:{surface}:{place.symbol}", process=None, hook=place
    )
    ledger, _ = advance(Ledger(), [found], inventory())
    for sensor in SENSORS:
        still_open = advance(ledger, [], partial(inventory(), sensor))[1] == ()
        assert still_open is (sensor in sensors)


def test_a_place_that_nobody_objects_to_is_not_in_order_while_it_leads_where_it_did() -> None:
    """The sensor that knew what was wrong may have looked at nothing, and the other know no better."""
    ledger, _ = advance(Ledger(), [HOOK_FOUND], inventory())
    unchanged = hook(expected=hook().actual)
    assert advance(ledger, [], partial(inventory(unchanged), "read_only_data"))[1] == ()
    restored = hook(actual=hook().expected)
    assert told(advance(ledger, [], partial(inventory(restored), "read_only_data"))[1]) == [(Change.GONE, 1)]


def test_a_sensor_that_tells_two_stories_is_not_believed() -> None:
    """Complete in one entry and partial in another is not complete."""
    ledger, _ = advance(Ledger(), [finding()], inventory())
    twice = (*inventory().coverage, Coverage(sensor="processes", status=CoverageStatus.PARTIAL))
    assert advance(ledger, [], inventory(coverage=twice))[1] == ()


def test_a_restart_ends_every_finding_of_the_boot() -> None:
    """After a restart what was found before is gone for that reason, whatever the sensors could see."""
    ledger, _ = advance(Ledger(), [finding(1), finding(2)], inventory())
    ledger, events = advance(ledger, [], inventory(host=REBOOTED, coverage=()))
    assert told(events) == [(Change.GONE, 1)] * 2
    assert events[0].finding.explanation.endswith("Gone: the host was started anew.")
    assert not ledger.closed


def test_a_boot_that_could_not_be_told_is_no_restart() -> None:
    """An inventory without a boot id closes nothing by itself."""
    ledger, _ = advance(Ledger(), [finding()], inventory())
    unknown = msgspec.structs.replace(HOST, boot_id="")
    assert advance(ledger, [], inventory(host=unknown, coverage=()))[1] == ()


NAMELESS = msgspec.structs.replace(HOST, boot_id="")


def test_a_boot_that_gets_its_id_takes_its_findings_with_it() -> None:
    """What was told before a kernel made its boot id is told under the id, and closed without it."""
    ledger, _ = advance(Ledger(), [finding(host=NAMELESS)], inventory(host=NAMELESS))
    ledger, events = advance(ledger, [finding()], partial(inventory(), "processes"))
    assert told(events) == [(Change.GONE, 1), (Change.OPENED, 0)]
    assert "told under the boot's id" in events[0].finding.explanation
    assert [entry.finding.host.boot_id for entry in ledger.open.values()] == [HOST.boot_id]


def test_a_boot_id_that_comes_and_goes_repeats_no_event() -> None:
    """A guest that blanks its boot id again has its findings told under later numbers, not under ids already used."""
    nameless, named = inventory(host=NAMELESS), inventory()
    ledger, first = advance(Ledger(), [finding(host=NAMELESS)], nameless)
    ledger, _ = advance(ledger, [finding()], named)
    _, again = advance(ledger, [finding(host=NAMELESS)], nameless)
    (opened,) = (event for event in again if event.change is Change.OPENED)
    assert opened.finding.key == first[0].finding.key
    assert opened.sequence == 2


def test_a_finding_without_a_boot_id_needs_proof_like_any_other() -> None:
    """Under a new id its silence alone closes it where a look was complete; another's finding does not."""
    ledger, _ = advance(Ledger(), [finding(host=NAMELESS)], inventory(host=NAMELESS))
    for seen, shown in ((partial(inventory(), "processes"), [finding(2)]), (partial(inventory(), "processes"), [])):
        assert [event.change for event in advance(ledger, shown, seen)[1] if event.change is Change.GONE] == []
    (event,) = advance(ledger, [], inventory())[1]
    assert event.change is Change.GONE
    assert "a complete look no longer shows it" in event.finding.explanation


def test_another_host_or_viewpoint_says_nothing_about_this_one() -> None:
    """A complete look at another host, or from elsewhere, closes nothing here."""
    ledger, _ = advance(Ledger(), [finding()], inventory())
    other = msgspec.structs.replace(HOST, id="another")
    assert advance(ledger, [], inventory(host=other))[1] == ()
    assert advance(ledger, [], inventory(viewpoint=Viewpoint.HYPERVISOR))[1] == ()


@pytest.mark.parametrize(
    ("found", "sensor", "reason"),
    [
        (finding(), "processes", "the process has ended"),
        (finding(kind=FindingKind.BACKDOOR_PROCESS), "processes", "the process has ended"),
        (SOCKET_FOUND, "packet_sockets", "the socket is closed"),
        (FILE_FOUND, "pid_files", "the file was removed"),
    ],
)
def test_a_full_list_without_the_thing_closes(found: Finding, sensor: str, reason: str) -> None:
    """What a list of everything does not show does not exist, although some of what it shows could not be read."""
    ledger, _ = advance(Ledger(), [found], inventory())
    listed = Coverage(sensor=sensor, status=CoverageStatus.PARTIAL, missed=1, listed=True)
    unlisted = msgspec.structs.replace(listed, listed=False)
    assert reason in advance(ledger, [], inventory(coverage=(listed,)))[1][0].finding.explanation
    assert advance(ledger, [], inventory(coverage=(unlisted,)))[1] == ()
    assert advance(ledger, [], inventory(coverage=(listed, unlisted)))[1] == ()


def test_a_namespace_that_was_listed_closes_its_own_sockets_alone() -> None:
    """A packet socket is closed when its own network namespace was listed without it, however many others were not."""
    assert SOCKET_FOUND.socket is not None
    ledger, _ = advance(Ledger(), [SOCKET_FOUND], inventory())
    elsewhere = inventory(coverage=(), network_namespaces=(1,))
    assert advance(ledger, [], elsewhere)[1] == ()
    here = inventory(coverage=(), network_namespaces=(1, SOCKET_FOUND.socket.network_namespace))
    assert "the socket is closed" in advance(ledger, [], here)[1][0].finding.explanation


def test_a_socket_that_no_table_lists_is_not_closed_by_one() -> None:
    """The tables of packet and raw sockets say nothing about a datagram socket with a filter."""
    datagram = socket(5, family=2, type=2, protocol=17)
    ledger, _ = advance(Ledger(), [msgspec.structs.replace(SOCKET_FOUND, socket=datagram)], inventory())
    listed = Coverage(sensor="packet_sockets", status=CoverageStatus.COMPLETE)
    assert advance(ledger, [], inventory(coverage=(listed,)))[1] == ()


FOUND = {
    FindingKind.MASQUERADE: finding(),
    FindingKind.SOCKET_FILTER: SOCKET_FOUND,
    FindingKind.ABNORMAL_PID_FILE: FILE_FOUND,
    FindingKind.BACKDOOR_PROCESS: finding(kind=FindingKind.BACKDOOR_PROCESS),
    FindingKind.ORPHAN_SOCKET: msgspec.structs.replace(SOCKET_FOUND, kind=FindingKind.ORPHAN_SOCKET),
    FindingKind.KERNEL_HOOK_DRIFT: HOOK_FOUND,
}


@pytest.mark.parametrize(
    ("kind", "seen", "reason"),
    [
        (FindingKind.MASQUERADE, process(1, "/usr/bin/evil"), "in order"),
        (FindingKind.MASQUERADE, process(1, "/usr/bin/other", start_ticks=101), "a later process"),
        (FindingKind.SOCKET_FILTER, socket(5), "in order"),
        (FindingKind.ABNORMAL_PID_FILE, pid_file(content="812\n", size=4), "in order"),
        (FindingKind.KERNEL_HOOK_DRIFT, hook(explained=True), "in order"),
    ],
)
def test_the_thing_itself_seen_in_order_closes_despite_gaps(kind: FindingKind, seen: Any, reason: str) -> None:
    """Where the very thing was seen and is in order, or is another by now, no gap elsewhere keeps it open."""
    ledger, _ = advance(Ledger(), [FOUND[kind]], inventory())
    _, events = advance(ledger, [], inventory(seen, coverage=()))
    assert told(events) == [(Change.GONE, 1)]
    assert reason in events[0].finding.explanation


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        (FindingKind.MASQUERADE, process(1, "/x", executable=UNREADABLE)),
        (FindingKind.MASQUERADE, process(1, "/x", args=UNREADABLE)),
        (FindingKind.MASQUERADE, process(1, "/x", start_ticks=99)),
        (FindingKind.MASQUERADE, process(1, "/x", memfd=True)),
        (FindingKind.MASQUERADE, process(2, "/usr/bin/evil")),
        (FindingKind.BACKDOOR_PROCESS, process(1, "/usr/bin/evil")),
        (FindingKind.ORPHAN_SOCKET, socket(5)),
        (FindingKind.SOCKET_FILTER, socket(5, filter=SocketFilter(kind=FilterKind.UNKNOWN))),
        (FindingKind.SOCKET_FILTER, socket(6)),
        (FindingKind.ABNORMAL_PID_FILE, pid_file(locked_by=(7,))),
        (FindingKind.ABNORMAL_PID_FILE, pid_file("/run/other.pid", size=50)),
        (FindingKind.KERNEL_HOOK_DRIFT, hook(symbol="__x64_sys_read")),
    ],
)
def test_a_thing_seen_only_in_part_closes_nothing(kind: FindingKind, seen: Any) -> None:
    """A thing that could not be read, or another thing, does not close a finding where sensors had gaps."""
    ledger, _ = advance(Ledger(), [FOUND[kind]], inventory())
    assert advance(ledger, [], inventory(seen, coverage=()))[1] == ()


def test_a_ledger_survives_as_json() -> None:
    """What encode wrote, decode reads back, and the next pass is the same."""
    ledger, _ = advance(Ledger(), [finding(1), finding(2, socket=bpfdoor().sockets[0])], inventory())
    ledger, _ = advance(ledger, [finding(1)], inventory())
    assert lifecycle.decode(lifecycle.encode(ledger), "ledger") == ledger


@pytest.mark.parametrize("data", [b"", b"[]", b'{"open": 5}', b"\xff", b'{"surprise": 1}', b"[" * 100_000])
def test_a_broken_ledger_is_one_clear_line(data: bytes) -> None:
    """A file that is no ledger is named, with what to do."""
    with pytest.raises(DoorwatchError, match=r"state/ledger\.json: not a ledger of findings: .*; move it away"):
        lifecycle.decode(data, "state/ledger.json")


def test_a_crash_between_spool_and_ledger_repeats_ids() -> None:
    """A pass that is told again from the old ledger, at a later moment, makes the same event ids."""
    before, _ = advance(Ledger(), [finding(1), finding(2)], inventory())
    shown = [finding(2, verdict=Verdict.MALICIOUS), finding(3)]
    first = advance(before, shown, inventory())[1]
    again = advance(before, shown, inventory(taken_at=NOON.replace(hour=14)))[1]
    assert [event.id for event in first] == [event.id for event in again]
    assert {event.change for event in first} == set(Change)


def test_the_strongest_open_first_where_room_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the strongest findings open, the rest are counted, and they open when there is room."""
    monkeypatch.setattr(lifecycle, "MOST_OPEN", 2)
    shown = [finding(n, verdict=Verdict.MALICIOUS if n == 3 else Verdict.SUSPICIOUS) for n in (1, 2, 3)]
    ledger, events = advance(Ledger(), shown, inventory())
    assert len(events) == 2
    assert finding(3).subject in {event.finding.subject for event in events}
    assert ledger.turned_away == 1
    ledger, events = advance(ledger, [shown[0], shown[1]], inventory())
    assert sorted(told(events)) == [(Change.GONE, 1), (Change.OPENED, 0)]
    assert ledger.turned_away == 0


def test_forgotten_findings_never_repeat_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where closed findings had to be forgotten, those that return count on from above the forgotten ones."""
    monkeypatch.setattr(lifecycle, "MOST_CLOSED", 1)
    ledger = Ledger()
    ids: list[str] = []
    for shown in ([1, 2, 3], [], [1, 2, 3], [], [1, 2, 3]):
        ledger, events = advance(ledger, [finding(n) for n in shown], inventory())
        ids.extend(event.id for event in events)
        assert len(ledger.closed) <= 1
    assert len(set(ids)) == len(ids) == 15


PASSES = st.lists(
    st.tuples(
        st.frozensets(st.integers(1, 4)),  # which processes have a false name
        st.sampled_from(["", *SENSORS]),  # which sensor has a gap
        st.sampled_from([Verdict.SUSPICIOUS, Verdict.MALICIOUS]),
    ),
    max_size=12,
)


def _pass(shown: frozenset[int], gap: str, verdict: Verdict) -> tuple[list[Finding], Inventory]:
    return [finding(n, verdict=verdict) for n in sorted(shown)], partial(inventory(), gap)


@settings(max_examples=150)
@given(PASSES)
def test_any_history_keeps_the_books(passes: list[tuple[frozenset[int], str, Verdict]]) -> None:
    """Whatever is seen in whatever order: counts rise by one from 0, opened and gone alternate, ids never repeat."""
    ledger = Ledger()
    histories: dict[str, list[FindingEvent]] = {}
    for one in passes:
        shown, look = _pass(*one)
        ledger, events = advance(ledger, shown, look)
        for event in events:
            histories.setdefault(event.finding.key, []).append(event)
        assert {item.key for item in shown} <= set(ledger.open)
        assert advance(ledger, shown, look) == (ledger, ())
    for history in histories.values():
        assert [event.sequence for event in history] == list(range(len(history)))
        borders = [event.change for event in history if event.change is not Change.CHANGED]
        assert borders == [(Change.OPENED, Change.GONE)[n % 2] for n in range(len(borders))]
        assert history[0].change is Change.OPENED
    ids = [event.id for history in histories.values() for event in history]
    assert len(set(ids)) == len(ids)


@settings(max_examples=100)
@given(PASSES)
def test_a_gap_never_closes(passes: list[tuple[frozenset[int], str, Verdict]]) -> None:
    """In no history does a pass close a finding while a sensor that it depends on had a gap."""
    ledger = Ledger()
    for one in passes:
        shown, look = _pass(*one)
        ledger, events = advance(ledger, shown, look)
        gaps = {entry.sensor for entry in look.gaps}
        gone = [event for event in events if event.change is Change.GONE]
        assert not [event for event in gone if absence.SENSORS[event.finding.kind] & gaps]
