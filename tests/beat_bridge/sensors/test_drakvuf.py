"""DRAKVUF's lines as an inventory: lines as its sources print them, and lines of every other kind."""

import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.detectors import detect
from beat_bridge.ecs.fields import check
from beat_bridge.ecs.inventories import inventory_documents
from beat_bridge.model.base import Reason, Unavailable, Verdict, Viewpoint
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.model.filters import FilterKind
from beat_bridge.model.findings import FindingKind
from beat_bridge.model.processes import Environment, Executable
from beat_bridge.sensors.drakvuf import Reading, events, read_lines, read_stream, tracking
from tests.inventories.builders import BOOTED, HOST

BACKDOOR = "/dev/shm/kdmtmpflush"  # noqa: S108 - the name the backdoor uses


def line(plugin: str, at: float = 10.0, pid: int = 812, **fields: Any) -> bytes:
    """A line in jsonfmt's order: the common fields, then the plugin's own."""
    common = {
        "Plugin": plugin,
        "TimeStamp": f"{BOOTED + at:.6f}",
        "PID": pid,
        "PPID": 1,
        "TID": pid,
        "UserId": 0,
        "ProcessName": BACKDOOR,
        "EventUID": f"{round(at * 10):#x}",
    }
    return json.dumps({**common, **fields}).encode() + b"\n"


def executed(path: str = BACKDOOR, arguments: str = "--init", at: float = 10.0, **fields: Any) -> bytes:
    """procmon, on do_execveat_common."""
    own: dict[str, Any] = {
        "Method": "do_execveat_common",
        "ThreadName": "sh",
        "CommandLine": f"{path} {arguments}".strip(),
        "ImagePathName": path,
        "ouid": 0,
        "euid": 0,
        "FileName": path,
        "PGID": 812,
    }
    return line("procmon", at, **{**own, **fields})


def call(method: str, at: float, pid: int = 812, **arguments: int) -> bytes:
    """syscalls, on entry; `Type` is the calling convention, and `type` an argument of socket(2)."""
    own = {"ThreadName": "x", "Module": "linux", "vCPU": 0, "CR3": "0x1000", "NArgs": len(arguments), "Type": "x64"}
    return line("syscall", at, pid, Method=method, **own, **{name: hex(value) for name, value in arguments.items()})


def returned(method: str, at: float, result: int, pid: int = 812) -> bytes:
    """syscalls, on return."""
    return line("sysret", at, pid, Method=method, Ret=hex(result % 2**64), Info="")


def packet_socket(at: float = 11.0, descriptor: int | None = 3, pid: int = 812) -> list[bytes]:
    """socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_IP))."""
    entered = call("socket", at, pid, domain=17, type=3 | 0o2000000, protocol=0x0008)
    return [entered] if descriptor is None else [entered, returned("socket", at + 0.1, descriptor, pid)]


def attach(at: float = 12.0, descriptor: int = 3, option: int = 26, pid: int = 812) -> bytes:
    """setsockopt(descriptor, SOL_SOCKET, option, ...)."""
    return call("setsockopt", at, pid, sockfd=descriptor, level=1, optname=option, optval=0x7FFE0000, optlen=16)


def read(*lines: bytes) -> Reading:
    """What is made of some lines."""
    return read_lines(lines, HOST, booted_at=BOOTED)


def test_a_backdoors_story_becomes_findings() -> None:
    """Run from shared memory, a packet socket, a filter attached: two findings, and one for both together."""
    told = read(executed(), *packet_socket(), attach())
    findings = {finding.kind: finding for finding in detect(told.inventory)}
    assert set(findings) == {
        FindingKind.SHARED_MEMORY_EXECUTION,
        FindingKind.SOCKET_FILTER,
        FindingKind.BACKDOOR_PROCESS,
    }
    unread = findings[FindingKind.SOCKET_FILTER]
    assert unread.viewpoint is Viewpoint.DRAKVUF
    assert unread.verdict is Verdict.UNKNOWN
    assert "does not tell the instructions" in unread.explanation
    assert unread.process is not None
    assert unread.process.args == (BACKDOOR, "--init")
    assert (unread.process.start_ticks, unread.process.parent_pid) == (1000, 1)
    assert (told.events, told.malformed, told.foreign) == (4, 0, 0)


