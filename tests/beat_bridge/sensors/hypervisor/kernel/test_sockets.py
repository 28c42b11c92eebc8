"""Sockets and filters seen from outside are those the guest itself can show, and those it cannot."""

import json
import re

import pytest

from beat_bridge.model.filters import FilterKind
from beat_bridge.model.sockets import Socket
from beat_bridge.sensors.hypervisor.kernel.namespaces import for_each_net
from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.kernel.records import offset_of
from beat_bridge.sensors.hypervisor.kernel.sockets import packet_sockets
from tests.beat_bridge.sensors.hypervisor.kernel.conftest import Watched
from tests.lab.guest import plants
from tests.lab.guest.outside import Outside

pytestmark = pytest.mark.guest

_OPEN = """
import json, os, signal, socket
held = [
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)),
    socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0806)),
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58),
]
held[1].bind(("lo", 0x0806))
print(json.dumps([os.fstat(each.fileno()).st_ino for each in held]))
print("ready", flush=True)
signal.pause()
"""


def _by_inode(watched: Watched) -> dict[int, Socket]:
    seen = watched.whole_look("packet_sockets", "socket_filters", "processes")
    return {socket.inode: socket for socket in seen.sockets}


def test_packet_and_raw_sockets_are_those_of_proc(watched: Watched) -> None:
    """Type, protocol, interface and holder agree with /proc/net/packet, /proc/net/raw and raw6."""
    started = watched.guest.start(["python3", "-S", "-c", _OPEN])
    try:
        seen = _by_inode(watched)
        packet = watched.guest.check("cat", "/proc/net/packet")
        raw = watched.guest.check("cat", "/proc/net/raw", "/proc/net/raw6")
    finally:
        watched.guest.stop(started.pid)
    inodes = json.loads(started.out.splitlines()[0])
    rows = {int(row.split()[8]): row.split() for row in packet.splitlines()[1:]}
    for inode in inodes[:2]:
        kind, protocol, interface = int(rows[inode][2]), int(rows[inode][3], 16), int(rows[inode][4])
        found = seen[inode]
        assert (found.family, found.type, found.protocol, found.interface_index) == (17, kind, protocol, interface)
    assert seen[inodes[1]].interface_index == 1
    rows = {int(row.split()[9]): row.split() for row in raw.splitlines() if ":" in row.split()[1]}
    for inode, family in zip(inodes[2:], (2, 10), strict=True):
        found = seen[inode]
        assert (found.family, found.type, found.protocol) == (family, 3, int(rows[inode][1].rpartition(":")[2], 16))
    for inode in inodes:
        assert [holder.pid for holder in seen[inode].holders] == [started.pid]
        assert seen[inode].filter.kind is FilterKind.NONE


def test_the_filter_of_a_raw_socket_is_read(watched: Watched) -> None:
    """A classic filter on an AF_INET raw socket, which no table of the guest shows, comes out of RAM."""
    with plants.program(watched.guest, "raw_socket") as planted:
        found = _by_inode(watched)[planted.facts["inode"]]
    assert found.filter.kind is FilterKind.CLASSIC
    assert found.filter.program
    assert found.seen_by == ("descriptor", "raw_hashinfo")


def test_an_ebpf_filter_is_told_apart_with_its_id(watched: Watched) -> None:
    """A socket filtered by eBPF, which looks unfiltered to `ss`, names its program, and bpftool knows that one."""
    with plants.program(watched.guest, "ebpf_socket") as planted:
        found = _by_inode(watched)[planted.facts["inode"]]
        listed = json.loads(watched.guest.check("bpftool", "-j", "prog", "list"))
    assert found.filter.kind is FilterKind.EBPF
    assert found.filter.bpf_program_id in {each["id"] for each in listed if each["type"] == "socket_filter"}


