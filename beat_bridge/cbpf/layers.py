"""Where in a packet a byte lies: in which header, or in whose payload, on the packets that one path accepts."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from beat_bridge.cbpf import domains, opcodes
from beat_bridge.cbpf.domains import Domain
from beat_bridge.cbpf.link import PROTOCOL_OF_LINK, TRANSPORTS, UDP, Link
from beat_bridge.cbpf.nodes import WORD, Bits, Byte, Metadata, Node, Sum, Value
from beat_bridge.cbpf.solve import Known, known_value
from beat_bridge.cbpf.terms import Terms

_VLAN_TYPES = frozenset({0x8100, 0x88A8, 0x9100})
_MPLS_TYPES = frozenset({0x8847, 0x8848})
_VXLAN_PORTS = frozenset({4789, 8472})
_GENEVE_PORTS = frozenset({6081})
_ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
_ICMP6_ERRORS = frozenset({1, 2, 3, 4})
IPV4, IPV6, MPLS, PPPOE_SESSION, ETHERNET_BRIDGING = 0x0800, 0x86DD, 0x8847, 0x8864, 0x6558
MAX_LABELS = 4
MAX_NESTING = 8
"""Loads whose place depends on loads whose place depends on loads ..."""


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
    ROVING = "roving"
    """A place that the packet's length or its payload decides: no header is found in this way."""
    COMPUTED = "computed"
    """A place that depends on the packet in a way that names no layer."""


class Place(NamedTuple):
    """One byte's place."""

    layer: Layer
    offset: int
    inner: bool = False
    """In a packet that is carried, or quoted by an error message, inside the outer one."""


@dataclass(frozen=True)
class Inner:
    """A packet within the packet."""

    start: int
    """Where it begins, counted from the outer transport header."""
    network: int
    """Where its network header begins, counted from its start."""
    ethertypes: list[int] | None
    version: int
    """4 or 6 for IP; 0 for another EtherType."""
    header: int
    """Length of its network header."""
    protocols: list[int] | None


