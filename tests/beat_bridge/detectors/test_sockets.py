"""Socket filters, and sockets that nobody holds."""

from typing import Any

import pytest

from beat_bridge.detectors import detect, scene
from beat_bridge.model.base import Reason, Unavailable, Verdict
from beat_bridge.model.filters import FilterKind, Instruction, SocketFilter
from beat_bridge.model.findings import Finding, FindingKind
from beat_bridge.model.processes import Process
from beat_bridge.model.sockets import Socket
from tests.inventories.builders import (
    AF_INET,
    AF_INET6,
    AF_NETLINK,
    AF_PACKET,
    AF_UNIX,
    DGRAM,
    RAW,
    inventory,
    process,
    program_filter,
    socket,
)
from tests.inventories.filters import parse

EBPF = SocketFilter(kind=FilterKind.EBPF, unavailable=Unavailable(reason=Reason.REFUSED, detail="EACCES"))
UNASKED = SocketFilter(
    kind=FilterKind.UNKNOWN, unavailable=Unavailable(reason=Reason.REFUSED, detail="ptrace_scope is 3")
)
EVIL = process(812, "/usr/sbin/x")


def found(*things: Process | Socket, kind: FindingKind = FindingKind.SOCKET_FILTER) -> list[Finding]:
    """What is said of sockets."""
    return [finding for finding in detect(inventory(*things)) if finding.kind is kind]


def test_a_backdoors_filter_is_malicious_and_explained() -> None:
    """The filter of the public BPFDoor source is found, with what it waits for, who holds it and the technique."""
    (finding,) = found(EVIL, socket(9, (812,), "bpfdoor"))
    assert (finding.verdict, finding.confidence, finding.subject) == (Verdict.MALICIOUS, 0.95, "socket:9")
    assert finding.techniques == ("T1205.002",)
    assert finding.process == EVIL
    assert finding.judgement is not None
    assert {magic.value for magic in finding.judgement.magic} == {0x7255, 0x5293}
    assert "/usr/sbin/x" in finding.explanation


@pytest.mark.parametrize("path", ["/usr/sbin/dhclient", "/usr/bin/tcpdump", "/usr/sbin/NetworkManager"])
def test_a_known_holder_does_not_whiten_a_malicious_filter(path: str) -> None:
    """A backdoor's filter in dhclient's hands stays malicious, and the reasons speak of the holder."""
    (finding,) = found(process(812, path), socket(9, (812,), "bpfdoor"))
    assert finding.verdict is Verdict.MALICIOUS
    assert any("ordinarily holds such sockets" in reason for reason in finding.reasons)


ORDINARY: dict[str, tuple[str, str, dict[str, Any]]] = {
    "dhclient": ("/usr/sbin/dhclient", "dhclient", {}),
    "dhcpcd": ("/usr/sbin/dhcpcd", "dhcp_raw", {"type": DGRAM}),
    "NetworkManager": ("/usr/sbin/NetworkManager", "systemd_dhcp", {"type": DGRAM}),
    "NetworkManager's LLDP": ("/usr/sbin/NetworkManager", "lldpd", {}),
    "systemd-networkd": ("/usr/lib/systemd/systemd-networkd", "systemd_dhcp", {"type": DGRAM}),
    "wpa_supplicant": ("/usr/sbin/wpa_supplicant", "eapol", {}),
    "lldpd": ("/usr/sbin/lldpd", "lldpd", {}),
    "tailscaled": ("/usr/sbin/tailscaled", "tailscaled", {"type": DGRAM}),
    "packetbeat": ("/usr/share/packetbeat/bin/packetbeat", "packetbeat", {}),
    "tcpdump on a port": ("/usr/bin/tcpdump", "tcpdump_port", {}),
    "tcpdump on flags": ("/usr/bin/tcpdump", "tcpdump_syn", {}),
    "tcpdump on a port that equals a magic constant": ("/usr/bin/tcpdump", "tcpdump_magic_port", {}),
    "tcpdump on HTTP": ("/usr/bin/tcpdump", "tcpdump_http", {}),
    "MetalLB's speaker": ("/speaker", "arp", {"type": DGRAM}),
    "ping": ("/usr/bin/ping", "ping", {"family": AF_INET, "type": RAW, "protocol": 1}),
    "udev's monitor": ("/usr/bin/udevadm", "libudev", {"family": AF_NETLINK, "protocol": 15}),
    "a backdoor's filter where no packet comes": ("/usr/bin/x", "bpfdoor", {"family": AF_UNIX, "type": DGRAM}),
    "no filter": ("/usr/bin/tcpdump", "", {}),
    "eBPF on a datagram socket": (
        "/usr/bin/x",
        "",
        {"family": AF_INET, "type": DGRAM, "protocol": 17, "filter": EBPF},
    ),
    "a datagram socket that could not be asked": (
        "/usr/bin/x",
        "",
        {"family": AF_INET, "type": DGRAM, "protocol": 17, "filter": UNASKED},
    ),
}


@pytest.mark.parametrize(("path", "filter_name", "changes"), ORDINARY.values(), ids=ORDINARY)
def test_ordinary_filters_are_quiet(path: str, filter_name: str, changes: dict[str, Any]) -> None:
    """What DHCP clients, link managers and people with tcpdump attach makes no finding at all."""
    assert detect(inventory(process(812, path), socket(9, (812,), filter_name, **changes))) == ()


