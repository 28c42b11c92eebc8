"""What a packet begins with, as the filter of a certain kind of socket sees it."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from beat_bridge.cbpf import opcodes

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


PROTOCOL_OF_LINK: Mapping[Link, int] = MappingProxyType(
    {Link.UDP: UDP, Link.TCP: TCP, Link.ICMP: ICMP, Link.ICMP6: ICMP6, Link.SCTP: SCTP}
)
_LINK_OF_PROTOCOL: Mapping[int, Link] = MappingProxyType({number: link for link, number in PROTOCOL_OF_LINK.items()})
TRANSPORTS = frozenset({*PROTOCOL_OF_LINK, Link.TRANSPORT})
"""Links that begin with a transport header."""
