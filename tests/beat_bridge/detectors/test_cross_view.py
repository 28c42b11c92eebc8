"""Differences between views: what is one, what is none, and what could not be compared."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from beat_bridge.detectors import detect
from beat_bridge.detectors.cross_view import bracketed, compare, confirm, not_compared, reportable, single, undecided
from beat_bridge.detectors.lifecycle import Ledger, advance
from beat_bridge.ecs.fields import check
from beat_bridge.ecs.findings import finding_document
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Reason, Unavailable, Verdict, Viewpoint
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.filters import FilterKind, SocketFilter
from beat_bridge.model.findings import Change, Finding, FindingEvent, FindingKind, Standing
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.kernel import BpfLink, BpfMap, BpfProgram
from tests.inventories.builders import (
    COMPLETE,
    HOST,
    NOON,
    classic,
    executable,
    inventory,
    module,
    partial,
    process,
    socket,
)
from tests.inventories.strategies import values

EVIL = process(812, "/opt/evil", seen_by=("pid_table", "task_list"))
INIT = process(1, "/usr/lib/systemd/systemd", seen_by=("pid_table", "task_list"))
ABSENT = Unavailable(reason=Reason.ABSENT)


def outside(*things: Any, **changes: Any) -> Inventory:
    """A look from outside."""
    return inventory(*things, viewpoint=Viewpoint.HYPERVISOR, **changes)


def only(findings: tuple[Finding, ...]) -> Finding:
    """The one finding."""
    (found,) = findings
    return found


THINGS = {
    "process": (EVIL, FindingKind.HIDDEN_PROCESS, "process:812:81200"),
    "socket": (socket(7, (812,)), FindingKind.HIDDEN_SOCKET, "socket:7"),
    "module": (module("evil"), FindingKind.HIDDEN_MODULE, "module:evil"),
    "program": (BpfProgram(id=4, tag="00ff"), FindingKind.BPF_OBJECT_MISMATCH, "bpf_program:4"),
    "map": (BpfMap(id=5, type="hash"), FindingKind.BPF_OBJECT_MISMATCH, "bpf_map:5"),
    "link": (BpfLink(id=6, program_id=4), FindingKind.BPF_OBJECT_MISMATCH, "bpf_link:6"),
}


@pytest.mark.parametrize(("thing", "kind", "subject"), THINGS.values(), ids=THINGS)
def test_each_kind_of_thing_can_be_hidden(thing: Any, kind: FindingKind, subject: str) -> None:
    """Shown twice outside and not inside: one finding of its kind, which says which view lacks it."""
    told = compare(outside(INIT, thing), inventory(INIT), outside(INIT, thing))
    found = only(told.findings)
    assert (found.kind, found.subject, found.standing) == (kind, subject, Standing.SAMPLED)
    assert (found.viewpoint, found.missing_from) == (Viewpoint.HYPERVISOR, (Viewpoint.HOST,))
    assert (found.verdict, found.confidence) == (Verdict.SUSPICIOUS, 0.7)
    assert told.coverage.status is CoverageStatus.COMPLETE
    body = finding_document(
        FindingEvent(change=Change.OPENED, finding=found, at=NOON, first_seen=NOON, sequence=0)
    ).body
    assert check(body) == ()
    assert body["doorwatch"]["view"] == {"seen_by": ["hypervisor"], "missing_from": ["host"]}
    confirmed = only(confirm((found,), outside(INIT, thing)))
    assert (confirmed.verdict, confirmed.confidence, confirmed.standing) == (
        Verdict.MALICIOUS,
        0.95,
        Standing.CONFIRMED,
    )
    assert confirmed.reasons[-1] == "confirmed while the guest stood still"
    assert confirm((found,), outside(INIT)) == ()


@pytest.mark.parametrize(("thing", "kind", "subject"), THINGS.values(), ids=THINGS)
def test_each_kind_of_thing_can_be_forged(thing: Any, kind: FindingKind, subject: str) -> None:
    """Shown twice inside and not outside in between: told as a forged view, and never more than suspicious."""
    found = only(compare(inventory(INIT, thing), outside(INIT), inventory(INIT, thing)).findings)
    assert (found.kind, found.subject) == (kind, subject)
    assert (found.viewpoint, found.missing_from) == (Viewpoint.HOST, (Viewpoint.HYPERVISOR,))
    assert "forged" in found.explanation
    assert confirm((found,), outside(INIT)) == (found,)
    assert confirm((found,), outside(INIT, thing)) == ()
    assert found.verdict is Verdict.SUSPICIOUS


@pytest.mark.parametrize(("thing", "kind", "_subject"), THINGS.values(), ids=THINGS)
def test_where_the_inside_did_not_list_nothing_is_hidden(thing: Any, kind: FindingKind, _subject: str) -> None:
    """A view that lacks a sensor, or whose sensor could not list everything, is not compared, and that is said."""
    sensor = {
        FindingKind.HIDDEN_PROCESS: "processes",
        FindingKind.HIDDEN_SOCKET: "packet_sockets",
        FindingKind.HIDDEN_MODULE: "modules",
        FindingKind.BPF_OBJECT_MISMATCH: "bpf_objects",
    }[kind]
    without = inventory(INIT, coverage=tuple(entry for entry in COMPLETE if entry.sensor != sensor))
    for inside in (without, partial(inventory(INIT), sensor)):
        told = compare(outside(INIT, thing), inside, outside(INIT, thing))
        assert told.findings == ()
        assert told.coverage.status is not CoverageStatus.COMPLETE
        assert told.coverage.missed >= 1
        assert told.coverage.detail


NO_DIFFERENCE: dict[str, tuple[Any, Any]] = {
    # what is outside, what is inside
    "a zombie": (process(5, "/x", executable=ABSENT, environment=ABSENT), ()),
    "a kernel thread's longer name": (
        process(5, "/x", name="rcu_tasks_kthre", kernel_thread=True, executable=ABSENT),
        process(5, "/x", name="rcu_tasks_kthread", kernel_thread=True, executable=ABSENT),
    ),
    "one file by two paths": (
        process(5, "/usr/bin/x"),
        process(5, "/var/lib/containers/a/usr/bin/x", name="x", inode=99, device=7),
    ),
    "one inode by two paths": (process(5, "/a/x"), process(5, "/b/x")),
    "an executable that could not be read": (
        process(5, "/a/x"),
        process(5, "/a/x", executable=Unavailable(reason=Reason.REFUSED)),
    ),
    "a socket the kernel opened": (socket(0), ()),
    "an ordinary socket": (socket(5, family=2, type=1), ()),
    "a Unix socket with a filter": (socket(5, family=1, type=2, filter_name="arp"), ()),
    "a filter that could not be asked": (
        socket(5, filter_name="bpfdoor"),
        socket(5, filter=SocketFilter(kind=FilterKind.UNKNOWN)),
    ),
    "a namespace that could not be told": (
        socket(5),
        socket(5, network_namespace=Unavailable(reason=Reason.REFUSED)),
    ),
    "a type of a later kernel": (
        BpfProgram(id=4, tag="00ff", type="brand_new"),
        BpfProgram(id=4, tag="00ff", type=""),
    ),
    "a module that is being loaded": (module("m", instance=0, state="unformed"), ()),
}


@pytest.mark.parametrize(("there", "shown"), NO_DIFFERENCE.values(), ids=NO_DIFFERENCE)
def test_a_legitimate_difference_is_none(there: Any, shown: Any) -> None:
    """What differs between honest views is known, and no finding."""
    inside = inventory(INIT, *((shown,) if shown != () else ()))
    assert bracketed(outside(INIT, there), inside, outside(INIT, there)) == ()


def test_a_module_that_may_have_been_loaded_anew_is_undecided() -> None:
    """Without what tells one loading from the next, a missing module is counted and not told."""
    there = outside(INIT, module("m", instance=0))
    told = compare(there, inventory(INIT), there)
    assert told.findings == ()
    assert told.coverage.missed == 1
    assert "began or ended in the meantime" in told.coverage.detail


OTHERWISE: dict[str, tuple[Any, Any, str, float]] = {
    # what is outside, what the inside tells, what is said of it, how sure that is
    "executable": (
        process(5, "/dev/shm/x", inode=9),  # noqa: S108
        process(5, "/usr/sbin/cron", name="x"),
        "it runs /dev/shm/x, the other view tells /usr/sbin/cron",
        0.7,
    ),
    "name": (
        process(5, "/x", name="kdm"),
        process(5, "/x", name="cron"),
        "its name is kdm, the other view tells cron",
        0.5,
    ),
    "kernel thread": (
        process(5, "/x"),
        process(5, "/x", kernel_thread=True, executable=ABSENT),
        "the other view takes it for a kernel thread",
        0.7,
    ),
    "no filter": (
        socket(5, filter_name="bpfdoor"),
        socket(5),
        "it carries a classic filter of 23 instructions, the other view tells no filter",
        0.7,
    ),
    "another filter": (
        socket(5, filter_name="arp"),
        socket(5, filter=SocketFilter(kind=FilterKind.EBPF)),
        "the other view tells an eBPF filter",
        0.7,
    ),
    "namespace": (socket(5, network_namespace=6), socket(5, network_namespace=7), "the other view tells 7", 0.7),
    "family": (socket(5), socket(5, family=2), "another address family", 0.7),
    "tag": (BpfProgram(id=4, tag="00ff"), BpfProgram(id=4, tag="0aff"), "its tag is 00ff", 0.7),
    "program type": (BpfProgram(id=4, type="xdp"), BpfProgram(id=4, type="kprobe"), "its type is xdp", 0.7),
    "map type": (BpfMap(id=4, type="hash"), BpfMap(id=4, type="array"), "its type is hash", 0.7),
    "link": (BpfLink(id=4, program_id=1), BpfLink(id=4, program_id=2), "it attaches program 1", 0.7),
}


@pytest.mark.parametrize(("there", "shown", "clause", "confidence"), OTHERWISE.values(), ids=OTHERWISE)
def test_a_thing_that_is_told_otherwise_is_found(there: Any, shown: Any, clause: str, confidence: float) -> None:
    """The same thing with another content inside: both contents are told, and a later change keeps it unconfirmed."""
    look = outside(INIT, there)
    found = only(bracketed(look, inventory(INIT, shown), look))
    assert any(clause in reason for reason in found.reasons)
    assert (found.verdict, found.confidence) == (Verdict.SUSPICIOUS, confidence)
    settled = only(confirm((found,), look))
    assert settled.standing is Standing.CONFIRMED
    assert settled.verdict is (Verdict.SUSPICIOUS if confidence == 0.5 else Verdict.MALICIOUS)
    # a socket keeps its family and an id its program: what shows under that name by then is another thing
    other = clause.startswith(("another", "its tag", "its type", "it attaches"))
    assert confirm((found,), outside(INIT, shown)) == (() if other else (found,))


def test_what_changed_between_the_outer_looks_is_not_told() -> None:
    """A process that took another name, and a socket that got its filter, may have done so before or after the look."""
    before = outside(INIT, process(5, "/x", name="a"), socket(6))
    after = outside(INIT, process(5, "/x", name="b"), socket(6, filter_name="arp"))
    for inside in (
        inventory(INIT, process(5, "/x", name="a"), socket(6)),
        inventory(INIT, process(5, "/x", name="b"), socket(6, filter_name="arp")),
    ):
        assert bracketed(before, inside, after) == ()


def test_what_the_inside_tells_twice_otherwise_is_told_by_the_outer_looks_outside() -> None:
    """With the view from outside in between, only what it lacks is told: contents are compared the other way about."""
    look = inventory(INIT, process(5, "/x", name="cron"))
    assert bracketed(look, outside(INIT, process(5, "/x", name="kdm")), look) == ()


def test_a_candidate_takes_part_in_no_combination() -> None:
    """A program in shared memory whose lists disagree in one look is no backdoor for that."""
    both = process(812, "/dev/shm/x", seen_by=("pid_table",))  # noqa: S108
    assert {finding.kind for finding in detect(outside(both))} == {
        FindingKind.SHARED_MEMORY_EXECUTION,
        FindingKind.HIDDEN_PROCESS,
    }


def test_one_sample_tells_nothing_of_what_began_later() -> None:
    """A process that began when the look inside was taken, or within the margin before, is not hidden."""
    for seconds in (-1.5, 0, 30):
        late = process(900, "/x", started_at=NOON.timestamp() + seconds)
        assert single(inventory(INIT), outside(INIT, late, taken_at=NOON + timedelta(minutes=1))).findings == ()
    early = process(900, "/x", started_at=NOON.timestamp() - 3)
    assert only(single(inventory(INIT), outside(INIT, early)).findings).subject == "process:900:90000"


def test_a_hidden_thing_may_change_and_stays_hidden() -> None:
    """A process that renames itself and a socket that gets a filter are the same ones throughout."""
    before = outside(INIT, process(5, "/x", name="a"), socket(6))
    after = outside(INIT, process(5, "/x", name="b"), socket(6, filter_name="arp"))
    assert len(bracketed(before, inventory(INIT), after)) == 2


def test_a_packet_socket_of_a_listed_namespace_is_compared_alone() -> None:
    """Where the inside could not enter every namespace, packet sockets of those it listed are compared, no others."""
    there = outside(
        INIT,
        socket(5, network_namespace=6),
        socket(6, network_namespace=7),
        socket(7, family=2, network_namespace=6),
        coverage=COMPLETE,
    )
    inside = partial(inventory(INIT, network_namespaces=(6,)), "packet_sockets")
    told = compare(there, inside, there)
    assert only(told.findings).subject == "socket:5"
    assert told.coverage.missed == 2
    blind = msgspec.structs.replace(
        inside, coverage=(*COMPLETE[:3], Coverage(sensor="packet_sockets", status=CoverageStatus.NONE), COMPLETE[5])
    )
    assert bracketed(there, blind, there) == ()


def test_a_filtered_socket_needs_a_look_at_every_filter() -> None:
    """No table need show a UDP socket with a filter: it is hidden only where every socket was asked."""
    there = outside(INIT, socket(5, family=2, type=2, filter_name="dhcp_raw"))
    assert only(bracketed(there, inventory(INIT), there)).kind is FindingKind.HIDDEN_SOCKET
    assert bracketed(there, partial(inventory(INIT), "socket_filters"), there) == ()


def test_an_inode_with_another_cookie_is_another_socket() -> None:
    """Where both looks tell cookies and they differ, the number was given anew."""
    before, after = outside(INIT, socket(5, cookie=1)), outside(INIT, socket(5, cookie=2))
    assert bracketed(before, inventory(INIT), after) == ()
    first = outside(INIT, socket(5))  # nobody had asked for its cookie yet
    assert len(bracketed(first, inventory(INIT), after)) == 1


def test_clocks_that_disagree_hide_nobody() -> None:
    """In a time namespace every process bears another start time: no process is hidden, and it is said."""
    many = [process(pid, "/x") for pid in range(2, 9)]
    shifted = [process(pid, "/x", start_ticks=100 * pid + 999) for pid in range(2, 9)]
    look = outside(*many)
    told = compare(look, inventory(*shifted), look)
    assert told.findings == ()
    assert "count start times differently for 7 of 7" in told.coverage.detail
    assert told.coverage.missed == 7
    assert len(bracketed(look, inventory(*many[1:], shifted[0]), look)) == 1


def test_a_first_thread_that_has_ended_is_no_zombie_while_it_holds_a_socket() -> None:
    """A process without memory of its own that holds a socket goes on in other threads, and is compared."""
    headless = process(5, "/x", executable=ABSENT, environment=ABSENT)
    look = outside(INIT, headless, socket(7, (5,)))
    assert {found.subject for found in bracketed(look, inventory(INIT, socket(7)), look)} == {"process:5:500"}


@pytest.mark.parametrize(
    ("views", "words"),
    [
        ((Viewpoint.HOST, Viewpoint.HOST, Viewpoint.HOST), "cannot compare looks from host, host and host"),
        ((Viewpoint.HYPERVISOR, Viewpoint.HOST, Viewpoint.HOST), "cannot compare looks from hypervisor, host and host"),
        ((Viewpoint.HYPERVISOR,) * 3, "give two of one side"),
    ],
)
def test_looks_of_one_side_are_no_comparison(views: tuple[Viewpoint, ...], words: str) -> None:
    """Three looks that do not stand around one another are one clear line."""
    looks = [inventory(INIT, viewpoint=view) for view in views]
    with pytest.raises(DoorwatchError, match=words):
        compare(*looks)


def test_looks_of_two_boots_are_no_comparison() -> None:
    """Looks of different boots are refused; the first may lack the id that the kernel makes when first asked."""
    other = msgspec.structs.replace(HOST, boot_id="another")
    unknown = msgspec.structs.replace(HOST, boot_id="")
    for hosts in ((HOST, other, HOST), (other, HOST, HOST), (HOST, unknown, HOST), (HOST, HOST, unknown)):
        before, between, after = hosts
        with pytest.raises(DoorwatchError, match="one boot of one host"):
            compare(outside(host=before), inventory(host=between), outside(host=after))
    assert compare(outside(host=unknown), inventory(), outside()).findings == ()


def test_an_older_image_says_nothing() -> None:
    """An image from before the look inside cannot tell what was there during it."""
    inside = inventory(INIT)
    assert single(inside, outside(INIT), imaged_at=NOON).findings == ()
    with pytest.raises(DoorwatchError, match="older"):
        single(inside, outside(INIT, EVIL), imaged_at=NOON - timedelta(seconds=1))
    with pytest.raises(DoorwatchError, match="older"):
        single(inside, outside(INIT, taken_at=NOON - timedelta(seconds=1)))
    with pytest.raises(DoorwatchError, match="one from each side"):
        single(inside, inside)


def test_one_sample_does_not_compare_what_may_have_changed() -> None:
    """After one look inside a process may have run another program; only its absence is told."""
    inside = inventory(INIT, process(5, "/a", inode=1))
    assert single(inside, outside(INIT, process(5, "/b", inode=2))).findings == ()


def test_one_sample_leaves_what_has_no_start_undecided() -> None:
    """Sockets, modules and eBPF objects that the earlier look inside lacks are counted."""
    told = single(inventory(INIT), outside(INIT, socket(5), module(), BpfProgram(id=4)))
    assert told.findings == ()
    assert "one sample, 1 sockets undecided" in told.coverage.detail
    assert told.coverage.missed == 3


def test_a_clock_that_was_set_dates_nothing() -> None:
    """Set back by an hour, the clock makes what began after the look inside seem older than it: that is said."""
    later = process(900, "/x", started_at=NOON.timestamp() - 3000)
    told = single(inventory(INIT), outside(msgspec.structs.replace(INIT, started_at=INIT.started_at - 3600), later))
    assert told.findings == ()
    assert "clock was set" in told.coverage.detail
    assert told.coverage.missed == 2


def test_without_a_view_from_inside_nothing_was_compared() -> None:
    """A look from outside alone says that there was nothing to compare it with."""
    told = not_compared(outside(INIT))
    (entry,) = (each for each in told.coverage if each.sensor == "cross_view")
    assert (entry.status, entry.reason) == (CoverageStatus.NONE, Reason.ABSENT)
    assert not_compared(told) == told


UNLINKED = {
    "process": (process(812, "/opt/evil", seen_by=("pid_table",)), EVIL, "it is not in the list of tasks"),
    "process of the table": (
        process(812, "/opt/evil", seen_by=("run_queue", "task_list")),
        EVIL,
        "it is not in the table of process ids",
    ),
    "socket": (
        socket(7, (812,), filter_name="arp", seen_by=("descriptor",)),
        socket(7, (812,), filter_name="arp", seen_by=("descriptor", "packet_sklist")),
        "it is not in its namespace's list of packet sockets",
    ),
    "module": (
        module("evil", seen_by=("module_tree",)),
        module("evil"),
        "it is not in the objects behind /sys/module",
    ),
    "program": (
        BpfProgram(id=4, seen_by=("in_use",)),
        BpfProgram(id=4, seen_by=("prog_idr",)),
        "it is not in the table of BPF programs",
    ),
    "map": (
        BpfMap(id=4, seen_by=("in_use",)),
        BpfMap(id=4, seen_by=("map_idr",)),
        "it is not in the table of BPF maps",
    ),
}


@pytest.mark.parametrize(("torn", "whole", "words"), UNLINKED.values(), ids=UNLINKED)
def test_lists_that_disagree_make_a_candidate(torn: Any, whole: Any, words: str) -> None:
    """One look makes a candidate of unknown verdict; the same under pause makes it malicious; agreement drops it."""
    candidate = only(detect(outside(torn)))
    assert (candidate.standing, candidate.verdict) == (Standing.CANDIDATE, Verdict.UNKNOWN)
    assert words in candidate.reasons
    assert reportable((candidate,)) == ()
    settled = only(confirm((candidate,), outside(torn)))
    assert (settled.standing, settled.verdict, settled.confidence) == (Standing.CONFIRMED, Verdict.MALICIOUS, 0.95)
    assert not any("one look" in reason for reason in settled.reasons)
    assert confirm((candidate,), outside(whole)) == ()
    assert confirm((candidate,), outside()) == ()


@pytest.mark.parametrize(
    "thing",
    [
        process(812, "/opt/evil"),  # a view that asks one list alone
        socket(7, (812,), family=2, seen_by=("descriptor",)),  # a raw socket that was disconnected
        module("m", state="coming", seen_by=("module_list", "module_tree")),
        module("m", state="going", seen_by=("module_list",)),
    ],
)
def test_lists_that_may_disagree_make_none(thing: Any) -> None:
    """Raw sockets that were disconnected and modules on their way in or out are no candidates."""
    assert detect(outside(thing)) == ()


def test_a_list_that_broke_off_makes_no_candidates() -> None:
    """Where one list could not be walked to its end, the others hold more: that is coverage, and no finding."""
    for sensor in ("processes", "packet_sockets", "modules"):
        assert detect(partial(outside(*(torn for torn, _, _ in UNLINKED.values())), sensor)) != detect(
            outside(*(torn for torn, _, _ in UNLINKED.values()))
        )
    assert detect(partial(outside(UNLINKED["process"][0]), "processes")) == ()


def test_from_inside_lists_are_not_compared() -> None:
    """A host sensor's interfaces show different things by nature."""
    torn: list[Any] = [each for each, _, _ in UNLINKED.values()]
    assert detect(inventory(*torn)) == ()