def test_a_socket_is_told_as_it_was_opened() -> None:
    """Family, type without flags, EtherType in host order, holder and descriptor; no inode is made up above zero."""
    (socket,) = read(*packet_socket()).inventory.sockets
    assert (socket.family, socket.type, socket.protocol) == (17, 3, 0x0800)
    assert [(holder.pid, holder.fd) for holder in socket.holders] == [(812, 3)]
    assert socket.filter.kind is FilterKind.NONE
    assert socket.inode < 0
    assert not socket.holders_complete


@pytest.mark.parametrize(
    ("option", "kind"), [(26, FilterKind.UNKNOWN), (50, FilterKind.EBPF), (27, FilterKind.NONE), (2, FilterKind.NONE)]
)
def test_each_option_of_a_filter_is_known(option: int, kind: FilterKind) -> None:
    """Classic and eBPF filters are told apart, detaching is followed, and other options are nothing."""
    (socket,) = read(*packet_socket(), attach(option=option)).inventory.sockets
    assert socket.filter.kind is kind


def test_a_filter_of_another_socket_is_not_this_ones() -> None:
    """Descriptors are those of their process: of two sockets and two processes only the right one is filtered."""
    told = read(*packet_socket(11, 3), *packet_socket(12, 4), *packet_socket(13, 4, pid=900), attach(14, 4))
    assert {(each.holders[0].pid, each.holders[0].fd): each.filter.kind for each in told.inventory.sockets} == {
        (812, 3): FilterKind.NONE,
        (812, 4): FilterKind.UNKNOWN,
        (900, 4): FilterKind.NONE,
    }


def test_a_closed_descriptor_names_another_file() -> None:
    """After close(2) a filter on the same number is not the old socket's, which is told all the same."""
    told = read(*packet_socket(), call("close", 12, fd=3), attach(13))
    assert [socket.filter.kind for socket in told.inventory.sockets] == [FilterKind.NONE]


def test_without_returns_the_only_socket_is_meant() -> None:
    """DRAKVUF can be told to leave returns out: a filter then goes to the one socket of its process, if it is one."""
    (socket,) = read(*packet_socket(descriptor=None), attach(descriptor=9)).inventory.sockets
    assert socket.filter.kind is FilterKind.UNKNOWN
    (holder,) = socket.holders
    assert holder.fd == -1


def test_a_call_that_failed_opens_nothing() -> None:
    """socket(2) that returned EPERM is no socket."""
    assert read(*packet_socket(descriptor=-1)).inventory.sockets == ()


@pytest.mark.parametrize(("family", "kind"), [(2, 1), (2, 2), (16, 3), (1, 2)])
def test_ordinary_sockets_are_not_told(family: int, kind: int) -> None:
    """Only packet and raw sockets hear what was not addressed to them."""
    entered = call("socket", 11, domain=family, type=kind, protocol=0)
    assert read(entered, returned("socket", 12, 3)).inventory.sockets == ()


def test_execution_from_a_memfd_is_found() -> None:
    """memfd_create, then an execution of /dev/fd/N by the same process: the program never was a file."""
    run = executed("/memfd:x", FileName="/dev/fd/3")
    (found,) = detect(read(call("memfd_create", 9, flags=1), run).inventory)
    assert found.kind is FindingKind.SHARED_MEMORY_EXECUTION
    assert "memfd" in found.explanation
    plain = read(line("filetracer", 9, Method="memfd_create"), executed("/opt/x", FileName="/proc/self/fd/3"))
    executable = plain.inventory.processes[-1].executable
    assert isinstance(executable, Executable)
    assert executable.memfd


def test_bpf_objects_are_told_by_their_type() -> None:
    """What ebpfmon tells as loaded becomes programs and maps without ids, twice the same for one log."""
    lines = (
        line("ebpfmon", 11, Method="bpf", Value="BPF_MAP_CREATE", Type="BPF_MAP_TYPE_HASH"),
        line("ebpfmon", 12, Method="bpf", Value="BPF_PROG_LOAD", Type="BPF_PROG_TYPE_NETFILTER"),
        line("ebpfmon", 13, Method="bpf", Value="BPF_PROG_GET_NEXT_ID"),
    )
    seen = read(*lines).inventory
    assert [(each.type, each.id < 0) for each in seen.bpf_programs] == [("netfilter", True)]
    assert [each.type for each in seen.bpf_maps] == ["hash"]
    assert read(*lines).inventory == seen


