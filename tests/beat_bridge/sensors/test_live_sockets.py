"""Sockets on this kernel: what was opened and attached is what the sensors tell."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.filters import FilterKind, Instruction
from beat_bridge.model.inventory import Inventory, decode, encode
from beat_bridge.model.sockets import Holder, Socket
from beat_bridge.sensors.host import look
from beat_bridge.sensors.host.sockets import look_at_sockets
from tests.lab import processes as lab

pytestmark = pytest.mark.live

ETH_P_ALL, ETH_P_IP = 3, 0x0800
_kept: list[object] = []


def _packet_socket(program: lab.Instructions = (), kind: int = socket.SOCK_RAW) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, kind, socket.htons(ETH_P_ALL))
    if program:
        lab.attach(made, program)
    _kept.append(made)
    return made


def _one_of_each() -> list[int]:
    plain = _packet_socket(kind=socket.SOCK_DGRAM)
    classic = _packet_socket(lab.BPF_MAGIC_PACKET)
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    lab.attach(raw, lab.BPF_MAGIC_PACKET)
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    lab.attach(datagram, [(6, 0, 0, 0xFFFF)])
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("0.0.0.0", 0))  # noqa: S104 - in a network namespace of its own
    lab.attach(bound, [(6, 0, 0, 7)])
    local, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    lab.attach(local, [(6, 0, 0, 9)])
    _kept.extend((raw, datagram, bound, local, other))
    namespace = os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116 - the number only
    return [namespace, *(lab.inode(each) for each in (plain, classic, raw, datagram, bound, local, other))]


def _by_inode(sockets: Sequence[Socket]) -> dict[int, Socket]:
    return {each.inode: each for each in sockets}


def _program(found: Socket) -> tuple[tuple[int, int, int, int], ...]:
    return tuple((i.code, i.jt, i.jf, i.k) for i in found.filter.program)


def test_every_kind_of_socket_is_told_with_its_own_filter() -> None:
    """Packet, raw, UDP and unix sockets come back with the program that was attached, and with who holds them."""
    with lab.running(_one_of_each) as fixture:
        namespace, plain, classic, raw, datagram, bound, local, unfiltered = fixture.told
        found = _by_inode(look_at_sockets().sockets)
    assert unfiltered not in found
    assert found[plain].filter.kind is FilterKind.NONE
    assert (found[plain].family, found[plain].type) == (socket.AF_PACKET, socket.SOCK_DGRAM)
    assert (found[classic].family, found[classic].type) == (socket.AF_PACKET, socket.SOCK_RAW)
    assert found[classic].protocol == found[plain].protocol == ETH_P_ALL
    assert (found[raw].family, found[raw].type, found[raw].protocol) == (socket.AF_INET, socket.SOCK_RAW, 17)
    assert _program(found[classic]) == _program(found[raw]) == tuple(lab.BPF_MAGIC_PACKET)
    assert [_program(found[each])[0][3] for each in (datagram, bound, local)] == [0xFFFF, 7, 9]
    assert found[local].family == socket.AF_UNIX
    for each in (plain, classic, raw, datagram, bound):
        assert found[each].network_namespace == namespace
        assert [holder.pid for holder in found[each].holders] == [fixture.pid]
    assert found[classic].seen_by == ("packet_diag", "pidfd_getfd", "proc_net_packet")
    assert {"pidfd_getfd", "proc_net_raw"} <= set(found[raw].seen_by)


def test_ss_and_proc_tell_the_same_packet_sockets() -> None:
    """`ss -0pb` shows the same filter, and /proc/net/packet the same inodes, types and protocols."""
    with lab.running(_one_of_each) as fixture:
        enter = ["nsenter", f"--user=/proc/{fixture.pid}/ns/user", f"--net=/proc/{fixture.pid}/ns/net"]
        told = subprocess.run([*enter, "ss", "-0pbe"], capture_output=True, text=True, check=True)
        table = Path(f"/proc/{fixture.pid}/net/packet").read_text().splitlines()[1:]
        found = {
            each.inode: each
            for each in look_at_sockets().sockets
            if each.family == socket.AF_PACKET and each.network_namespace == fixture.told[0]
        }
    rows = {int(row.split()[8]): (int(row.split()[2]), int(row.split()[3], 16)) for row in table}
    assert rows == {inode: (each.type, each.protocol) for inode, each in found.items()}
    filters = re.findall(r"bpf filter \([1-9]\d*\): (.*)", told.stdout)
    shown = [
        tuple(
            Instruction(int(c, 16), int(t), int(f), int(k))
            for c, t, f, k in re.findall(r"0x(\w+) (\d+) (\d+) (\d+),", text)
        )
        for text in filters
    ]
    assert shown == [each.filter.program for each in found.values() if each.filter.program]


def test_an_ebpf_filter_is_told_apart_from_none() -> None:
    """A packet socket with an eBPF program, which packet_diag shows as unfiltered, is told as carrying one."""

    def body() -> list[int]:
        made = _packet_socket()
        lab.attach_ebpf(made)
        return [lab.inode(made)]

    with lab.running(body, namespaces=False) as fixture:
        found = _by_inode(look_at_sockets().sockets)[fixture.told[0]]
    assert found.filter.kind is FilterKind.EBPF
    assert "packet_diag" in found.seen_by


def test_a_thread_with_descriptors_of_its_own_is_found() -> None:
    """A socket that only a thread with an unshared descriptor table holds is told with its process as the holder."""

    def body() -> list[int]:
        told: list[int] = []
        ready = threading.Event()

        def hide() -> None:
            lab.unshare(lab.CLONE_FILES)
            made = _packet_socket(lab.BPF_MAGIC_PACKET)
            told.append(lab.inode(made))
            ready.set()
            threading.Event().wait()

        threading.Thread(target=hide, daemon=True).start()
        ready.wait()
        return told

    with lab.running(body) as fixture:
        links = [str(entry.readlink()) for entry in Path(f"/proc/{fixture.pid}/fd").iterdir()]
        found = _by_inode(look_at_sockets().sockets)[fixture.told[0]]
    assert f"socket:[{fixture.told[0]}]" not in links
    assert [holder.pid for holder in found.holders] == [fixture.pid]
    assert _program(found) == tuple(lab.BPF_MAGIC_PACKET)


def test_a_socket_in_flight_has_no_holder_and_keeps_its_filter() -> None:
    """A socket parked in a unix socket's queue is told without holders, with the filter packet_diag shows."""

    def body() -> list[int]:
        made = _packet_socket(lab.BPF_MAGIC_PACKET)
        told = lab.inode(made)
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        socket.send_fds(left, [b"x"], [made.fileno()])
        made.close()
        _kept.extend((left, right))
        return [told]

    with lab.running(body) as fixture:
        outcome = look_at_sockets()
    found = _by_inode(outcome.sockets)[fixture.told[0]]
    assert found.holders == ()
    assert found.holders_complete == (not outcome.descriptors.refused)
    assert "pidfd_getfd" not in found.seen_by
    assert _program(found) == tuple(lab.BPF_MAGIC_PACKET)


