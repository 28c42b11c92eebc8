"""Which eBPF programs, maps and links exist, as bpf(2) tells their ids one after the other. Sensor `bpf_objects`.

Structures and numbers: include/uapi/linux/bpf.h. Only CAP_SYS_ADMIN may ask.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from beat_bridge.model.base import Reason
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.kernel import BpfLink, BpfMap, BpfProgram
from beat_bridge.sensors.host import proc

SENSOR = "bpf_objects"
MOST_OBJECTS = 1 << 16
"""Of each kind: a hostile guest may hold any number."""
MOST_MAPS_OF_A_PROGRAM = 1024
_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351}
_PROG_GET_NEXT_ID, _MAP_GET_NEXT_ID, _PROG_GET_FD, _MAP_GET_FD, _INFO, _LINK_GET_FD, _LINK_GET_NEXT_ID = (
    11, 12, 13, 14, 15, 30, 31,
)  # fmt: skip
_PROGRAM_INFO = struct.Struct("=II8sIIQQQIIQ16s")  # up to bpf_prog_info.name
_MAP_INFO = struct.Struct("=IIIIII16s")
_LINK_INFO = struct.Struct("=III")


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PROGRAM_TYPES = _names(
    "unspec socket_filter kprobe sched_cls sched_act tracepoint xdp perf_event cgroup_skb cgroup_sock lwt_in lwt_out "
    "lwt_xmit sock_ops sk_skb cgroup_device sk_msg raw_tracepoint cgroup_sock_addr lwt_seg6local lirc_mode2 "
    "sk_reuseport flow_dissector cgroup_sysctl raw_tracepoint_writable cgroup_sockopt tracing struct_ops ext lsm "
    "sk_lookup syscall netfilter"
)
"""enum bpf_prog_type"""
MAP_TYPES = _names(
    "unspec hash array prog_array perf_event_array percpu_hash percpu_array stack_trace cgroup_array lru_hash "
    "lru_percpu_hash lpm_trie array_of_maps hash_of_maps devmap sockmap cpumap xskmap sockhash cgroup_storage "
    "reuseport_sockarray percpu_cgroup_storage queue stack sk_storage devmap_hash struct_ops ringbuf inode_storage "
    "task_storage bloom_filter user_ringbuf cgrp_storage arena"
)
"""enum bpf_map_type"""
LINK_TYPES = _names(
    "unspec raw_tracepoint tracing cgroup iter netns xdp perf_event kprobe_multi struct_ops netfilter tcx uprobe_multi "
    "netkit sockmap"
)
"""enum bpf_link_type"""
_T = TypeVar("_T", BpfProgram, BpfMap, BpfLink)

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint]
_number = _SYS_BPF.get(os.uname().machine, -1)


@dataclass(frozen=True, slots=True)
class BpfLook:
    """The outcome of one look at all eBPF objects."""

    programs: tuple[BpfProgram, ...]
    maps: tuple[BpfMap, ...]
    links: tuple[BpfLink, ...]
    coverage: Coverage


class _Account:
    def __init__(self) -> None:
        self.examined = 0
        self.missed = 0
        self.listed = True
        self.reason: Reason | None = None
        self.detail = ""

    def note(self, what: str, error: OSError) -> None:
        if self.reason is None:
            self.reason = _reason(error)
            rights = f"; {proc.more_rights()}" if self.reason is Reason.REFUSED else ""
            self.detail = f"{what}: {os.strerror(error.errno or 0)}{rights}"

    def coverage(self) -> Coverage:
        status = CoverageStatus.COMPLETE if self.reason is None else CoverageStatus.PARTIAL
        return Coverage(
            sensor=SENSOR,
            status=CoverageStatus.NONE if self.reason and not self.examined else status,
            reason=self.reason,
            detail=self.detail,
            examined=self.examined,
            missed=self.missed,
            listed=self.listed,
        )


def look_at_bpf_objects() -> BpfLook:
    """Look at every eBPF object; one that goes meanwhile is left out."""
    account = _Account()
    programs = tuple(_each("program", _PROG_GET_NEXT_ID, _PROG_GET_FD, _program, account))
    maps = tuple(_each("map", _MAP_GET_NEXT_ID, _MAP_GET_FD, _map, account))
    links = tuple(_each("link", _LINK_GET_NEXT_ID, _LINK_GET_FD, _link, account))
    return BpfLook(programs, maps, links, account.coverage())


def _each(what: str, next_id: int, by_id: int, read: Callable[[int], _T], account: _Account) -> Iterator[_T]:
    known = 0
    for _ in range(MOST_OBJECTS):
        try:
            known = _next(next_id, known)
            if not known:
                return
            descriptor = _bpf(by_id, struct.pack("=III", known, 0, 0))
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.EAGAIN} and known:
                continue  # it has gone, or is not finished yet
            account.listed = False
            account.note(f"the list of BPF {what}s", error)
            return
        try:
            found = read(descriptor)
        except OSError as error:
            account.missed += 1
            account.note(f"BPF {what} {known}", error)
            continue
        finally:
            os.close(descriptor)
        account.examined += 1
        yield found
    account.listed = False
    account.note(f"only the first {MOST_OBJECTS} BPF {what}s", OSError(errno.E2BIG, ""))


def _next(command: int, known: int) -> int:
    """The next id; 0 after the last."""
    attributes = ctypes.create_string_buffer(struct.pack("=III", known, 0, 0), 12)
    try:
        _call(command, attributes)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return 0
        raise
    (found,) = struct.unpack_from("=I", attributes.raw, 4)
    return int(found)


def _program(descriptor: int) -> BpfProgram:
    ids = (ctypes.c_uint32 * MOST_MAPS_OF_A_PROGRAM)()
    blank = _PROGRAM_INFO.pack(0, 0, b"", 0, 0, 0, 0, 0, 0, MOST_MAPS_OF_A_PROGRAM, ctypes.addressof(ids), b"")
    kind, number, tag, _, _, _, _, _, _, maps, _, name = _PROGRAM_INFO.unpack(_info(descriptor, blank))
    return BpfProgram(
        id=number,
        name=_name(name),
        type=_of(PROGRAM_TYPES, kind),
        tag=tag.hex(),
        map_ids=tuple(sorted(set(ids[: min(maps, MOST_MAPS_OF_A_PROGRAM)]))),
    )


def _map(descriptor: int) -> BpfMap:
    kind, number, _, _, _, _, name = _MAP_INFO.unpack(_info(descriptor, bytes(_MAP_INFO.size)))
    return BpfMap(id=number, name=_name(name), type=_of(MAP_TYPES, kind))


def _link(descriptor: int) -> BpfLink:
    kind, number, program = _LINK_INFO.unpack(_info(descriptor, bytes(_LINK_INFO.size)))
    return BpfLink(id=number, type=_of(LINK_TYPES, kind), program_id=program)


def _of(names: tuple[str, ...], kind: int) -> str:
    """A type's name; empty for those of later kernels, which are then compared with nothing."""
    return names[kind] if kind < len(names) else ""


def _name(raw: bytes) -> str:
    return proc.text(raw.split(b"\0", 1)[0])


def _info(descriptor: int, blank: bytes) -> bytes:
    info = ctypes.create_string_buffer(blank, len(blank))
    attributes = ctypes.create_string_buffer(struct.pack("=IIQ", descriptor, len(blank), ctypes.addressof(info)), 16)
    _call(_INFO, attributes)
    return info.raw


def _bpf(command: int, attributes: bytes) -> int:
    return _call(command, ctypes.create_string_buffer(attributes, len(attributes)))


def _call(command: int, attributes: "ctypes.Array[ctypes.c_char]") -> int:
    if _number < 0:
        raise OSError(errno.ENOSYS, "bpf")
    result = int(_syscall(_number, command, ctypes.addressof(attributes), len(attributes)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"bpf: {os.strerror(number)}")
    return result


def _reason(error: OSError) -> Reason:
    if error.errno in {errno.EPERM, errno.EACCES}:
        return Reason.REFUSED
    return Reason.UNSUPPORTED if error.errno in {errno.ENOSYS, errno.EINVAL} else Reason.FAILED
