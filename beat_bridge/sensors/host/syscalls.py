"""The system calls that Python does not offer, each as one function that raises OSError."""

import ctypes
import errno
import os
import struct
from dataclasses import dataclass

from beat_bridge.model.filters import FilterKind, Instruction, SocketFilter

_SYS_PIDFD_GETFD = 438  # one number on every architecture but alpha
_SYS_KCMP = {"x86_64": 312, "aarch64": 272, "riscv64": 272, "loongarch64": 272, "ppc64le": 354, "s390x": 343}
_KCMP_FILES = 2
_SOL_SOCKET = 1
_SO_TYPE, _SO_GET_FILTER, _SO_PROTOCOL, _SO_DOMAIN, _SO_COOKIE = 3, 26, 38, 39, 57  # asm-generic/socket.h
_BPF_MAXINSNS = 4096
_STATX_BTIME = 0x800
_STATX_BASIC_STATS = 0x7FF
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_STATX_DONT_SYNC = 0x4000
_STATX = struct.Struct("=IIQIIIHxxQQQQ qIxxxx qIxxxx qIxxxx qIxxxx IIII")  # struct statx up to stx_dev_minor

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_uint]
_kcmp_number = _SYS_KCMP.get(os.uname().machine, -1)
_getsockopt = _libc.getsockopt
_getsockopt.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_getsockname = _libc.getsockname
_getsockname.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]


def _failure(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


def pidfd_getfd(pidfd: int, descriptor: int) -> int:
    """Duplicate another process's descriptor, close-on-exec (Linux 5.6)."""
    duplicate = _syscall(_SYS_PIDFD_GETFD, pidfd, descriptor, 0)
    if duplicate < 0:
        raise _failure("pidfd_getfd")
    return int(duplicate)


def share_descriptors(process: int, thread: int) -> bool:
    """Whether two threads use one descriptor table; False also where kcmp(2) is not to be had."""
    return bool(_syscall(_kcmp_number, process, thread, _KCMP_FILES, 0, 0) == 0)


class SocketOptions:
    """getsockopt(2) with its buffers made once: it is asked of every socket on the host.

    Not for two threads at a time.
    """

    def __init__(self) -> None:
        self._program = ctypes.create_string_buffer(8 * _BPF_MAXINSNS)
        self._number = ctypes.c_uint32()
        self._length = ctypes.c_uint32()
        self._no_room = ctypes.c_uint32(0)
        self._four = ctypes.c_uint32(4)
        self._program_at = ctypes.addressof(self._program)
        self._number_at = ctypes.addressof(self._number)
        self._length_at = ctypes.addressof(self._length)
        self._no_room_at = ctypes.addressof(self._no_room)
        self._four_at = ctypes.addressof(self._four)

    def filter_length(self, descriptor: int) -> int:
        """Instructions of the classic filter on a socket (0: no filter), or -1 where an eBPF program is attached.

        sk_get_filter (net/core/filter.c) answers EACCES for a program that did not begin as a classic one.
        """
        if _getsockopt(descriptor, _SOL_SOCKET, _SO_GET_FILTER, None, self._no_room_at) < 0:
            if ctypes.get_errno() == errno.EACCES:
                return -1
            raise _failure("SO_GET_FILTER")
        length = self._no_room.value
        if length:
            self._no_room.value = 0
        return length

    def filter(self, descriptor: int) -> SocketFilter:
        """The filter on a socket."""
        length = self.filter_length(descriptor)
        if length <= 0:
            return SocketFilter(kind=FilterKind.EBPF if length else FilterKind.NONE)
        self._length.value = min(length, _BPF_MAXINSNS)  # in: room, in instructions; out: instructions
        if _getsockopt(descriptor, _SOL_SOCKET, _SO_GET_FILTER, self._program_at, self._length_at) < 0:
            raise _failure("SO_GET_FILTER")
        raw = self._program.raw[: 8 * min(self._length.value, _BPF_MAXINSNS)]
        program = tuple(Instruction(*fields) for fields in struct.iter_unpack("=HBBI", raw))
        return SocketFilter(kind=FilterKind.CLASSIC, program=program)

    def domain(self, descriptor: int) -> int:
        """AF_*."""
        return self._integer(descriptor, _SO_DOMAIN)

    def type(self, descriptor: int) -> int:
        """SOCK_*."""
        return self._integer(descriptor, _SO_TYPE)

    def protocol(self, descriptor: int) -> int:
        """IPPROTO_*; always 0 for AF_PACKET, see `packet_address`."""
        return self._integer(descriptor, _SO_PROTOCOL)

    def _integer(self, descriptor: int, option: int) -> int:
        if _getsockopt(descriptor, _SOL_SOCKET, option, self._number_at, self._four_at) < 0:
            raise _failure("getsockopt")
        return self._number.value

    def cookie(self, descriptor: int) -> int:
        """The kernel's 64-bit name for a socket."""
        value = ctypes.c_uint64()
        self._length.value = 8
        if _getsockopt(descriptor, _SOL_SOCKET, _SO_COOKIE, ctypes.addressof(value), self._length_at) < 0:
            raise _failure("SO_COOKIE")
        return value.value

    def packet_address(self, descriptor: int) -> tuple[int, int]:
        """EtherType (host byte order) and interface index of an AF_PACKET socket, from its struct sockaddr_ll."""
        address = ctypes.create_string_buffer(128)
        self._length.value = len(address)
        if _getsockname(descriptor, ctypes.addressof(address), self._length_at) < 0:
            raise _failure("getsockname")
        protocol, interface_index = (
            struct.unpack_from("!H", address.raw, 2)[0],
            struct.unpack_from("=i", address.raw, 4)[0],
        )
        return protocol, interface_index


@dataclass(frozen=True, slots=True)
class Status:
    """What statx(2) says of a file."""

    mode: int
    links: int
    user_id: int
    inode: int
    size: int
    device: int
    modified_at: float
    changed_at: float
    born_at: float | None
    """None where the file system does not keep it."""


def statx(path: str, follow: bool = True) -> Status:
    """A file's status, from what the kernel has cached: a remote file system is not asked.

    Args:
        path: In the file system's encoding.
        follow: Through a symbolic link at its end.
    """
    buffer = ctypes.create_string_buffer(256)
    flags = _AT_STATX_DONT_SYNC | (0 if follow else _AT_SYMLINK_NOFOLLOW)
    wanted = _STATX_BASIC_STATS | _STATX_BTIME
    if _libc.statx(_AT_FDCWD, os.fsencode(path), flags, wanted, buffer) < 0:
        raise _failure("statx")
    (
        mask, _, _, links, user_id, _, mode, inode, size, _, _,
        _, _, born, born_ns, changed, changed_ns, modified, modified_ns, _, _, major, minor,
    ) = _STATX.unpack_from(buffer.raw)  # fmt: skip
    return Status(
        mode=mode,
        links=links,
        user_id=user_id,
        inode=inode,
        size=size,
        device=os.makedev(major, minor),
        modified_at=modified + modified_ns / 1e9,
        changed_at=changed + changed_ns / 1e9,
        born_at=born + born_ns / 1e9 if mask & _STATX_BTIME else None,
    )


def file_system_magic(path: str) -> int:
    """`f_type` of statfs(2) for the file system a path leads to (linux/magic.h)."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer) < 0:
        raise _failure("statfs")
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF
