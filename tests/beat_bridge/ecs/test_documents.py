"""Findings, inventories, heartbeats and responses as documents."""

import json
import re
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.ecs.ecs_usage import ECS_USAGE
from beat_bridge.ecs.fields import check, flatten, own_fields
from beat_bridge.ecs.findings import finding_document
from beat_bridge.ecs.heartbeats import heartbeat_document
from beat_bridge.ecs.inventories import inventory_documents
from beat_bridge.ecs.responses import response_document
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Reason, Unavailable, Verdict, Viewpoint
from beat_bridge.model.bridge import BridgeStatus
from beat_bridge.model.documents import serialise
from beat_bridge.model.findings import Change, Finding, FindingEvent, FindingKind
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.processes import Process
from beat_bridge.model.responses import ResponseStep
from tests.inventories.builders import HOST, NOON, SENSORS, bpfdoor, inventory, module, pid_file, process, socket
from tests.inventories.filters import parse, programs
from tests.inventories.samples import HYPERVISOR, documents, event, finding, step
from tests.inventories.strategies import MOMENTS, values


@settings(max_examples=120)
@given(told=values(FindingEvent), namespace=st.sampled_from(["default", "lab.1"]))
def test_any_finding_becomes_a_checked_document(told: FindingEvent, namespace: str) -> None:
    """Whatever a finding holds, its document passes the check, is valid JSON for another parser, and keeps its id."""
    document = finding_document(told, namespace)
    assert check(document.body) == ()
    assert json.loads(serialise(document).source) == document.body
    assert finding_document(told, namespace).id == document.id == document.body["event"]["id"]
    assert re.fullmatch("[0-9a-f]{40}", document.id)


@settings(max_examples=60)
@given(seen=values(Inventory))
def test_any_inventory_becomes_checked_documents(seen: Inventory) -> None:
    """Whatever a pass saw, each document passes the check and is valid JSON for another parser."""
    for document in inventory_documents(seen):
        assert check(document.body) == ()
        assert json.loads(serialise(document).source) == document.body


@settings(max_examples=60)
@given(done=values(ResponseStep))
def test_any_response_becomes_a_checked_document(done: ResponseStep) -> None:
    """Whatever the responder did, its document passes the check and is valid JSON for another parser."""
    document = response_document(done)
    assert check(document.body) == ()
    assert json.loads(serialise(document).source) == document.body


@settings(max_examples=30)
@given(status=values(BridgeStatus), at=MOMENTS)
def test_any_heartbeat_becomes_a_checked_document(status: BridgeStatus, at: Any) -> None:
    """Whatever the counts are, the heartbeat passes the check."""
    assert check(heartbeat_document(HOST, status, at).body) == ()


def test_the_declared_fields_are_the_ones_in_use() -> None:
    """Every ECS field we map and every field of ours appears in some document, and no other does."""
    used = {name for document in documents() for name, _ in flatten(document.body)}
    assert used == {*ECS_USAGE, *own_fields()}


def test_the_observed_host_is_the_host() -> None:
    """host.* names the host that was looked at, down to its boot."""
    host = finding_document(event()).body["host"]
    assert (host["id"], host["name"], host["boot"]["id"]) == (HOST.id, HOST.name, HOST.boot_id)
    assert host["os"] == {"type": "linux", "kernel": "6.1.0-25-amd64", "name": "Debian GNU/Linux"}


def test_who_looked_from_outside_is_the_observer() -> None:
    """host.* stays the guest, observer.* names the machine that looked; without one there is no observer at all."""
    seen = inventory(module(), viewpoint=Viewpoint.HYPERVISOR)
    outside = [
        finding_document(event(), observer=HYPERVISOR),
        *inventory_documents(seen, observer=HYPERVISOR),
    ]
    inside = [finding_document(event()), *inventory_documents(seen)]
    for told, alone in zip(outside, inside, strict=True):
        observer = told.body.pop("observer")
        assert (observer["hostname"], observer["type"]) == (HYPERVISOR.name, "sensor")
        assert told.body["host"]["name"] == HOST.name
        assert told == alone


def test_a_finding_is_an_event_and_no_alert() -> None:
    """event.kind is `event`, so that Elastic's External Alerts rule leaves it alone."""
    assert {document.body["event"]["kind"] for document in documents()} == {"event"}


def test_no_entity_id_is_made_up() -> None:
    """No document has a process.entity_id."""
    assert not [name for document in documents() for name, _ in flatten(document.body) if name.endswith("entity_id")]


def test_the_finding_document_says_what_the_contract_says() -> None:
    """The names that rules and the responder rely on hold the values they expect."""
    body = finding_document(event()).body
    leaves = dict(flatten(body))
    expected = {
        "@timestamp": "2026-01-02T12:00:00.000000Z",
        "data_stream.dataset": "doorwatch.finding",
        "event.action": "finding-opened",
        "event.severity": 99,
        "event.risk_score": 99.0,
        "process.pid": 812,
        "process.name": "udevd",
        "process.executable": "/dev/shm/kdmtmpflush",  # noqa: S108 - the name the backdoor uses
        "process.args": ["/sbin/udevd -d"],
        "process.parent.executable": "/usr/lib/systemd/systemd",
        "process.user.id": "0",
        "threat.technique.id": ["T1036", "T1205", "T1564"],
        "threat.technique.subtechnique.id": ["T1036.005", "T1205.002"],
        "file.path": "/run/haldrund.pid",
        "file.mode": "0644",
        "file.mtime": "2008-10-30T19:17:16.000000Z",
        "doorwatch.finding.kind": "backdoor_process",
        "doorwatch.finding.state": "opened",
        "doorwatch.filter.magic": ["udp[8:2] = 0x7255"],
        "doorwatch.filter.instructions": 23,
        "doorwatch.socket.family": "AF_PACKET",
        "doorwatch.socket.type": "SOCK_RAW",
        "doorwatch.socket.holders": [812],
        "doorwatch.process.start_ticks": 81200,
        "doorwatch.process.deleted": True,
        "doorwatch.process.filesystem": "tmpfs",
        "doorwatch.hook.actual": "0xffffffffc0a01000",
    }
    assert {name: leaves.get(name) for name in expected} == expected