@pytest.mark.parametrize("holder", [None, process(812, "/opt/x"), process(812, "/home/kim/tcpdump")])
def test_a_capture_of_public_words_by_something_else_is_suspicious(holder: Process | None) -> None:
    """A filter for HTTP is left alone in tcpdump's hands only: not in another's, a copy's, or nobody's."""
    (finding,) = found(*(() if holder is None else (holder,)), socket(9, (812,), "tcpdump_http"))
    assert (finding.verdict, finding.confidence) == (Verdict.SUSPICIOUS, 0.5)


def test_a_capture_shared_with_something_else_is_suspicious() -> None:
    """One holder that is no capture program is enough."""
    things = (process(811, "/usr/bin/tcpdump"), process(812, "/opt/x"), socket(9, (811, 812), "tcpdump_http"))
    assert [finding.verdict for finding in found(*things)] == [Verdict.SUSPICIOUS]


@pytest.mark.parametrize("unread", [EBPF, UNASKED])
@pytest.mark.parametrize(
    "place",
    [
        {"family": AF_PACKET, "type": RAW},
        {"family": AF_PACKET, "type": DGRAM},
        {"family": AF_INET, "type": RAW, "protocol": 1},
        {"family": AF_INET6, "type": RAW, "protocol": 58},
    ],
)
def test_a_filter_that_could_not_be_read_is_unknown(unread: SocketFilter, place: dict[str, Any]) -> None:
    """An eBPF or unreadable filter on a packet or raw socket is told as unknown, with what stood in the way."""
    (finding,) = found(process(812, "/usr/sbin/NetworkManager"), socket(9, (812,), filter=unread, **place))
    assert (finding.verdict, finding.confidence, finding.techniques) == (Verdict.UNKNOWN, 0.2, ())
    assert unread.unavailable is not None
    assert unread.unavailable.detail in finding.explanation


@pytest.mark.parametrize(
    ("place", "program"),
    [
        # the same secret, udp payload 0x7255, as each kind of socket sees it (offsets by net/core/filter.c)
        ({"family": AF_PACKET, "type": RAW}, "4,40 0 0 42,21 0 1 29269,6 0 0 65535,6 0 0 0"),
        ({"family": AF_INET, "type": DGRAM, "protocol": 17}, "4,40 0 0 8,21 0 1 29269,6 0 0 65535,6 0 0 0"),
        ({"family": AF_INET6, "type": DGRAM, "protocol": 17}, "4,40 0 0 8,21 0 1 29269,6 0 0 65535,6 0 0 0"),
        ({"family": AF_INET6, "type": RAW, "protocol": 17}, "4,40 0 0 8,21 0 1 29269,6 0 0 65535,6 0 0 0"),
    ],
)
def test_a_secret_is_found_on_every_kind_of_socket(place: dict[str, Any], program: str) -> None:
    """A filter is read from where its own socket begins to see the packet."""
    (finding,) = found(EVIL, socket(9, (812,), filter=program_filter(parse(program)), **place))
    assert finding.verdict is Verdict.MALICIOUS


def test_a_port_is_no_secret_where_the_header_begins_elsewhere() -> None:
    """The same compare at offset 2 is a UDP port on a datagram socket: what an offset means depends on the socket."""
    port = program_filter(parse("4,40 0 0 2,21 0 1 29269,6 0 0 65535,6 0 0 0"))
    assert found(EVIL, socket(9, (812,), family=AF_INET, type=DGRAM, protocol=17, filter=port)) == []


def test_the_opener_is_named_before_those_who_inherited() -> None:
    """Of several holders the finding names the one that runs longest."""
    child, parent = process(700, "/usr/sbin/x", start_ticks=900), process(701, "/usr/sbin/x", start_ticks=800)
    (finding,) = found(child, parent, socket(9, (700, 701), "bpfdoor"))
    assert finding.process == parent


def test_more_filters_than_one_look_judges_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound a filter is told as unknown and never passes for benign."""
    monkeypatch.setattr(scene, "MOST_PROGRAMS", 1)
    other = program_filter((Instruction(6, 0, 0, 7),))
    verdicts = [finding.verdict for finding in found(EVIL, socket(8, (812,), "arp"), socket(9, (812,), filter=other))]
    assert verdicts == [Verdict.UNKNOWN]


ORPHAN = FindingKind.ORPHAN_SOCKET


@pytest.mark.parametrize(
    "place", [{}, {"type": DGRAM}, {"family": AF_INET, "type": RAW, "protocol": 1}, {"family": AF_INET6, "type": RAW}]
)
def test_a_socket_that_nobody_visibly_holds_is_suspicious(place: dict[str, Any]) -> None:
    """A packet or raw socket without a holder is found where every holder could have been seen."""
    (finding,) = found(socket(9, **place), kind=ORPHAN)
    assert (finding.verdict, finding.confidence, finding.techniques) == (Verdict.SUSPICIOUS, 0.7, ("T1014",))


def test_an_orphan_that_waits_for_a_secret_is_malicious() -> None:
    """Nobody holds it and its filter is a backdoor's."""
    (finding,) = found(socket(9, filter_name="bpfdoor"), kind=ORPHAN)
    assert (finding.verdict, finding.confidence) == (Verdict.MALICIOUS, 0.95)


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(socket(9, (812,)), id="held"),
        pytest.param(socket(9, holders_complete=False), id="not every holder could be seen"),
        pytest.param(socket(9, family=AF_INET, type=DGRAM, protocol=17), id="an ordinary socket"),
        pytest.param(socket(9, family=AF_UNIX, type=RAW), id="raw, but of AF_UNIX"),
        pytest.param(socket(0), id="the kernel's own"),
    ],
)
def test_what_is_no_orphan_is_quiet(seen: Socket) -> None:
    """Near-misses of the orphan, one for each condition: a gap in coverage is no finding."""
    assert found(seen, kind=ORPHAN) == []