def test_where_the_pause_could_not_look_a_difference_stays_as_it_was() -> None:
    """Neither confirmed nor dropped: could not look is not clean."""
    found = bracketed(outside(INIT, EVIL), inventory(INIT), outside(INIT, EVIL))
    candidate = detect(outside(UNLINKED["process"][0]))
    blind = partial(outside(INIT), "processes")
    assert confirm((*found, *candidate), blind) == (*found, *candidate)
    assert confirm(candidate, partial(outside(UNLINKED["process"][0]), "processes")) == candidate


def test_another_boot_confirms_nothing() -> None:
    """After a restart what was found before is not confirmed, whatever is there now."""
    found = bracketed(outside(INIT, EVIL), inventory(INIT), outside(INIT, EVIL))
    rebooted = outside(INIT, EVIL, host=msgspec.structs.replace(HOST, boot_id="another"))
    assert confirm(found, rebooted) == ()


def test_other_findings_pass_confirmation_unchanged() -> None:
    """A finding that is no difference between views is not this function's to judge."""
    other = detect(inventory(process(5, "/dev/shm/y")))  # noqa: S108
    assert other
    assert confirm(other, outside()) == other


def test_a_candidate_is_never_told() -> None:
    """The ledger neither opens nor changes a finding for a candidate, and keeps open what was confirmed."""
    torn = outside(UNLINKED["process"][0])
    candidate = detect(torn)
    ledger, events = advance(Ledger(), candidate, torn)
    assert (events, ledger.open) == ((), {})
    confirmed = confirm(candidate, torn)
    ledger, events = advance(ledger, confirmed, torn)
    assert [event.change for event in events] == [Change.OPENED]
    ledger, events = advance(ledger, candidate, torn)
    assert events == ()
    (entry,) = ledger.open.values()
    assert entry.finding.standing is Standing.CONFIRMED
    _, events = advance(ledger, (), outside(EVIL))
    assert [event.change for event in events] == [Change.GONE]