def test_the_program_in_a_document_is_the_program() -> None:
    """What stands in doorwatch.filter.program reads back as the same instructions."""
    body = finding_document(event()).body
    assert parse(body["doorwatch"]["filter"]["program"]) == programs()["bpfdoor"]


def test_what_could_not_be_read_is_named() -> None:
    """An unavailable executable is listed with its reason, and the field itself is left out."""
    gone = process(7, "/x", executable=Unavailable(reason=Reason.REFUSED, detail="readlink: Permission denied"))
    body = finding_document(event(finding(process=gone))).body
    assert body["doorwatch"]["unavailable"] == ["process.executable: refused: readlink: Permission denied"]
    assert "executable" not in body["process"]


@pytest.mark.parametrize("namespace", ["", "Default", "a-b", "a b", "x" * 101, "a/b", "a\n"])
def test_a_namespace_elasticsearch_refuses_is_refused_here(namespace: str) -> None:
    """A namespace that is no part of a data stream's name is one clear line."""
    with pytest.raises(DoorwatchError, match="namespace"):
        finding_document(event(), namespace)


def test_told_again_a_finding_keeps_its_id() -> None:
    """The id does not depend on when the event is told, only on what and how often."""
    first = finding_document(event())
    later = finding_document(event(at=NOON.replace(hour=13), first_seen=NOON.replace(hour=13)))
    assert later.id == first.id


@pytest.mark.parametrize(
    "other",
    [
        event(sequence=1),
        event(change=Change.CHANGED),
        event(finding(subject="process:813:81300")),
        event(finding(reasons=("another",))),
        event(finding(host=msgspec.structs.replace(HOST, boot_id="another"))),
    ],
)
def test_another_event_has_another_id(other: FindingEvent) -> None:
    """Sequence, change, subject, evidence and boot each make another id."""
    assert finding_document(other).id != finding_document(event()).id


def test_noteworthy_sockets_and_coverage_are_told() -> None:
    """Packet and raw sockets, filtered sockets and sockets that could not be asked get a document; others do not."""
    seen = inventory(
        socket(1),
        socket(2, family=2, type=3, protocol=1),
        socket(3, family=2, type=2, filter_name="dhcp_raw"),
        socket(4, family=2, type=1),
        process(9, "/usr/sbin/sshd"),
    )
    bodies = [document.body for document in inventory_documents(seen)]
    assert [body["doorwatch"]["coverage"]["sensor"] for body in bodies[: len(SENSORS)]] == [*SENSORS]
    assert [body["doorwatch"]["socket"]["inode"] for body in bodies[len(SENSORS) :]] == [1, 2, 3]


def test_documents_of_one_pass_have_distinct_ids() -> None:
    """No two documents of a pass share an id, and the next pass has others."""
    first = [document.id for document in inventory_documents(bpfdoor())]
    later = msgspec.structs.replace(bpfdoor(), taken_at=NOON.replace(minute=1))
    second = [document.id for document in inventory_documents(later)]
    assert len({*first, *second}) == len(first) + len(second)


@pytest.mark.parametrize(
    ("verdict", "confidence", "expected"),
    [
        (Verdict.MALICIOUS, 0.9, 99),
        (Verdict.MALICIOUS, 0.89, 73),
        (Verdict.SUSPICIOUS, 0.99, 47),
        (Verdict.UNKNOWN, 0.2, 21),
    ],
)
def test_severity_follows_verdict_and_confidence(verdict: Verdict, confidence: float, expected: int) -> None:
    """Only a malicious verdict that is as good as certain is critical."""
    told = event(finding(verdict=verdict, confidence=confidence))
    assert finding_document(told).body["event"]["severity"] == expected


def test_a_pid_file_finding_needs_no_process() -> None:
    """A file that nobody holds makes a document without process fields."""
    alone = Finding(
        kind=FindingKind.ABNORMAL_PID_FILE,
        host=HOST,
        viewpoint=Viewpoint.HOST,
        subject="file:/run/haldd.pid",
        verdict=Verdict.SUSPICIOUS,
        confidence=0.4,
        explanation="empty",
        pid_file=pid_file(born_at=Unavailable(reason=Reason.UNSUPPORTED)),
    )
    body = finding_document(event(alone)).body
    assert check(body) == ()
    assert "process" not in body
    assert body["doorwatch"]["unavailable"] == ["file.created: unsupported"]


def test_a_kernel_threads_missing_executable_is_said() -> None:
    """A process without an executable is told with the word absent, not with an empty path."""
    thread: Process = process(2, "/x", (), executable=Unavailable(reason=Reason.ABSENT), kernel_thread=True)
    body = finding_document(event(finding(process=thread))).body
    assert "process.executable: absent" in body["doorwatch"]["unavailable"]


def test_a_response_tells_how_long_it_took() -> None:
    """From the incident's first alert to the step, in nanoseconds; a clock that was set back makes no negative time."""
    told = response_document(step()).body["event"]
    assert (told["start"], told["duration"]) == ("2026-01-02T11:59:57.500000Z", 2_500_000_000)
    assert response_document(step(incident_opened_at=NOON + timedelta(hours=1))).body["event"]["duration"] == 0
    assert "duration" not in response_document(step(incident_opened_at=None)).body["event"]