def test_who_ran_before_is_known_by_program() -> None:
    """The list that procmon begins with: programs with their path, kernel threads without; none is a finding."""
    lines = [
        json.dumps({"Plugin": "procmon", "TimeStamp": "1767268800.5", "PID": pid, "PPID": 0, "RunningProcess": name})
        for pid, name in (
            (1, "/usr/lib/systemd/systemd"),
            (2, "kthreadd"),
            (11, "kworker/0:1"),
            (700, "/usr/sbin/sshd"),
        )
    ]
    seen = read(*(each.encode() for each in lines)).inventory
    assert [each.name for each in seen.processes] == ["systemd", "kthreadd", "kworker/0:1", "sshd"]
    assert isinstance(seen.processes[1].executable, Unavailable)
    assert detect(seen) == ()


def test_signs_in_the_environment_are_kept_and_nothing_else() -> None:
    """Of the variables that procmon was asked for, only a backdoor's signs stay; otherwise it is unknown, not empty."""
    shell = executed("/bin/sh", "", Environment="HISTFILE=/dev/null,HOME=/tmp,SECRET=x")
    assert read(shell).inventory.processes[0].environment == Environment(
        count=3, signs=("HISTFILE=/dev/null", "HOME=/tmp")
    )
    assert isinstance(read(executed()).inventory.processes[0].environment, Unavailable)


def test_an_execution_ends_what_ran_before_and_both_are_told() -> None:
    """A process that runs from shared memory and then becomes another program is found, however late one looks."""
    told = read(executed(), executed("/usr/bin/udevadm", at=20), line("procmon", 30, ExitStatus=0, ExitStatusStr="OK"))
    assert [finding.kind for finding in detect(told.inventory)] == [FindingKind.SHARED_MEMORY_EXECUTION]
    assert len(told.inventory.processes) == 2


def test_a_name_that_is_no_text_hides_nothing() -> None:
    """Bytes that are no UTF-8 and control characters, which DRAKVUF passes on, are escaped and the event is read."""
    raw = executed().replace(b"kdmtmpflush", b"kd\xff\x01m")
    told = read(raw)
    assert told.malformed == 0
    (found,) = detect(told.inventory)
    assert found.process is not None
    assert isinstance(found.process.executable, Executable)
    assert found.process.executable.path.endswith("kd\\xff\x01m")


GARBAGE = [
    b"not json",
    b"{",
    b"[]",
    b"5",
    b'"x"',
    b"{}",
    b'{"Plugin": 5}',
    b'{"Plugin": "procmon"}',
    b'{"Plugin": "procmon", "PID": 1, "TimeStamp": "yesterday"}',
    b'{"Plugin": "procmon", "PID": -1, "TimeStamp": "1.0"}',
    b'{"Plugin": "procmon", "PID": 1, "TimeStamp": "nan"}',
    b'{"Plugin": "syscall", "PID": 1, "TimeStamp": "1e300"}',
    b"[" * 60_000,
    b"\xff\xfe{",
]


@pytest.mark.parametrize("raw", GARBAGE, ids=lambda raw: repr(raw[:30]))
def test_what_is_no_event_is_counted(raw: bytes) -> None:
    """Between two good lines a bad one is counted, told with its place and reason, and hides neither."""
    told = read(executed(), raw, *packet_socket())
    assert (told.events, told.malformed) == (3, 1)
    (coverage,) = (each for each in told.inventory.coverage if each.sensor == "drakvuf")
    assert (coverage.status, coverage.reason, coverage.missed) == (CoverageStatus.PARTIAL, Reason.FAILED, 1)
    assert "1 lines are no event of DRAKVUF's" in coverage.detail
    assert "line 2" in coverage.detail or "an event of" in coverage.detail