def test_what_a_second_view_lacked_is_gone_only_by_a_comparison() -> None:
    """A complete look from outside alone closes no difference between views; one that was compared does."""
    look = outside(INIT, EVIL)
    told = compare(look, inventory(INIT), look)
    ledger, events = advance(Ledger(), told.findings, told.told_of(look))
    assert [event.change for event in events] == [Change.OPENED]
    assert advance(ledger, (), look)[1] == ()
    agreed = compare(look, inventory(INIT, EVIL), look)
    assert [event.change for event in advance(ledger, agreed.findings, agreed.told_of(look))[1]] == [Change.GONE]
    (ended,) = advance(ledger, (), outside(INIT))[1]
    assert "the process has ended" in ended.finding.explanation


GONE = {
    "module": (THINGS["module"][0], "modules", "the module was removed"),
    "program": (THINGS["program"][0], "bpf_objects", "the program was unloaded"),
    "map": (THINGS["map"][0], "bpf_objects", "the map was removed"),
    "link": (THINGS["link"][0], "bpf_objects", "the link was removed"),
    "socket": (THINGS["socket"][0], "packet_sockets", "the socket is closed"),
}


@pytest.mark.parametrize(("thing", "sensor", "words"), GONE.values(), ids=GONE)
def test_a_full_list_without_the_thing_ends_it(thing: Any, sensor: str, words: str) -> None:
    """What is in no list any more is gone, although nothing was compared; a list that broke off ends nothing."""
    look = outside(INIT, thing)
    told = compare(look, inventory(INIT), look)
    ledger, _ = advance(Ledger(), told.findings, look)
    (event,) = advance(ledger, (), outside(INIT))[1]
    assert words in event.finding.explanation
    assert advance(ledger, (), partial(outside(INIT), sensor))[1] == ()
    assert advance(ledger, (), look)[1] == ()


