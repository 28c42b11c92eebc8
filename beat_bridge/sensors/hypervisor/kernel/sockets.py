"""The sockets that can see other people's packets, and those that carry a filter, out of the kernel's own tables.

A descriptor's ``struct socket *`` and the tables' ``struct sock *`` point at each other: that ties a filter to the
process that holds it, and shows a socket that nobody holds.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from drgn import FaultError, Program

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.sockets import Holder, Socket
from beat_bridge.sensors.hypervisor.kernel.asking import listed, read_each, walked
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.holdings import Holdings, holdings, inode_of_socket
from beat_bridge.sensors.hypervisor.kernel.lists import hlist_for_each, hlist_heads
from beat_bridge.sensors.hypervisor.kernel.namespaces import for_each_net
from beat_bridge.sensors.hypervisor.kernel.packet_types import receiving_sockets
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, record
from beat_bridge.sensors.hypervisor.kernel.socket_filters import socket_filter
from beat_bridge.sensors.hypervisor.kernel.tasks import leaders

_AF_PACKET = 17
_AF_INTERNET = (2, 10)
"""AF_INET, AF_INET6"""
_SOCK_RAW = 3
_HOLDERS_KEPT = 64


@dataclass(slots=True)
class Tables:
    """What the kernel's tables show."""

    seen_by: dict[int, set[str]] = field(default_factory=dict)
    """``struct sock *`` to the tables that showed it."""
    namespaces: dict[int, int] = field(default_factory=dict)
    """``struct net *`` to its inode number."""


def tables(prog: Program, gaps: Gaps) -> Tables:
    """Every packet and raw socket in the tables of every namespace: the sensor `packet_sockets`."""
    found = Tables()
    nets = partial(for_each_net, prog)
    namespaces = walked(prog, nets, "the list of network namespaces", gaps)
    found.namespaces.update(namespaces)

    def read(namespace: tuple[int, int]) -> list[int]:
        return list(packet_sockets(prog, namespace[0]))

    for (net, inode), told in read_each(prog, namespaces, read, listed(nets)):
        shown: Iterable[int] = told if isinstance(told, list) else ()
        if isinstance(told, FaultError):
            shown = gaps.whole(packet_sockets(prog, net), f"packet sockets of net:[{inode}]")
        for sock in shown:
            found.seen_by.setdefault(sock, set()).add("packet_sklist")
    for table in ("raw_v4_hashinfo", "raw_v6_hashinfo"):
        for sock in walked(prog, partial(raw_sockets, prog, table), table, gaps):
            found.seen_by.setdefault(sock, set()).add("raw_hashinfo")
    for sock in walked(prog, partial(receiving_sockets, prog), "the lists of who receives packets", gaps):
        found.seen_by.setdefault(sock, set()).add("packet_type")
    gaps.examined += len(found.seen_by)
    return found


def sockets(prog: Program, shown: Tables, held: Holdings, gaps: Gaps, listing: Gaps) -> Iterator[Socket]:
    """Every packet and raw socket, and every other that a descriptor leads to and that carries a filter.

    Args:
        prog: The guest.
        shown: What the tables show.
        held: Who holds what.
        gaps: Account of the sensor `socket_filters`.
        listing: That of `packet_sockets`, which answers for what the tables show.
    """
    seen_by = {sock: set(interfaces) for sock, interfaces in shown.seen_by.items()}
    _add_held(prog, held, seen_by, gaps)
    reader = _Reader(prog, held, shown.namespaces)

    def read(sock: int) -> Socket:
        found = reader.read(sock, seen_by[sock])
        if found.filter.unavailable is not None:
            raise FaultError(found.filter.unavailable.detail, sock)
        return found

    def there(some: Collection[int]) -> Iterable[int]:
        asked = Gaps()
        now = {sock: set(interfaces) for sock, interfaces in tables(prog, asked).seen_by.items()}
        _add_held(prog, _held_now(prog, asked), now, asked)
        return [sock for sock in some if sock in now] if asked.complete else some

    for sock, found in read_each(prog, seen_by, read, there):
        if isinstance(found, FaultError):
            gaps.miss("a socket", found)
            try:
                yield reader.read(sock, seen_by[sock])  # all of it but its filter
            except FaultError as error:
                if sock in shown.seen_by:
                    listing.miss("a socket", error)
        else:
            gaps.examined += 1
            yield found


