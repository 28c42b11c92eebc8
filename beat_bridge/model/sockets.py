"""Sockets that can see packets which were never addressed to them, and sockets that carry a filter."""

from beat_bridge.model.base import Unavailable, Value
from beat_bridge.model.filters import SocketFilter


class Holder(Value, frozen=True, kw_only=True):
    """A process that has the socket open."""

    pid: int
    fd: int
    """The lowest such descriptor; -1 where it keeps the socket open without one (io_uring, a mapped ring)."""


class Socket(Value, frozen=True, kw_only=True):
    """One socket."""

    inode: int
    """In sockfs; 0 for one that no process opened; below zero where the viewpoint (DRAKVUF) numbers sockets itself."""
    family: int
    """AF_*: 17 is AF_PACKET, 2 AF_INET, 10 AF_INET6, 1 AF_UNIX."""
    type: int
    """SOCK_*: 1 stream, 2 datagram, 3 raw."""
    protocol: int | Unavailable
    """EtherType for AF_PACKET (host byte order), IP protocol for AF_INET and AF_INET6."""
    network_namespace: int | Unavailable
    """Inode of the network namespace."""
    interface_index: int = 0
    """AF_PACKET: the bound interface, 0 for all."""
    cookie: int = 0
    filter: SocketFilter
    holders: tuple[Holder, ...] = ()
    holders_complete: bool = True
    """Every process's descriptors could be read, so that no holder means that nobody visibly holds it."""
    seen_by: tuple[str, ...] = ()
    """The interfaces that showed it: `packet_diag`, `proc_net_raw`, `pidfd_getfd`, ..., sorted."""