def test_a_namespace_without_a_process_hides_nothing() -> None:
    """A packet socket in a namespace that no process lives in is found through the descriptor that holds it."""

    def body() -> list[int]:
        back = os.open("/proc/self/ns/net", os.O_RDONLY)
        lab.unshare(lab.CLONE_NEWNET)
        made = _packet_socket(lab.BPF_MAGIC_PACKET)
        namespace = os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116 - the number only
        lab.set_namespace(back)
        os.close(back)
        return [lab.inode(made), namespace]

    with lab.running(body) as fixture:
        found = _by_inode(look_at_sockets().sockets)[fixture.told[0]]
    assert found.network_namespace == fixture.told[1]
    assert found.protocol == ETH_P_ALL
    assert _program(found) == tuple(lab.BPF_MAGIC_PACKET)


def test_a_socket_that_is_gone_is_not_told() -> None:
    """After its process has ended a socket is in no table."""
    with lab.running(_one_of_each) as fixture:
        pass
    assert not set(fixture.told[1:]) & _by_inode(look_at_sockets().sockets).keys()


def _look_as_nobody() -> Inventory:
    return decode(lab.within(lambda: encode(look()), lab.NOBODY), "the look of an ordinary user")


def _account(inventory: Inventory, sensor: str) -> Coverage:
    return next(each for each in inventory.coverage if each.sensor == sensor)