def test_other_plugins_are_passed_over_and_told() -> None:
    """Lines of plugins that are not read here are no fault, and no part of the account is silent about them."""
    told = read(executed(), line("ptracemon", Method="ptrace"), line("rootkitmon", Reason="x"))
    assert (told.events, told.foreign, told.malformed) == (1, 2, 0)
    (coverage,) = (each for each in told.inventory.coverage if each.sensor == "drakvuf")
    assert coverage.status is CoverageStatus.COMPLETE
    assert "2 lines of other plugins" in coverage.detail


def test_nothing_read_is_not_clean() -> None:
    """An empty log, and one of another making, were no look at anything."""
    for told in (read(), read(b"CPU 0/KVM: hello\n")):
        assert {each.status for each in told.inventory.coverage} == {CoverageStatus.NONE}


def test_nobody_is_told_as_listed() -> None:
    """Events show what happened, never all there is: no sensor claims to have listed everything."""
    told = read(executed(), *packet_socket())
    others = [each for each in told.inventory.coverage if each.sensor != "drakvuf"]
    assert {each.sensor for each in others} >= {"processes", "packet_sockets", "socket_filters", "modules"}
    assert not [each for each in others if each.listed or each.status is CoverageStatus.COMPLETE]


def test_a_stream_is_read_within_bounds() -> None:
    """A hundred megabytes without a line break, then events: one line too long, and memory for one line."""

    class Endless(io.RawIOBase):
        """A hundred MB of `x`, then two lines."""

        def __init__(self) -> None:
            super().__init__()
            self.left = 100 << 20
            self.rest = io.BytesIO(b"\n" + executed() + executed(at=20))

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            if not self.left:
                return self.rest.readinto(buffer)
            size = min(len(buffer), self.left)
            buffer[:size] = b"x" * size
            self.left -= size
            return size

    tracemalloc.start()
    told = read_stream(io.BufferedReader(Endless()), HOST)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (told.events, told.oversized) == (2, 1)
    assert peak < 4 << 20


def test_a_hostile_guest_is_given_so_much_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes, sockets and programs beyond the bound are counted as left out, and the coverage says so."""
    monkeypatch.setattr(tracking, "MOST", 5)

    def flood() -> Iterator[bytes]:
        for number in range(20):
            yield executed(PID=100 + number)
            yield from packet_socket(11 + number, None, pid=100 + number)
            yield line("ebpfmon", 11 + number, Value="BPF_PROG_LOAD", Type="BPF_PROG_TYPE_XDP")

    told = read_lines(flood(), HOST)
    seen = told.inventory
    assert (len(seen.processes), len(seen.sockets), len(seen.bpf_programs), told.left_out) == (5, 5, 5, 45)
    (coverage,) = (each for each in seen.coverage if each.sensor == "drakvuf")
    assert "45 lines found no room" in coverage.detail


GOOD = [executed(), *packet_socket(), attach(), call("close", 13, fd=3), line("ebpfmon", Value="BPF_PROG_LOAD")]


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A good line with some bytes changed, or a field that holds anything."""
    good = draw(st.sampled_from(GOOD))
    if draw(st.booleans()):
        fields = json.loads(good)
        name = draw(st.sampled_from(sorted(fields)))
        fields[name] = draw(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.just([{}] * 3))
        )
        return json.dumps(fields).encode()
    raw = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    return bytes(raw).replace(b"\n", b" ")


@settings(max_examples=150)
@given(st.lists(st.one_of(spoilt(), st.sampled_from(GOOD), st.binary(max_size=60)), max_size=20))
def test_any_lines_are_read(lines: list[bytes]) -> None:
    """Whatever a guest has DRAKVUF write: every line is counted once, and what is read becomes documents."""
    told = read_lines(lines, HOST)
    blank = sum(not each.strip() for each in lines)
    assert told.events + told.foreign + told.malformed + told.oversized == len(lines) - blank
    assert msgspec.json.decode(msgspec.json.encode(told), type=Reading) == told
    detect(told.inventory)
    for document in inventory_documents(told.inventory):
        assert check(document.body) == ()


@given(st.one_of(st.none(), st.integers(), st.text(max_size=30)))
def test_numbers_are_numbers_or_nothing(told: int | str | None) -> None:
    """No text and no size of a number gets past the reader as anything but 64 bits."""
    read_as = events.number(told)
    assert read_as is None or 0 <= read_as < 2**64