def packet_sockets(prog: Program, net: int) -> Iterator[int]:
    """The AF_PACKET sockets of a namespace: `net->packet.sklist`.

    Args:
        prog: The guest.
        net: ``struct net *``

    Yields:
        ``struct sock *``
    """
    node = offset_of(prog, "struct sock", "__sk_common.skc_node")
    for each in hlist_for_each(prog, net + offset_of(prog, "struct net", "packet.sklist")):
        yield each - node


def raw_sockets(prog: Program, table: str) -> Iterator[int]:
    """The SOCK_RAW sockets of all namespaces.

    Args:
        prog: The guest.
        table: `raw_v4_hashinfo` or `raw_v6_hashinfo`.

    Yields:
        ``struct sock *``
    """
    node = offset_of(prog, "struct sock", "__sk_common.skc_node")
    for head in hlist_heads(prog, prog[table].ht):
        for each in hlist_for_each(prog, head):
            yield each - node


def _add_held(prog: Program, held: Holdings, seen_by: dict[int, set[str]], gaps: Gaps) -> None:
    """Sockets that descriptors lead to: packet and raw ones, whatever the tables show, and others with a filter."""
    sk_of = record(prog, "struct socket", "sk")
    what = record(prog, "struct sock", "__sk_common.skc_family", "sk_type", "sk_filter")

    def read(socket: int) -> tuple[int, bool]:
        (sock,) = sk_of.read(socket)
        if not sock or sock in seen_by:
            return sock, bool(sock)
        family, kind, sk_filter = what.read(sock)
        return sock, bool(sk_filter) or family == _AF_PACKET or (kind == _SOCK_RAW and family in _AF_INTERNET)

    def there(some: Collection[int]) -> Iterable[int]:
        asked = Gaps()
        now = _held_now(prog, asked).sockets
        return [socket for socket in some if socket in now] if asked.complete else some

    for _, told in read_each(prog, held.sockets, read, there):
        if isinstance(told, FaultError):
            gaps.miss("a socket that a descriptor leads to", told)
            continue
        sock, matters = told
        if matters:
            seen_by.setdefault(sock, set()).add("descriptor")
        else:
            gaps.examined += 1


def _held_now(prog: Program, gaps: Gaps) -> Holdings:
    """Who holds what by now."""
    return holdings(prog, leaders(prog, gaps).tasks, gaps, everyone=gaps.complete)


class _Reader:
    """Turns ``struct sock *`` into sockets, for one pass."""

    def __init__(self, prog: Program, held: Holdings, namespaces: Mapping[int, int]) -> None:
        self._prog = prog
        self._held = held
        self._namespaces = namespaces
        self._sock = record(
            prog,
            "struct sock",
            "__sk_common.skc_family",
            "__sk_common.skc_net.net",
            "__sk_common.skc_cookie.counter",
            "sk_type",
            "sk_protocol",
            "sk_filter",
            "sk_socket",
        )

    def read(self, sock: int, seen_by: set[str]) -> Socket:
        family, net, cookie, kind, protocol, sk_filter, socket = self._sock.read(sock)
        interface = 0
        if family == _AF_PACKET:
            protocol, interface = self._bound_to(sock)
        holders = self._held.sockets.get(socket, {}) if socket else {}
        nowhere = Unavailable(reason=Reason.FAILED, detail="it belongs to a namespace that no list shows")
        return Socket(
            inode=inode_of_socket(self._prog, socket),
            family=family,
            type=kind,
            protocol=protocol,
            network_namespace=self._namespaces.get(net, nowhere),
            interface_index=interface,
            cookie=cookie,
            filter=socket_filter(self._prog, sk_filter),
            holders=tuple(Holder(pid=pid, fd=fd) for pid, fd in sorted(holders.items())[:_HOLDERS_KEPT]),
            holders_complete=self._held.complete,
            seen_by=tuple(sorted(seen_by)),
        )

    def _bound_to(self, sock: int) -> tuple[int | Unavailable, int]:
        """EtherType and interface of a packet socket."""
        try:
            protocol, interface = record(self._prog, "struct packet_sock", "num", "ifindex").read(sock)
        except LookupError as error:
            # af_packet is a module whose own types are not in the kernel's BTF
            return Unavailable(reason=Reason.UNSUPPORTED, detail=f"its EtherType: {error}"), 0
        return ((protocol & 0xFF) << 8 | protocol >> 8), interface