def test_an_ordinary_user_sees_his_own_emulator_from_outside() -> None:
    """A user sees the packet socket in his own user namespace by packet_diag and by pidfd_getfd, filter and all."""
    with lab.running(_one_of_each, user_id=lab.NOBODY) as fixture:
        inventory = _look_as_nobody()
    found = _by_inode(inventory.sockets)[fixture.told[2]]
    assert found.seen_by == ("packet_diag", "pidfd_getfd", "proc_net_packet")
    assert found.holders == (Holder(pid=fixture.pid, fd=found.holders[0].fd),)
    assert _program(found) == tuple(lab.BPF_MAGIC_PACKET)


def test_an_ordinary_user_is_told_what_he_cannot_see() -> None:
    """Another user's packet socket is listed with its filter unknown, and coverage says so and what to do."""
    with lab.running(_one_of_each) as fixture:
        inventory = _look_as_nobody()
    found = _by_inode(inventory.sockets)[fixture.told[2]]
    assert found.filter.kind is FilterKind.UNKNOWN
    assert found.filter.unavailable is not None
    assert found.filter.unavailable.reason is Reason.REFUSED
    assert isinstance(found.network_namespace, Unavailable)
    assert (found.protocol, found.holders, found.holders_complete) == (ETH_P_ALL, (), False)
    assert found.seen_by == ("proc_net_packet",)
    for sensor in ("packet_sockets", "socket_filters", "processes"):
        account = _account(inventory, sensor)
        assert (account.status, account.reason) == (CoverageStatus.PARTIAL, Reason.REFUSED)
        assert "run as root" in account.detail
        assert account.missed


def test_three_capabilities_see_what_root_sees() -> None:
    """A service with the capabilities of docs/operations.md, and no root, tells sockets and filters as root does."""
    names = "sys_ptrace,dac_read_search,sys_admin".replace(",", ",+")
    capabilities = f"-all,+{names}"
    look_and_tell = (
        "import sys; from beat_bridge.model.inventory import encode; from beat_bridge.sensors.host import look; "
        "sys.stdout.buffer.write(encode(look()))"
    )
    with lab.running(_one_of_each) as fixture:
        ours = _by_inode(look_at_sockets().sockets)
        answer = subprocess.run(
            [
                *("setpriv", f"--reuid={lab.NOBODY}", f"--regid={lab.NOBODY}", "--clear-groups"),
                *(f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}", f"--bounding-set={capabilities}"),
                *(sys.executable, "-c", look_and_tell),
            ],
            capture_output=True,
            check=True,
            timeout=60,
            cwd=Path(__file__).parents[3],
        )
    theirs = _by_inode(decode(answer.stdout, "the service").sockets)
    expected = {inode: ours[inode] for inode in fixture.told if inode in ours}
    assert len(expected) >= 4
    for inode, told in expected.items():
        # only CAP_NET_ADMIN may ask a socket that is in no table for its namespace
        unnamed = {"network_namespace": theirs[inode].network_namespace} if told.seen_by == ("pidfd_getfd",) else {}
        assert theirs[inode] == msgspec.structs.replace(told, **unnamed)
