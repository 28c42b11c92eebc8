"""What one path accepts, in words."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from types import MappingProxyType

from beat_bridge.cbpf import domains
from beat_bridge.cbpf.demands import PROTOCOL_NAMES, ROVING, Demands, protocol_word, region_of, word_of
from beat_bridge.cbpf.domains import Domain
from beat_bridge.cbpf.follow import Path
from beat_bridge.cbpf.layers import Layer, Layers, Place
from beat_bridge.cbpf.nodes import Bits, Byte, Metadata, Node, Operation
from beat_bridge.cbpf.terms import Terms

MAX_CLAUSES = 12
MAX_VALUES = 8
_ETHERTYPES = MappingProxyType(
    {
        0x0800: "IPv4", 0x86DD: "IPv6", 0x0806: "ARP", 0x8035: "RARP", 0x8100: "VLAN", 0x88A8: "QinQ", 0x888E: "EAPOL",
        0x88CC: "LLDP", 0x8863: "PPPoE discovery", 0x8864: "PPPoE", 0x8847: "MPLS", 0x88F7: "PTP", 0x8809: "LACP",
    }
)  # fmt: skip
_LINK_FIELDS = ((0, "destination MAC"), (6, "source MAC"), (12, "EtherType"), (14, "VLAN tag"))
_IPV4_FIELDS = (
    (0, "IP version and header length"), (1, "IP type of service"), (2, "IP total length"), (4, "IP identification"),
    (6, "IP fragment offset"), (8, "TTL"), (9, "IP protocol"), (10, "IP checksum"), (12, "source address"),
    (16, "destination address"), (20, "IP options"),
)  # fmt: skip
_IPV6_FIELDS = (
    (0, "IPv6 version and class"), (4, "IPv6 payload length"), (6, "next header"), (7, "hop limit"),
    (8, "source address"), (24, "destination address"),
)  # fmt: skip
_PORTS = ((0, "source port"), (2, "destination port"), (4, "header"))
_WITH_PORTS = frozenset({6, 17, 33, 132, 136})
_NAMELESS = ((0, "header"),)
_TRANSPORT_FIELDS: Mapping[int, tuple[tuple[int, str], ...]] = MappingProxyType(
    {
        6: (
            *_PORTS[:2], (4, "sequence number"), (8, "acknowledgement number"), (12, "data offset"), (13, "TCP flags"),
            (14, "TCP window"), (16, "TCP checksum"), (18, "urgent pointer"),
        ),
        17: (*_PORTS[:2], (4, "UDP length"), (6, "UDP checksum")),
        1: ((0, "ICMP type"), (1, "ICMP code"), (2, "ICMP checksum"), (4, "ICMP identifier"), (6, "ICMP sequence")),
        58: ((0, "ICMPv6 type"), (1, "ICMPv6 code"), (2, "ICMPv6 checksum"), (4, "ICMPv6 header")),
    }
)  # fmt: skip
_PROTOCOLS = MappingProxyType({number: protocol_word(text) for number, text in PROTOCOL_NAMES.items()})
_DECIMAL = frozenset({"source port", "destination port", "ICMP type", "ICMPv6 type", "TTL", "hop limit", "length"})
_ORDER = MappingProxyType({layer: index for index, layer in enumerate(Layer)})


def describe_path(path: Path, demands: Demands, terms: Terms) -> str:
    """What one path accepts: `IPv4, UDP, destination port 68, payload[0:2] = 0x7255`."""
    layers = demands.layers
    clauses: list[tuple[int, int, str]] = []
    reach = 0
    for node, domain in path.conditions.items():
        if isinstance(node, Operation) and node.operator in ("room", "loadable"):
            continue
        sources = terms.sources(node)
        if sources and all(isinstance(source, Byte) for source in sources):
            places = sorted(
                (_ORDER[place.layer], place.offset)
                for place in (layers.locate(source) for source in sources if isinstance(source, Byte))
            )
            reach = max(reach, *(source.offset + 1 for source in sources if isinstance(source, Byte)))
            clauses.append((*places[0], _clause(node, domain, layers)))
        elif isinstance(node, Metadata) and node.name != "len":
            clauses.append((-1, 0, f"{node.name} {_members(domain, node.ones, '')}"))
    length = path.conditions.get(terms.metadata("len"))
    if length and (length[0][0] > reach or len(length) > 1 or length[0][1] < domains.WORD) and clauses:
        clauses.append((len(_ORDER), 0, f"length {_members(length, domains.WORD, 'length')}"))
    told = list(dict.fromkeys(clause for _, _, clause in sorted(clauses) if clause))
    if len(told) > MAX_CLAUSES:
        told = [*told[:MAX_CLAUSES], f"and {len(told) - MAX_CLAUSES} more conditions"]
    return ", ".join(told) or "every packet"


def _clause(node: Node, domain: Domain, layers: Layers) -> str:
    word = word_of(node)
    if word is None:
        return _masked_clause(node, domain, layers)
    byte, width, shift = word
    place = layers.locate(byte)
    name = _name(layers, place, width)
    if name == "EtherType":
        return _choice(domain, node.ones, _ETHERTYPES, "EtherType")
    if name.removeprefix("inner ") in ("IP protocol", "next header"):
        return _choice(domain, node.ones, _PROTOCOLS, name)
    if name.endswith("address") and width == 4 and layers.version == 4:
        few = domains.points(domain, MAX_VALUES)
        if few and not shift:
            return f"{name} {' or '.join(str(IPv4Address(value)) for value in few)}"
    return f"{name}{f' >> {shift}' if shift else ''} {_members(domain, node.ones, name)}"


def _masked_clause(node: Node, domain: Domain, layers: Layers) -> str:
    if isinstance(node, Bits):
        first = max(node.parts, key=lambda part: part[1])[0]
        if isinstance(first, Byte):
            place = layers.locate(first)
            name = _name(layers, place, 1)
            if name == "IP fragment offset" and domain == domains.ZERO:
                return "not a later fragment"
            if len({part[0] for part in node.parts}) == 1:
                (_, shift, mask) = node.parts[0]
                mask, scale = (mask << -shift, -shift) if shift < 0 else (mask, 0)
                scaled = domains.normalise((low << scale, high << scale) for low, high in domain)
                return f"{name} & {mask:#x} {_members(scaled, mask, '')}"
            return f"{name} and what follows, masked, {_members(domain, node.ones, '')}"
    return f"a calculation over the packet {_members(domain, node.ones, '')}"


def _name(layers: Layers, place: Place, width: int) -> str:
    region = region_of(layers, place)
    if region is not None:
        within = "inner " if place.inner else ""
        if region.base == ROVING:
            return f"payload[x + {place.offset}:{width}]"
        return f"{within}payload[{place.offset - region.start}:{width}]"
    fields: Sequence[tuple[int, str]] = ()
    if place.layer is Layer.LINK:
        fields = _LINK_FIELDS
        if place.offset >= 12 and place.offset == layers.ethertype and not place.inner:
            return "EtherType"
    elif place.layer is Layer.NETWORK:
        version = layers.inner.version if place.inner and layers.inner else layers.version
        fields = _IPV6_FIELDS if version == 6 else _IPV4_FIELDS
    elif place.layer is Layer.TRANSPORT:
        protocols = layers.protocols_of(place)
        fields = _PORTS if protocols is None or _WITH_PORTS.issuperset(protocols) else _NAMELESS
        if protocols and len(protocols) == 1:
            fields = _TRANSPORT_FIELDS.get(protocols[0], fields)
    names = [name for start, name in fields if start <= place.offset]
    name = names[-1] if names else f"{place.layer.value}[{place.offset}:{width}]"
    return f"inner {name}" if place.inner else name


def _choice(domain: Domain, top: int, names: Mapping[int, str], field: str) -> str:
    few = domains.points(domain, MAX_VALUES)
    if few is not None:
        return " or ".join(names.get(value, f"{field} {value:#x}") for value in few)
    excluded = domains.points(domains.complement(domain, top), MAX_VALUES)
    if excluded is not None:
        return f"not {' or '.join(names.get(value, f'{field} {value:#x}') for value in excluded)}"
    return f"{field} {_members(domain, top, field)}"


def _members(domain: Domain, top: int, name: str) -> str:
    """A set of values in words."""
    form = str if name in _DECIMAL else hex
    few = domains.points(domain, MAX_VALUES)
    if few is not None:
        return f"= {' or '.join(form(value) for value in few)}"
    excluded = domains.points(domains.complement(domain, top), MAX_VALUES)
    if excluded is not None:
        return f"not {' or '.join(form(value) for value in excluded)}"
    ranges = [
        form(low)
        if low == high
        else f"at least {form(low)}"
        if high >= top
        else f"at most {form(high)}"
        if low == 0
        else f"{form(low)} to {form(high)}"
        for low, high in domain[:MAX_VALUES]
    ]
    return f"{' or '.join(ranges)}{' or others' if len(domain) > MAX_VALUES else ''}"
