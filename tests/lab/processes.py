"""Harmless processes that hold what the sensors look for; each sleeps until it is ended.

A fixture is a Python function that runs in a child of its own and then waits for its end of a pipe to close: it ends
with the test that started it, however that ends.
"""

import ctypes
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
CLONE_FILES = 0x400
SO_ATTACH_FILTER, SO_ATTACH_BPF = 26, 50
PR_SET_NAME, PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 15, 1, 4
NOBODY = 65534

BPF_MAGIC_PACKET = (
    # udp[8:2] = 0x7255 behind Ethernet and an IPv4 header without options, or nothing
    (0x28, 0, 0, 12),
    (0x15, 0, 5, 0x0800),
    (0x30, 0, 0, 23),
    (0x15, 0, 3, 17),
    (0x28, 0, 0, 42),
    (0x15, 0, 1, 0x7255),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)
"""The shape of a BPFDoor filter: (code, jt, jf, k)."""

Instructions = Sequence[tuple[int, int, int, int]]
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Fixture:
    """A running fixture."""

    pid: int
    told: tuple[int, ...]
    """The numbers its function returned: inodes, thread ids."""


@contextmanager
def running(
    body: Callable[[], Sequence[int]], user_id: int | None = None, namespaces: bool = True
) -> Iterator[Fixture]:
    """Run a function in a child, and keep the child asleep while the block lasts.

    Args:
        body: Sets up what is to be seen and returns numbers to tell; what it opens must stay referenced.
        user_id: Become this user first.
        namespaces: Move to a user and a network namespace of its own.
    """
    ready, tell = os.pipe()
    wait, release = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(ready)
            os.close(release)
            die_with_parent()
            if user_id is not None:
                become(user_id)
            if namespaces:
                enter_own_namespaces()
            numbers = body()
            os.write(tell, struct.pack(f"={len(numbers) + 1}q", len(numbers), *numbers))
            os.read(wait, 1)
        finally:
            os._exit(0)
    os.close(tell)
    os.close(wait)
    try:
        answer = os.read(ready, 4096)
        assert answer, "the fixture failed before it was ready"
        count, *numbers = struct.unpack(f"={len(answer) // 8}q", answer)
        yield Fixture(pid, tuple(numbers[:count]))
    finally:
        os.close(release)
        os.close(ready)
        os.waitpid(pid, 0)


def within(body: Callable[[], bytes], user_id: int) -> bytes:
    """What a function returns when it runs as another user, in a child of its own."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read_end)
            become(user_id)
            with os.fdopen(write_end, "wb") as stream:
                stream.write(body())
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        answer = stream.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, "the function failed"
    return answer


def become(user_id: int) -> None:
    """Give up every right but an ordinary user's."""
    os.setgroups([])
    os.setresgid(user_id, user_id, user_id)
    os.setresuid(user_id, user_id, user_id)
    _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # as after an execve: the user may look at its own process


def die_with_parent() -> None:
    """Be killed by the kernel when the thread that forked this process ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def enter_own_namespaces() -> None:
    """Become root of a user and a network namespace of one's own, as `unshare -Urn` does."""
    user_id, group_id = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | CLONE_NEWNET)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user_id} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group_id} 1")


def unshare(what: int) -> None:
    """Leave shared namespaces or tables, as CLONE_* says."""
    if _libc.unshare(what):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def set_namespace(descriptor: int) -> None:
    """Move this thread to the namespace that a descriptor leads to."""
    if _libc.setns(descriptor, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def attach(target: socket.socket, program: Instructions) -> None:
    """Attach a classic filter to a socket."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    target.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))


def attach_ebpf(target: socket.socket) -> None:
    """Attach an eBPF program that drops everything (`r0 = 0; exit`)."""
    instructions = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0))
    licence = ctypes.create_string_buffer(b"GPL")
    # union bpf_attr for BPF_PROG_LOAD of BPF_PROG_TYPE_SOCKET_FILTER
    attributes = struct.pack("=IIQQ", 1, 2, ctypes.addressof(instructions), ctypes.addressof(licence)) + bytes(104)
    program = _libc.syscall(321 if os.uname().machine == "x86_64" else 280, 5, attributes, len(attributes))
    if program < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    target.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, struct.pack("=i", program))
    os.close(program)


def rename(name: bytes) -> None:
    """Take a false name (comm)."""
    _libc.prctl(PR_SET_NAME, name, 0, 0, 0)


def inode(holder: socket.socket) -> int:
    """The inode of a socket, as /proc shows it."""
    return os.fstat(holder.fileno()).st_ino
