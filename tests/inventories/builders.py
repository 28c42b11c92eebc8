"""A healthy host in values, from which a test departs in the one respect it is about."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from beat_bridge.model.base import Unavailable, Viewpoint
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.filters import FilterKind, Program, SocketFilter
from beat_bridge.model.host import Host
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.kernel import BpfLink, BpfMap, BpfProgram, Hook, KernelModule
from beat_bridge.model.pid_files import PidFile
from beat_bridge.model.processes import Environment, Executable, Process
from beat_bridge.model.sockets import Holder, Socket
from tests.inventories.filters import programs

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
BOOTED = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
HOST = Host(
    id="6e5cf2a5f7b94d0b8a2c1d3e4f506172",
    name="web-1",
    boot_id="0b9f2a7c-3d4e-4f50-8172-93a4b5c6d7e8",
    kernel_release="6.1.0-25-amd64",
    architecture="x86_64",
    os_name="Debian GNU/Linux",
)
SENSORS = (
    "bpf_objects",
    "kernel_hooks",
    "kernel_text",
    "module_text",
    "modules",
    "packet_sockets",
    "pid_files",
    "processes",
    "read_only_data",
    "socket_filters",
)
COMPLETE = tuple(Coverage(sensor=name, status=CoverageStatus.COMPLETE, examined=10) for name in SENSORS)
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET = 1, 2, 10, 16, 17
STREAM, DGRAM, RAW = 1, 2, 3


def executable(path: str, **changes: Any) -> Executable:
    """A program on disk."""
    return Executable(**{"path": path, "filesystem": "ext4", "device": 2049, "inode": 1234, **changes})


def process(pid: int, path: str, args: tuple[str, ...] | Unavailable | None = None, **changes: Any) -> Process:
    """A daemon that says what it is; `changes` replace fields, those of the executable among them."""
    of_file = {name: changes.pop(name) for name in Executable.__struct_fields__ if name in changes}
    fields: dict[str, Any] = {
        "pid": pid,
        "parent_pid": 1,
        "start_ticks": 100 * pid,
        "started_at": BOOTED + pid,
        "name": path.rpartition("/")[2][:15],
        "args": (path,) if args is None else args,
        "executable": executable(path, **of_file),
        "environment": Environment(count=12),
        "user_id": 0,
        "session_id": pid,
        "group_id": pid,
        "network_namespace": 4026531840,
    }
    return Process(**{**fields, **changes})


def classic(name: str) -> SocketFilter:
    """A filter of filters.tsv."""
    return SocketFilter(kind=FilterKind.CLASSIC, program=programs()[name])


def socket(inode: int, pids: tuple[int, ...] = (), filter_name: str = "", **changes: Any) -> Socket:
    """A packet socket held by some processes."""
    fields: dict[str, Any] = {
        "inode": inode,
        "family": AF_PACKET,
        "type": RAW,
        "protocol": 3,
        "network_namespace": 4026531840,
        "filter": classic(filter_name) if filter_name else SocketFilter(kind=FilterKind.NONE),
        "holders": tuple(Holder(pid=pid, fd=3) for pid in pids),
        "seen_by": ("packet_diag", "pidfd_getfd"),
    }
    return Socket(**{**fields, **changes})


def program_filter(program: Program) -> SocketFilter:
    """A classic filter with this program."""
    return SocketFilter(kind=FilterKind.CLASSIC, program=program)


def pid_file(path: str = "/run/haldd.pid", **changes: Any) -> PidFile:
    """An empty, world-readable PID file that nobody holds."""
    fields: dict[str, Any] = {
        "path": path,
        "size": 0,
        "mode": 0o644,
        "user_id": 0,
        "modified_at": BOOTED + 9000,
        "changed_at": BOOTED + 9000,
        "born_at": BOOTED + 9000,
    }
    return PidFile(**{**fields, **changes})


def hook(**changes: Any) -> Hook:
    """A system call table entry that leads into nobody's text."""
    fields: dict[str, Any] = {
        "surface": "syscall_table",
        "symbol": "__x64_sys_bpf",
        "expected": "__x64_sys_bpf",
        "actual": "0xffffffffc0a01000",
    }
    return Hook(**{**fields, **changes})


def module(name: str = "nf_tables", **changes: Any) -> KernelModule:
    """A loaded module that every list shows."""
    fields: dict[str, Any] = {
        "name": name,
        "state": "live",
        "text_address": 0xFFFF_FFFF_C0A0_1000,
        "text_size": 4096,
        "instance": 4711,
        "seen_by": ("module_kset", "module_list", "module_tree"),
    }
    return KernelModule(**{**fields, **changes})


def inventory(
    *things: Process | Socket | PidFile | Hook | KernelModule | BpfProgram | BpfMap | BpfLink, **changes: Any
) -> Inventory:
    """A complete look that saw these things."""
    fields: dict[str, Any] = {
        "host": HOST,
        "viewpoint": Viewpoint.HOST,
        "taken_at": NOON,
        "processes": tuple(thing for thing in things if isinstance(thing, Process)),
        "sockets": tuple(thing for thing in things if isinstance(thing, Socket)),
        "pid_files": tuple(thing for thing in things if isinstance(thing, PidFile)),
        "hooks": tuple(thing for thing in things if isinstance(thing, Hook)),
        "modules": tuple(thing for thing in things if isinstance(thing, KernelModule)),
        "bpf_programs": tuple(thing for thing in things if isinstance(thing, BpfProgram)),
        "bpf_maps": tuple(thing for thing in things if isinstance(thing, BpfMap)),
        "bpf_links": tuple(thing for thing in things if isinstance(thing, BpfLink)),
        "coverage": COMPLETE,
    }
    return Inventory(**{**fields, **changes})


def bpfdoor() -> Inventory:
    """A host with BPFDoor on it, in every respect that a host sensor can see."""
    return inventory(
        process(
            812,
            "/dev/shm/kdmtmpflush",  # noqa: S108 - the name the backdoor uses
            ("/sbin/udevd -d",),
            name="udevd",
            deleted=True,
            filesystem="tmpfs",
            environment=Environment(count=0),
            stdio_null=True,
        ),
        socket(48113, (812,), "bpfdoor"),
        pid_file("/run/haldrund.pid", born_at=BOOTED + 812.5, modified_at=1225394236.0),
    )


def partial(taken: Inventory, sensor: str) -> Inventory:
    """The same look, but one sensor could not look everywhere."""
    return msgspec.structs.replace(
        taken,
        coverage=tuple(
            msgspec.structs.replace(entry, status=CoverageStatus.PARTIAL, missed=1) if entry.sensor == sensor else entry
            for entry in taken.coverage
        ),
    )