@settings(max_examples=60)
@given(values(Inventory), values(Inventory), values(Inventory))
def test_any_looks_are_compared(before: Inventory, between: Inventory, after: Inventory) -> None:
    """Whatever hostile views show: an answer or one clear line, the same again, and every finding makes a document."""
    before, after = (
        msgspec.structs.replace(look, viewpoint=Viewpoint.HYPERVISOR, host=HOST) for look in (before, after)
    )
    between = msgspec.structs.replace(between, viewpoint=Viewpoint.AGENT, host=HOST, coverage=COMPLETE)
    told = compare(before, between, after)
    assert compare(before, between, after) == told
    for finding in (*told.findings, *confirm(told.findings, after)):
        event = FindingEvent(change=Change.OPENED, finding=finding, at=NOON, first_seen=NOON, sequence=0)
        assert check(finding_document(event).body) == ()
    assert msgspec.json.decode(msgspec.json.encode(told.coverage), type=Coverage) == told.coverage


def test_the_classic_program_itself_is_compared() -> None:
    """Two classic filters of one length with different instructions differ."""
    there, shown = socket(5, filter_name="arp"), classic("arp")
    first = shown.program[0]
    forged = msgspec.structs.replace(shown, program=(msgspec.structs.replace(first, k=first.k + 1), *shown.program[1:]))
    look = outside(INIT, there)
    assert len(bracketed(look, inventory(INIT, socket(5, filter=forged)), look)) == 1
    assert bracketed(look, inventory(INIT, socket(5, filter=shown)), look) == ()