def test_a_parked_socket_has_no_holder(watched: Watched) -> None:
    """A packet socket in flight over SCM_RIGHTS is in the kernel's list, and nobody's descriptor leads to it."""
    with plants.program(watched.guest, "parked_socket") as planted:
        found = _by_inode(watched)[planted.facts["inode"]]
    assert found.holders == ()
    assert found.holders_complete
    assert found.seen_by == ("packet_sklist", "packet_type")


def test_a_socket_out_of_its_list_is_seen_by_what_it_hears(watched: Watched) -> None:
    """A packet socket that nobody holds and no list shows is told as one that is handed packets, filter and all."""
    node = offset_of(watched.prog, "struct sock", "__sk_common.skc_node")
    with plants.program(watched.guest, "parked_socket") as planted, Outside(watched.guest) as outside:
        view(watched.prog).again()
        (net,) = (net for net, _ in for_each_net(watched.prog))
        (sock,) = packet_sockets(watched.prog, net)
        following, before = outside.read_word(sock + node), outside.read_word(sock + node + 8)
        assert following == 0
        with outside.still({before: bytes(8)}):
            seen = watched.whole_look("packet_sockets", "socket_filters", "processes")
    (found,) = (each for each in seen.sockets if each.inode == planted.facts["inode"])
    assert (found.seen_by, found.holders) == (("packet_type",), ())


def test_sockets_that_share_packets_are_all_told(watched: Watched) -> None:
    """The members of a group (PACKET_FANOUT), which are handed packets through it, are each seen that way."""
    started = watched.guest.start(["python3", "-S", "-c", _GROUP])
    try:
        seen = _by_inode(watched)
    finally:
        watched.guest.stop(started.pid)
    for inode in json.loads(started.out.splitlines()[0]):
        assert seen[inode].seen_by == ("descriptor", "packet_sklist", "packet_type")


def test_a_socket_in_a_threads_own_table_is_its_processes(watched: Watched) -> None:
    """A socket that only a thread with a descriptor table of its own has open is held by that process."""
    started = watched.guest.start(["python3", "-S", "-c", _IN_A_THREAD])
    try:
        found = _by_inode(watched)[json.loads(started.out.splitlines()[0])]
        beside = watched.guest.check("sh", "-c", f"readlink /proc/{started.pid}/fd/* || true")
    finally:
        watched.guest.stop(started.pid)
    assert f"socket:[{found.inode}]" not in beside
    assert [holder.pid for holder in found.holders] == [started.pid]


def test_filters_agree_with_packet_diag(watched: Watched) -> None:
    """The emulator's instructions are those that the guest's own `ss -0b` prints."""
    with plants.emulator(watched.guest) as planted:
        found = _by_inode(watched)[planted.facts["inode"]]
        told = watched.guest.check("ss", "-0bpe")
    instructions = re.findall(r"bpf filter \((\d+)\):((?:\s+0x[0-9a-f]+ \d+ \d+ \d+,)*)", told)
    programs = [
        tuple((int(code, 16), int(jt), int(jf), int(k)) for code, jt, jf, k in re.findall(_FIELDS, body))
        for _, body in instructions
    ]
    assert tuple((each.code, each.jt, each.jf, each.k) for each in found.filter.program) in programs


_IN_A_THREAD = """
import ctypes, json, os, signal, socket, threading
def hold():
    assert ctypes.CDLL(None).unshare(0x400) == 0
    kept = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    print(json.dumps(os.fstat(kept.fileno()).st_ino))
    print("ready", flush=True)
    threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
signal.pause()
"""
_GROUP = """
import json, os, signal, socket
held = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in range(3)]
for each in held:
    each.bind(("lo", 0))
    each.setsockopt(263, 18, 7)
print(json.dumps([os.fstat(each.fileno()).st_ino for each in held]))
print("ready", flush=True)
signal.pause()
"""
"""SOL_PACKET, PACKET_FANOUT, group 7 by hash."""
_FIELDS = r"(0x[0-9a-f]+) (\d+) (\d+) (\d+),"
