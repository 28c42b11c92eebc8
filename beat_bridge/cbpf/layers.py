"""Where in a packet a byte lies: in which header, or in whose payload, on the packets that one path accepts."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from beat_bridge.cbpf import domains, opcodes
from beat_bridge.cbpf.domains import Domain
from beat_bridge.cbpf.nodes import Bits, Byte, Metadata, Node, Sum
from beat_bridge.cbpf.solve import Known, known_value
from beat_bridge.cbpf.terms import Terms

AF_INET, AF_INET6, AF_NETLINK, AF_PACKET = 2, 10, 16, 17
SOCK_DGRAM, SOCK_RAW = 2, 3
TCP, UDP, ICMP, ICMP6, SCTP = 6, 17, 1, 58, 132


class Link(StrEnum):
    """What a packet begins with, as the filter of a certain socket sees it."""

    ETHERNET = "ethernet"
    """An Ethernet header: AF_PACKET SOCK_RAW."""
    RAW = "raw"
    """An IPv4 or IPv6 header: AF_PACKET SOCK_DGRAM, AF_INET SOCK_RAW, tun devices."""
    UDP = "udp"
    TCP = "tcp"
    ICMP = "icmp"
    ICMP6 = "icmp6"
    SCTP = "sctp"
    """A transport header: the sockets of that protocol, and AF_INET6 SOCK_RAW, which gets no IP header."""
    TRANSPORT = "transport"
    """The header of a transport that is not named here."""
    NETLINK = "netlink"
    """A netlink message, from this kernel or a process of this machine."""
    MESSAGE = "message"
    """No header at all: AF_UNIX, AF_VSOCK, and whatever else is not known."""

    def from_first_byte(self, offset: int) -> int:
        """An instruction's signed offset, where the kernel's special areas have a fixed place in the packet."""
        if offset >= 0 or self not in (Link.ETHERNET, Link.RAW):
            return offset
        if offset >= opcodes.NETWORK_OFFSET:
            return offset - opcodes.NETWORK_OFFSET + (14 if self is Link.ETHERNET else 0)
        return offset - opcodes.LINK_OFFSET if self is Link.ETHERNET and offset >= opcodes.LINK_OFFSET else offset

    @classmethod
    def of_socket(cls, family: int, kind: int, protocol: int) -> "Link":
        """What the filter of a socket sees first.

        Args:
            family: AF_*.
            kind: SOCK_*.
            protocol: IPPROTO_* of AF_INET and AF_INET6; 0 where it is not known.
        """
        if family == AF_PACKET:
            return cls.ETHERNET if kind == SOCK_RAW else cls.RAW
        if family == AF_NETLINK:
            return cls.NETLINK
        if family == AF_INET and kind == SOCK_RAW:
            return cls.RAW
        if family in (AF_INET, AF_INET6):
            if protocol == 0 and kind != SOCK_RAW:
                protocol = UDP if kind == SOCK_DGRAM else TCP
            return _LINK_OF_PROTOCOL.get(protocol, cls.TRANSPORT)
        return cls.MESSAGE


_PROTOCOL_OF_LINK: Mapping[Link, int] = MappingProxyType(
    {Link.UDP: UDP, Link.TCP: TCP, Link.ICMP: ICMP, Link.ICMP6: ICMP6, Link.SCTP: SCTP}
)
_LINK_OF_PROTOCOL: Mapping[int, Link] = MappingProxyType({number: link for link, number in _PROTOCOL_OF_LINK.items()})
_TRANSPORTS = frozenset({*_PROTOCOL_OF_LINK, Link.TRANSPORT})
_VLAN_TYPES = frozenset({0x8100, 0x88A8, 0x9100})
IPV4, IPV6, PPPOE_SESSION = 0x0800, 0x86DD, 0x8864


class Layer(StrEnum):
    """A stretch of a packet in which offsets are counted."""

    LINK = "link"
    FRAME = "frame"
    """After the link header, of an EtherType that is not IP."""
    NETWORK = "network"
    TRANSPORT = "transport"
    """From the first byte of the transport header, the payload included."""
    TCP_PAYLOAD = "tcp payload"
    """From where the data offset of the TCP header points."""
    PAYLOAD = "payload"
    """From where the kernel says that the payload begins (SKF_AD_PAY_OFFSET)."""
    MESSAGE = "message"
    COMPUTED = "computed"
    """A place that depends on the packet in a way that names no layer."""


class Place(NamedTuple):
    """One byte's place."""

    layer: Layer
    offset: int