def test_a_deleted_executable_is_no_other_file() -> None:
    """The word deleted may come between two looks; the path decides."""
    look = outside(INIT, process(5, "/x", executable=executable("/x", deleted=True)))
    assert bracketed(look, inventory(INIT, process(5, "/x")), look) == ()


def test_a_candidate_that_nobody_confirms_is_a_gap() -> None:
    """What one look at a running guest showed is not told, and the look does not read as if nothing had been there."""
    torn = inventory(process(5, "/usr/bin/p", seen_by=("pid_table",)), viewpoint=Viewpoint.HYPERVISOR)
    found = detect(torn)
    assert reportable(found) == ()
    (gap,) = undecided(torn, found).gaps
    assert (gap.sensor, gap.status, gap.missed) == ("cross_view", CoverageStatus.PARTIAL, 1)
    assert "process:5:500" in gap.detail
    assert undecided(torn, ()) == torn
    compared = not_compared(torn)
    (both,) = undecided(compared, found).gaps
    assert both.detail.startswith(compared.gaps[0].detail)
    assert (both.reason, both.missed) == (compared.gaps[0].reason, 1)


def test_a_hidden_process_that_is_ending_under_pause_is_let_go() -> None:
    """What both looks outside showed and has ended by the time the guest stands still is not there to be told of."""
    hidden = process(5, "/usr/bin/p")
    before, after = (inventory(hidden, viewpoint=Viewpoint.HYPERVISOR) for _ in range(2))
    (found,) = bracketed(before, inventory(), after)
    still = inventory(hidden, viewpoint=Viewpoint.HYPERVISOR)
    ending = inventory(msgspec.structs.replace(hidden, state="ended"), viewpoint=Viewpoint.HYPERVISOR)
    assert [each.standing for each in confirm([found], still)] == [Standing.CONFIRMED]
    assert confirm([found], ending) == ()
