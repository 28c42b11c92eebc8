"""Does a socket wait for a packet that only its owner's friend would send?

Every classic filter that hears the network is judged by what it demands (beat_bridge.cbpf). Confidence: 0.95 where
every accepting path was followed and the demand is a backdoor's, 0.9 where some path could not be followed, 0.5 where
a person might sniff for the same, 0.2 where the filter could not be judged at all. Who holds the socket does not
whiten a malicious filter: a backdoor injected into dhclient is still one. Only a merely suspicious filter is left
alone in the hands of an installed capture program.
"""

from collections.abc import Iterator, Sequence

import msgspec

from beat_bridge.detectors.locations import base_name, is_system
from beat_bridge.detectors.scene import AF_PACKET, Scene, called, is_capturing
from beat_bridge.model.base import Verdict
from beat_bridge.model.filters import FilterJudgement, FilterKind
from beat_bridge.model.findings import Finding, FindingKind
from beat_bridge.model.processes import Executable, Process
from beat_bridge.model.sockets import Socket

TRAFFIC_SIGNALING = "T1205.002"
"""ATT&CK: Traffic Signaling: Socket Filters."""
USUAL_HOLDERS = frozenset(
    [
        "NetworkManager",
        "arping",
        "arpwatch",
        "avahi-daemon",
        "chronyd",
        "dhclient",
        "dhcpcd",
        "dhcpd",
        "dnsmasq",
        "dumpcap",
        "hostapd",
        "keepalived",
        "lldpd",
        "nm-dhcp-helper",
        "packetbeat",
        "ping",
        "pppoe",
        "speaker",
        "suricata",
        "systemd-networkd",
        "tailscaled",
        "tcpdump",
        "tshark",
        "udhcpc",
        "wpa_supplicant",
        "zeek",
    ]
)
"""Programs that hold packet or raw sockets in the ordinary course."""
_CONFIDENCE = {Verdict.MALICIOUS: 0.95, Verdict.SUSPICIOUS: 0.5, Verdict.UNKNOWN: 0.2}
_INCOMPLETE = 0.9


def find(scene: Scene) -> Iterator[Finding]:
    """A finding for each socket whose filter is not benign."""
    for socket in scene.inventory.sockets:
        judgement = scene.judgement(socket)
        if judgement is None:
            judgement = _unread(socket)
        if judgement is not None and not _is_ordinary(judgement, scene.holders(socket)):
            yield _finding(scene, socket, judgement)


def _is_ordinary(judgement: FilterJudgement, holders: Sequence[Process]) -> bool:
    """Benign; or a person's capture: a filter for words of a public protocol, held by nothing but capture programs."""
    if judgement.verdict is not Verdict.SUSPICIOUS:
        return judgement.verdict is Verdict.BENIGN
    return bool(holders) and all(_is_usual(process) for process in holders)


def _is_usual(process: Process) -> bool:
    executable = process.executable
    return (
        isinstance(executable, Executable)
        and base_name(executable.path) in USUAL_HOLDERS
        and is_system(executable.path)
        and (not executable.deleted or executable.replaced)
    )


def _unread(socket: Socket) -> FilterJudgement | None:
    """A packet or raw socket whose filter could not be read is unknown, never benign."""
    if not is_capturing(socket):
        return None
    if socket.filter.kind is FilterKind.EBPF:
        words = "The filter is an eBPF program, which could not be read"
    elif socket.filter.kind is FilterKind.UNKNOWN:
        words = "The filter could not be asked for"
    else:
        return None
    if socket.filter.unavailable is not None and socket.filter.unavailable.detail:
        words = f"{words}: {socket.filter.unavailable.detail}"
    return FilterJudgement(verdict=Verdict.UNKNOWN, summary=f"{words.rstrip('.')}.", complete=False)


def _finding(scene: Scene, socket: Socket, judgement: FilterJudgement) -> Finding:
    holders = scene.holders(socket)
    opener = holders[0] if holders else None
    who = called(opener) if opener else "nobody that could be seen"
    confidence = _CONFIDENCE[judgement.verdict]
    if judgement.verdict is Verdict.MALICIOUS and not judgement.complete:
        confidence = _INCOMPLETE
    found = scene.finding(
        FindingKind.SOCKET_FILTER,
        f"socket:{socket.inode}",
        verdict=judgement.verdict,
        confidence=confidence,
        explanation=f"{_kind_of(socket)} held by {who} carries a filter. {judgement.summary}",
        reasons=(*judgement.reasons, *_about_holders(holders)),
        techniques=() if judgement.verdict is Verdict.UNKNOWN else (TRAFFIC_SIGNALING,),
        process=opener,
        socket=socket,
    )
    return msgspec.structs.replace(found, judgement=judgement)


def _kind_of(socket: Socket) -> str:
    if socket.family == AF_PACKET:
        return f"Packet socket {socket.inode}"
    return f"Raw socket {socket.inode}" if is_capturing(socket) else f"Socket {socket.inode}"


def _about_holders(holders: Sequence[Process]) -> Iterator[str]:
    for process in holders:
        if _is_usual(process):
            yield (
                f"{called(process)} runs a program that ordinarily holds such sockets: that does not explain what "
                "this filter demands"
            )
