"""All questions together, and what several answers on one process add up to."""

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.detectors import detect
from beat_bridge.ecs.fields import check
from beat_bridge.ecs.findings import finding_document
from beat_bridge.model.base import Reason, Unavailable, Verdict
from beat_bridge.model.filters import FilterKind, SocketFilter
from beat_bridge.model.findings import Change, Finding, FindingEvent, FindingKind
from beat_bridge.model.inventory import Inventory, decode, encode
from beat_bridge.model.processes import Environment
from tests.inventories.builders import NOON, bpfdoor, hook, inventory, pid_file, process, socket
from tests.inventories.strategies import values

SHELL = Environment(count=5, signs=("HISTFILE=/dev/null", "HOME=/tmp", "MYSQL_HISTFILE=/dev/null"))
EBPF = SocketFilter(kind=FilterKind.EBPF)


def combined(seen: Inventory) -> list[Finding]:
    """The findings that combine others."""
    return [finding for finding in detect(seen) if finding.kind is FindingKind.BACKDOOR_PROCESS]


def test_bpfdoor_is_found_in_every_respect() -> None:
    """A host with BPFDoor on it answers five questions with yes, and the last one sums them up."""
    findings = detect(bpfdoor())
    assert [finding.kind for finding in findings] == [
        FindingKind.SOCKET_FILTER,
        FindingKind.MASQUERADE,
        FindingKind.SHARED_MEMORY_EXECUTION,
        FindingKind.ABNORMAL_PID_FILE,
        FindingKind.BACKDOOR_PROCESS,
    ]
    *parts, whole = findings
    assert {finding.verdict for finding in findings} == {Verdict.MALICIOUS}
    assert whole.related == tuple(sorted(finding.key for finding in parts))
    assert whole.confidence == 0.99 > max(finding.confidence for finding in parts)
    assert whole.subject == "process:812:81200"
    assert {"T1205.002", "T1036.011", "T1564", "T1480.002", "T1070.006", "T1036.009"} <= set(whole.techniques)
    assert whole.socket == bpfdoor().sockets[0]
    assert whole.judgement is not None
    assert whole.pid_file == bpfdoor().pid_files[0]
    assert all(reason in whole.reasons for finding in parts for reason in finding.reasons)


def test_doubts_multiply() -> None:
    """Two kinds of 0.7 and 0.5 make 1 - 0.3 * 0.5 = 0.85, and stay suspicious where neither is malicious."""
    lying = process(812, "/usr/sbin/rpcinfod", ("abrtd",), parent_pid=2)
    (finding,) = combined(inventory(lying, socket(9, (812,), "tcpdump_http")))
    assert (finding.confidence, finding.verdict) == (0.85, Verdict.SUSPICIOUS)


def test_one_malicious_part_makes_a_malicious_whole() -> None:
    """A secret filter and a false name together are malicious."""
    lying = process(812, "/usr/sbin/rpcinfod", ("abrtd",))
    (finding,) = combined(inventory(lying, socket(9, (812,), "bpfdoor")))
    assert (finding.confidence, finding.verdict) == (0.98, Verdict.MALICIOUS)


def test_two_of_one_kind_do_not_combine() -> None:
    """Two secret filters on one process are two findings, not a third."""
    seen = inventory(process(812, "/usr/sbin/x"), socket(8, (812,), "bpfdoor"), socket(9, (812,), "bpfdoor"))
    assert combined(seen) == []


def test_findings_on_two_processes_do_not_combine() -> None:
    """A false name here and a filter there stay apart."""
    seen = inventory(
        process(811, "/usr/sbin/rpcinfod", ("abrtd",)), process(812, "/usr/sbin/x"), socket(9, (812,), "bpfdoor")
    )
    assert combined(seen) == []


def test_a_shared_socket_counts_for_every_holder() -> None:
    """A backdoor's worker that inherited the socket is found with it, though another process opened it."""
    seen = inventory(
        process(811, "/usr/sbin/x", start_ticks=1),
        process(812, "/usr/sbin/rpcinfod", ("abrtd",)),
        socket(9, (811, 812), "bpfdoor"),
    )
    assert [finding.subject for finding in combined(seen)] == ["process:812:81200"]


SIGNS: dict[str, tuple[dict[str, Any], float]] = {
    # what the process shows besides a false name (0.7) and an unread filter (0.2), and the confidence it leads to
    "nothing": ({}, 0.76),
    "a backdoor's shell": ({"environment": SHELL}, 0.88),
    "an empty environment": ({"environment": Environment(count=0)}, 0.78),
    "detached": ({"parent_pid": 1, "stdio_null": True}, 0.78),
    "detached, but not from its terminal": ({"parent_pid": 1}, 0.76),
    "detached, but nobody could look": ({"parent_pid": 1, "stdio_null": Unavailable(reason=Reason.REFUSED)}, 0.76),
    "not its session's leader": ({"parent_pid": 1, "stdio_null": True, "session_id": 1}, 0.76),
    "not under init": ({"stdio_null": True}, 0.76),
    "two of the shell's three signs": ({"environment": Environment(count=5, signs=SHELL.signs[:2])}, 0.76),
    "an environment that could not be read": ({"environment": Unavailable(reason=Reason.REFUSED)}, 0.76),
}