class Layers:
    """The headers of the packets that meet the conditions of one path."""

    def __init__(self, link: Link, conditions: Mapping[Node, Domain], known: Known, terms: Terms) -> None:
        self._conditions = conditions
        self._known = known
        self._terms = terms
        self._places: dict[Byte, Place] = {}
        self._nesting = 0
        self._fields: dict[int, Byte] | None = None
        """A byte of the conditions for each offset in the transport header."""
        self.link = link
        self.network = 14 if link is Link.ETHERNET else 0
        """Where the network header begins."""
        self.ethertype = 12
        """Where the EtherType of the network header lies, in Ethernet."""
        self.ethertypes = self._find_ethertypes() if link is Link.ETHERNET else None
        """The EtherTypes that are accepted, VLAN tags and MPLS labels aside; None where any is."""
        self.version = self._find_version()
        """4 or 6 where IP is demanded or everything points to it; 0 for another EtherType."""
        self.transport, self.protocols = self._find_transport()
        """Where the transport header begins if IPv4 has no options; the IP protocols that are accepted, or None."""
        self.later_fragment = self.version == 4 and self._least(self._fragment_offset()) > 0
        """Only fragments after the first are accepted: they have no transport header."""
        self.inner: Inner | None = None
        inner = None if self.later_fragment else self._find_inner()
        if inner is not None:
            self._places = {}
            self.inner = inner

    def protocols_of(self, place: Place) -> list[int] | None:
        """The IP protocols of the packet, outer or inner, that a place lies in; None where any is."""
        return self.inner.protocols if place.inner and self.inner else self.protocols

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
        byte = self._transport_byte(offset)
        return None if byte is None else self.values(byte.base, byte.offset, width)

    def locate(self, byte: Byte) -> Place:
        """Where a byte lies."""
        place = self._places.get(byte)
        if place is not None:
            return place
        if byte.base is None:
            place = self._fixed(byte.offset)
        elif self._nesting < MAX_NESTING:
            self._nesting += 1
            place = self._computed(byte)
            self._nesting -= 1
        else:
            return Place(Layer.COMPUTED, byte.offset)
        place = self._places[byte] = self._within(place)
        return place

    # -- what the path says of the headers

    def _find_ethertypes(self) -> list[int] | None:
        types = self.values(None, 12, 2)
        while types and _VLAN_TYPES.issuperset(types) and self.network < 26:
            self.ethertype = self.network + 2
            self.network += 4
            types = self.values(None, self.ethertype, 2)
        if types is None:
            domain = self._conditions.get(self._terms.metadata("proto"))
            types = None if domain is None else domains.points(domain, 16)
        if types == [PPPOE_SESSION]:
            inner = self.values(None, self.network + 6, 2)
            if inner in ([0x21], [0x57], [0x281]):
                self.network += 8
                types = {0x21: [IPV4], 0x57: [IPV6], 0x281: [MPLS]}[inner[0]]
        if types and _MPLS_TYPES.issuperset(types):
            types = self._after_labels() or types
        return types or None

    def _after_labels(self) -> list[int] | None:
        """The EtherType that the first bytes behind the last MPLS label stand for, if the filter looks there."""
        network = self.network
        for _ in range(MAX_LABELS):
            network += 4
            mask, value = self._known.get(self._terms.byte(None, network - 2), (0, 0))
            if not (mask & 1 and not value & 1):
                break
        beyond = max((byte.offset for byte in self._known if byte.base is None), default=0)
        if beyond < network:
            return None
        self.network = network
        return [IPV6] if self._version_nibble() == 6 else [IPV4]

    def _version_nibble(self) -> int:
        mask, value = self._known.get(self._terms.byte(None, self.network), (0, 0))
        return value >> 4 if mask & 0xF0 == 0xF0 else 4

    def _find_version(self) -> int:
        if self.ethertypes:
            if IPV4 in self.ethertypes:
                return 4
            return 6 if IPV6 in self.ethertypes else 0
        if self.link in (Link.ETHERNET, Link.RAW):
            return 6 if self._version_nibble() == 6 else 4
        return 0

    def _find_transport(self) -> tuple[int, list[int] | None]:
        if self.link in TRANSPORTS:
            fixed = PROTOCOL_OF_LINK.get(self.link)
            return 0, None if fixed is None else [fixed]
        if self.version == 6:
            protocols = self.values(None, self.network + 6, 1)
            if protocols == [44]:  # a fragment header comes first
                return self.network + 48, self.values(None, self.network + 40, 1)
            return self.network + 40, protocols
        if self.version == 4:
            words = self._least(self._terms.and_(self._terms.byte(None, self.network), 0xF))
            return self.network + 4 * max(words, 5), self.values(None, self.network + 9, 1)
        return self.network, None

    def _fragment_offset(self) -> Value:
        return self._terms.and_(self._terms.load(None, self.network + 6, 2), 0x1FFF)

    def _least(self, value: Value) -> int:
        """The smallest value that a word may have."""
        mask, known = known_value(self._known, value) if isinstance(value, Node) else (WORD, value)
        domain = self._conditions.get(value) if isinstance(value, Node) else None
        return max(known & mask, domain[0][0] if domain else 0)

    # -- a packet inside the packet

    def _find_inner(self) -> Inner | None:  # noqa: PLR0911 - one return for each protocol that carries another
        match self.protocols:
            case [4]:
                return self._inner_ip(0, 4)
            case [41]:
                return self._inner_ip(0, 6)
            case [47]:
                return self._inner_of_gre()
            case [1]:
                return self._quoted(_ICMP_ERRORS, 4)
            case [58]:
                return self._quoted(_ICMP6_ERRORS, 6)
            case [17]:
                return self._inner_of_udp()
            case _:
                return None

    def _quoted(self, errors: frozenset[int], version: int) -> Inner | None:
        types = self.transport_values(0, 1)
        return self._inner_ip(8, version) if types and errors.issuperset(types) else None

    def _inner_of_gre(self) -> Inner | None:
        types = self.transport_values(2, 2)
        if types not in ([IPV4], [IPV6]):
            return None
        byte = self._transport_byte(0)
        mask, flags = self._known.get(byte, (0, 0)) if byte else (0, 0)
        optional = 4 * (flags & mask & 0xB0).bit_count()  # checksum, key, sequence number
        return self._inner_ip(4 + optional, 4 if types == [IPV4] else 6)

    def _inner_of_udp(self) -> Inner | None:
        ports = self.transport_values(2, 2) or []
        types = [ETHERNET_BRIDGING] if _VXLAN_PORTS.issuperset(ports) else self.transport_values(8 + 2, 2)
        if not ports or not types or not (_VXLAN_PORTS | _GENEVE_PORTS).issuperset(ports):
            return None
        start = 16
        if types != [ETHERNET_BRIDGING]:
            return self._inner_ip(start, 4 if types == [IPV4] else 6 if types == [IPV6] else 0, types)
        types = self.transport_values(start + 12, 2)
        version = 6 if types == [IPV6] else 4 if types in (None, [IPV4]) else 0
        return self._inner_ip(start, version, types, 14)

    def _inner_ip(self, start: int, version: int, types: list[int] | None = None, network: int = 0) -> Inner:
        begin = start + network
        protocols = self.transport_values(begin + (9 if version == 4 else 6), 1) if version else None
        return Inner(start, network, types, version, {4: 20, 6: 40}.get(version, 0), protocols)

    def _transport_byte(self, offset: int) -> Byte | None:
        if self._fields is None:
            self._fields = {}
            for node in self._conditions:
                for byte in self._terms.sources(node):
                    if isinstance(byte, Byte):
                        place = self.locate(byte)
                        if place.layer is Layer.TRANSPORT and not place.inner:
                            self._fields.setdefault(place.offset, byte)
        return self._fields.get(offset)

    # -- places

    def _fixed(self, offset: int) -> Place:  # noqa: PLR0911 - one return for each kind of layer
        if offset < 0:  # before the transport header that this socket's packets begin with
            return Place(Layer.NETWORK if offset >= opcodes.NETWORK_OFFSET else Layer.LINK, offset)
        if self.link in TRANSPORTS:
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

    def _within(self, place: Place) -> Place:  # noqa: PLR0911 - one return for each kind of layer
        """The same place, counted in the inner packet if it lies there; or in the payload of a later fragment."""
        layer, offset, inside = place
        if layer is not Layer.TRANSPORT or inside:
            return place
        if self.later_fragment:
            return Place(Layer.PAYLOAD, offset)
        inner = self.inner
        if inner is None or offset < inner.start:
            return place
        offset -= inner.start
        if offset < inner.network:
            return Place(Layer.LINK, offset, inner=True)
        offset -= inner.network
        if not inner.version:
            return Place(Layer.FRAME, offset, inner=True)
        if offset < inner.header:
            return Place(Layer.NETWORK, offset, inner=True)
        return Place(Layer.TRANSPORT, offset - inner.header, inner=True)

    def _computed(self, byte: Byte) -> Place:
        base, offset = byte.base, byte.offset
        assert base is not None  # noqa: S101 - or its place would be fixed
        if isinstance(base, Metadata) and base.name == "poff":
            return Place(Layer.PAYLOAD, offset)
        addends = base.addends if isinstance(base, Sum) else ((base, 1),)
        lengths: set[Place] = set()
        roving = False
        for node, coefficient in addends:
            length = self._header_length(node) if coefficient == 1 else None
            if length is not None and length[0] not in lengths:
                lengths.add(length[0])
                offset += length[1]
            elif self._from_content(node):
                roving = True
            else:
                return Place(Layer.COMPUTED, byte.offset)
        if roving:
            return Place(Layer.ROVING, byte.offset)
        begin = self.network if Place(Layer.NETWORK, 0) in lengths else self.transport
        if Place(Layer.NETWORK, 0, inner=True) in lengths and self.inner:
            # counted by the filter itself, so that nothing is taken off for the inner header
            offset += self.inner.header
        if any(place.layer is Layer.TRANSPORT and place.offset == 12 for place in lengths):
            within = self._within(Place(Layer.TRANSPORT, offset - begin))
            return Place(Layer.TCP_PAYLOAD, within.offset, within.inner)
        return Place(Layer.TRANSPORT, offset - begin)

    def _header_length(self, node: Node) -> tuple[Place, int] | None:
        """Whose length in bytes a word is, by the place of the field it comes from; and what must be added to it."""
        if not isinstance(node, Bits) or node.flip or len(node.parts) != 1:
            return None
        source, shift, mask = node.parts[0]
        if not isinstance(source, Byte):
            return None
        place = self.locate(source)
        if place.layer is Layer.NETWORK and place.offset == 0 and shift == 2 and mask & 0x3C == 0x3C:
            return place, 0x100 & mask  # the version's 4, where it was not masked away
        if place.layer is Layer.TRANSPORT and place.offset == 12 and shift == -2 and mask & 0x3C == 0x3C:
            return place, 0
        if place == (Layer.TRANSPORT, 8, False) and shift == 2 and mask == 0xFC:  # GENEVE's options
            ports = self.transport_values(2, 2)
            return (place, 0) if ports and _GENEVE_PORTS.issuperset(ports) else None
        return None

    def _from_content(self, node: Node) -> bool:
        """Whether a word comes from the packet's length, or from payload: a place it names is in no header."""
        return all(
            source.name == "len"
            if isinstance(source, Metadata)
            else isinstance(source, Byte) and self._is_content(self.locate(source))
            for source in self._terms.sources(node)
        )

    def _is_content(self, place: Place) -> bool:
        layer, offset, inside = place
        if layer in (Layer.TCP_PAYLOAD, Layer.PAYLOAD, Layer.ROVING):
            return True
        if layer is Layer.NETWORK and not inside:
            return self.version == 4 and offset in (2, 3)  # the total length
        if layer is not Layer.TRANSPORT or self.protocols != [UDP]:
            return False
        return offset in (4, 5) or (offset >= 8 and self.inner is None)
