"""Ask the kernel for the sockets of the network namespace that the calling thread is in."""

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from beat_bridge.sensors.sock_diag.messages import (
    BULK_TABLES,
    NLMSG_DONE,
    NLMSG_ERROR,
    PACKET_REQUEST,
    RAW_TABLES,
    SOCK_DIAG_BY_FAMILY,
    OptionMemory,
    PacketSocket,
    Table,
    TornError,
    error_of,
    inode_and_memory,
    messages,
    packet_socket,
    request,
    sort_by_memory,
    stride,
)

NETLINK_SOCK_DIAG = 4
DATAGRAM_BYTES = 1 << 17
"""The kernel fills at most 32 KiB at a time; a datagram that fills this was cut, and is refused."""
DUMP_BYTES = 1 << 29
"""Some four million sockets."""
DUMP_SECONDS = 10.0
SILENCE_SECONDS = 2.0


class Survey:
    """The sockets of one network namespace."""

    __slots__ = ("errors", "local", "memory", "packet", "raw")

    def __init__(self) -> None:
        self.packet: list[PacketSocket] = []
        self.raw: dict[int, int] = {}
        """Inode of each raw socket to its family, AF_INET or AF_INET6."""
        self.memory = OptionMemory()
        self.local: set[int] = set()
        """AF_UNIX sockets: other sockets may be on their way through them."""
        self.errors: dict[str, int] = {}
        """Table name to errno, for tables that could not be read (ENOENT: this kernel has no such interface)."""


def survey(bulk: bool = True) -> Survey:
    """Read the tables; one that cannot be read is told in `errors` and spoils no other.

    Args:
        bulk: Also the tables whose sockets are wanted only for their option memory.
    """
    result = Survey()
    with _told("packet_diag", result):
        for datagram in _dump(PACKET_REQUEST):
            result.packet.extend(packet_socket(payload) for payload in _sockets(datagram))
    for table in RAW_TABLES:
        with _told(table.name, result):
            for datagram in _dump(table.request):
                for payload in _sockets(datagram):
                    result.raw[inode_and_memory(payload, table)[0]] = table.request[0]
    for table in BULK_TABLES if bulk else ():
        with _told(table.name, result):
            memory = OptionMemory()
            for datagram in _dump(table.request):
                _sort(datagram, table, memory)
            result.memory.clear |= memory.clear
            result.memory.charged |= memory.charged
            if table.request[0] == socket.AF_UNIX:
                result.local = memory.clear | memory.charged
    result.raw.pop(0, None)
    for inodes in (result.memory.clear, result.memory.charged, result.local):
        inodes.discard(0)  # connections that nobody has accepted yet, or that nobody has any more
    return result


@contextmanager
def _told(name: str, result: Survey) -> Iterator[None]:
    try:
        yield
    except TornError:
        result.errors[name] = errno.EBADMSG
    except OSError as error:
        result.errors[name] = error.errno or errno.ETIMEDOUT


def _sockets(datagram: bytes) -> Iterator[bytes]:
    return (payload for kind, payload in messages(datagram) if kind == SOCK_DIAG_BY_FAMILY)


def _sort(datagram: bytes, table: Table, memory: OptionMemory) -> None:
    if sort_by_memory(datagram, table, memory):
        return
    for payload in _sockets(datagram):
        inode, charge = inode_and_memory(payload, table)
        if charge is not None:
            (memory.charged if charge else memory.clear).add(inode)


def _dump(body: bytes) -> Iterator[bytes]:
    """The datagrams that answer one request, up to the one that says done.

    Raises:
        OSError: As the kernel answers, or ETIMEDOUT, or E2BIG past DUMP_BYTES.
        TornError: A datagram makes no sense.
    """
    deadline = time.monotonic() + DUMP_SECONDS
    remaining = DUMP_BYTES
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as channel:
        channel.settimeout(SILENCE_SECONDS)
        channel.sendto(request(body), (0, 0))
        while True:
            datagram, sender = channel.recvfrom(DATAGRAM_BYTES)
            if sender[0] != 0:
                continue  # not from the kernel: any process may write to this socket's address
            remaining -= len(datagram)
            if remaining < 0:
                raise OSError(errno.E2BIG, "more sockets than this can hold")
            if time.monotonic() > deadline:
                raise OSError(errno.ETIMEDOUT, "the kernel's answer does not end")
            if len(datagram) == DATAGRAM_BYTES:
                raise TornError("a datagram was cut")
            if _is_last(datagram):
                yield datagram
                return
            yield datagram


def _is_last(datagram: bytes) -> bool:
    """Whether the dump ends here.

    Raises:
        OSError: It ends with an error.
        TornError: A length does not fit.
    """
    if stride(datagram):
        return False  # sockets only; seen without a step of Python for each of them
    done = False
    for kind, payload in messages(datagram):
        if kind in {NLMSG_DONE, NLMSG_ERROR}:
            failure = error_of(payload)
            if failure or kind == NLMSG_ERROR:
                raise OSError(failure, "sock_diag")
            done = True
    return done