class Layers:
    """The headers of the packets that meet the conditions of one path."""

    def __init__(self, link: Link, conditions: Mapping[Node, Domain], known: Known, terms: Terms) -> None:
        self._conditions = conditions
        self._known = known
        self._terms = terms
        self._places: dict[Byte, Place] = {}
        self.link = link
        self.network = 14 if link is Link.ETHERNET else 0
        """Where the network header begins."""
        self.ethertypes = self._find_ethertypes() if link is Link.ETHERNET else None
        """The EtherTypes that are accepted, VLAN tags aside; None where any is."""
        self.version = self._find_version()
        """4 or 6 where IP is demanded or everything points to it; 0 for another EtherType."""
        self.transport, self.protocols = self._find_transport()
        """Where the transport header begins if IPv4 has no options; the IP protocols that are accepted, or None."""

    def values(self, base: Node | None, offset: int, width: int) -> list[int] | None:
        """What a word of the packet may be: up to 16 values, or None for more."""
        node = self._terms.load(base, offset, width)
        mask, value = known_value(self._known, node)
        if mask & node.ones == node.ones:
            return [value]
        domain = self._conditions.get(node)
        return None if domain is None else domains.points(domain, 16)

    def transport_values(self, offset: int, width: int) -> list[int] | None:
        """What a word of the transport header may be, by whichever way the filter reaches it."""
        for node in self._conditions:
            for byte in self._terms.sources(node):
                if isinstance(byte, Byte) and self.locate(byte) == (Layer.TRANSPORT, offset):
                    found = self.values(byte.base, byte.offset, width)
                    if found is not None:
                        return found
        return None

    def locate(self, byte: Byte) -> Place:
        """Where a byte lies."""
        place = self._places.get(byte)
        if place is None:
            place = self._places[byte] = self._fixed(byte.offset) if byte.base is None else self._computed(byte)
        return place

    # -- what the path says of the headers

    def _find_ethertypes(self) -> list[int] | None:
        types = self.values(None, 12, 2)
        while types and _VLAN_TYPES.issuperset(types) and self.network < 26:
            self.network += 4
            types = self.values(None, self.network - 2, 2)
        if types is None:
            domain = self._conditions.get(self._terms.metadata("proto"))
            types = None if domain is None else domains.points(domain, 16)
        if types == [PPPOE_SESSION]:
            inner = self.values(None, self.network + 6, 2)
            if inner in ([0x21], [0x57]):
                self.network += 8
                types = [IPV4] if inner == [0x21] else [IPV6]
        return types or None

    def _find_version(self) -> int:
        if self.ethertypes:
            if IPV4 in self.ethertypes:
                return 4
            return 6 if IPV6 in self.ethertypes else 0
        if self.link in (Link.ETHERNET, Link.RAW):
            mask, value = self._known.get(self._terms.byte(None, self.network), (0, 0))
            return 6 if mask & 0xF0 == 0xF0 and value & 0xF0 == 0x60 else 4
        return 0

    def _find_transport(self) -> tuple[int, list[int] | None]:
        if self.link in _TRANSPORTS:
            fixed = _PROTOCOL_OF_LINK.get(self.link)
            return 0, None if fixed is None else [fixed]
        if self.version == 6:
            protocols = self.values(None, self.network + 6, 1)
            if protocols == [44]:  # a fragment header comes first
                return self.network + 48, self.values(None, self.network + 40, 1)
            return self.network + 40, protocols
        if self.version == 4:
            mask, value = self._known.get(self._terms.byte(None, self.network), (0, 0))
            length = (value & 0xF) * 4 if mask & 0xF == 0xF else 20
            return self.network + max(length, 20), self.values(None, self.network + 9, 1)
        return self.network, None

    # -- places

    def _fixed(self, offset: int) -> Place:  # noqa: PLR0911 - one return for each kind of layer
        if offset < 0:  # before the transport header that this socket's packets begin with
            return Place(Layer.NETWORK if offset >= opcodes.NETWORK_OFFSET else Layer.LINK, offset)
        if self.link in _TRANSPORTS:
            return Place(Layer.TRANSPORT, offset)
        if self.link in (Link.NETLINK, Link.MESSAGE):
            return Place(Layer.MESSAGE, offset)
        if offset < self.network:
            return Place(Layer.LINK, offset)
        if not self.version:
            return Place(Layer.FRAME, offset - self.network)
        if offset < self.transport:
            return Place(Layer.NETWORK, offset - self.network)
        return Place(Layer.TRANSPORT, offset - self.transport)

    def _computed(self, byte: Byte) -> Place:
        base, offset = byte.base, byte.offset
        if isinstance(base, Metadata) and base.name == "poff":
            return Place(Layer.PAYLOAD, offset)
        addends = base.addends if isinstance(base, Sum) else ((base, 1),)
        after_ip = after_tcp = False
        for node, coefficient in addends:
            if coefficient != 1 or not isinstance(node, Bits) or node.flip or len(node.parts) != 1:
                return Place(Layer.COMPUTED, offset)
            source, shift, mask = node.parts[0]
            place = self.locate(source) if isinstance(source, Byte) else None
            if place == (Layer.NETWORK, 0) and shift == 2 and mask & 0x3C == 0x3C and not after_ip:
                after_ip = True
                offset += 0x100 & mask  # the version's 4, where it was not masked away
            elif place == (Layer.TRANSPORT, 12) and shift == -2 and mask == 0x3C and not after_tcp:
                after_tcp = True
            else:
                return Place(Layer.COMPUTED, byte.offset)
        begin = self.network if after_ip else self.transport
        return Place(Layer.TCP_PAYLOAD if after_tcp else Layer.TRANSPORT, offset - begin)