@pytest.mark.parametrize(("changes", "confidence"), SIGNS.values(), ids=SIGNS)
def test_small_signs_count_only_in_company(changes: dict[str, Any], confidence: float) -> None:
    """Environment, session and standard streams move a combination by their weight, and make no finding alone."""
    fields = {"parent_pid": 2, **changes}
    lying = process(812, "/usr/sbin/rpcinfod", ("abrtd",), **fields)
    (finding,) = combined(inventory(lying, socket(9, (812,), filter=EBPF)))
    assert finding.confidence == confidence
    assert detect(inventory(process(812, "/usr/sbin/rpcinfod", **fields))) == ()


def test_a_healthy_host_is_quiet() -> None:
    """Daemons as a server runs them, with their sockets and files, make no finding at all."""
    seen = inventory(
        process(1, "/usr/lib/systemd/systemd", ("/sbin/init",), parent_pid=0),
        process(2, "", (), kernel_thread=True, executable=Unavailable(reason=Reason.ABSENT), parent_pid=0),
        process(300, "/usr/lib/systemd/systemd-networkd", stdio_null=True),
        process(301, "/usr/sbin/sshd", ("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups",)),
        process(302, "/usr/sbin/dhclient", ("/sbin/dhclient", "eth0"), stdio_null=True),
        process(303, "/usr/sbin/chronyd", deleted=True, replaced=True),
        process(304, "/usr/bin/dockerd"),
        process(305, "/usr/bin/podman", ("podman", "run")),
        process(306, "/memfd:runc_cloned:/proc/self/exe", ("runc", "init"), memfd=True, deleted=True),
        process(307, "/usr/bin/python3.11", ("/usr/bin/python3", "/usr/bin/fail2ban-server"), stdio_null=True),
        socket(1, (300,), "systemd_dhcp", type=2),
        socket(2, (300,), "lldpd"),
        socket(3, (302,), "dhclient"),
        pid_file("/run/sshd.pid", content="301\n", size=4),
        pid_file("/run/docker.pid", content="304", size=3),
        pid_file("/run/mountpoints.lock", locked_by=(305,)),
        pid_file("/run/fail2ban.lock", locked_by=(307,)),
        hook(actual="__x64_sys_bpf"),
    )
    assert detect(seen) == ()


def test_what_could_not_be_looked_at_makes_no_finding_by_itself() -> None:
    """An inventory in which nothing could be read is a gap, which coverage tells, and no finding."""
    refused = Unavailable(reason=Reason.REFUSED, detail="EACCES")
    blind = process(
        5, "/x", refused, executable=refused, environment=refused, user_id=refused, stdio_null=refused, name="udevd"
    )
    assert detect(inventory(blind, coverage=())) == ()


def test_of_two_stories_about_one_thing_the_worse_is_told() -> None:
    """Where a torn inventory names one hook twice, the malicious finding stays, whichever came first."""
    weak, strong = hook(surface="ftrace", owner="edr"), hook(surface="ftrace")
    for things in ((weak, strong), (strong, weak)):
        assert [finding.verdict for finding in detect(inventory(*things))] == [Verdict.MALICIOUS]


@given(st.integers())
@settings(max_examples=30)
def test_the_order_of_an_inventory_does_not_matter(seed: int) -> None:
    """However the sensors list things, the findings are the same, in the same order."""
    seen = inventory(
        *bpfdoor().processes,
        *bpfdoor().sockets,
        *bpfdoor().pid_files,
        process(5, "/dev/shm/y"),  # noqa: S108
        socket(7, (5, 812), "tcpdump_http"),
        socket(8),
        hook(),
        hook(symbol="__x64_sys_read"),
    )
    random = Random(seed)  # noqa: S311 - an order, not a secret
    shuffled = {
        name: tuple(random.sample(getattr(seen, name), len(getattr(seen, name))))
        for name in ("processes", "sockets", "pid_files", "hooks")
    }
    assert detect(msgspec.structs.replace(seen, **shuffled)) == detect(seen)


@settings(max_examples=100)
@given(values(Inventory))
def test_any_inventory_is_answered(seen: Inventory) -> None:
    """Whatever a hostile host shows: an answer, the same again, each key once, and every finding makes a document."""
    findings = detect(seen)
    assert detect(seen) == findings
    assert len({finding.key for finding in findings}) == len(findings)
    for finding in findings:
        assert 0 <= finding.confidence <= 1
        assert finding.verdict is not Verdict.BENIGN
        event = FindingEvent(change=Change.OPENED, finding=finding, at=NOON, first_seen=NOON, sequence=0)
        assert check(finding_document(event).body) == ()


def test_a_recorded_inventory_gives_the_same_findings() -> None:
    """An inventory that was written to a file and read back is judged alike."""
    assert detect(decode(encode(bpfdoor()), "file")) == detect(bpfdoor())
