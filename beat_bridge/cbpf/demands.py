"""What one path demands of a packet, sorted by where it lies: in headers, or in what the headers carry."""

from dataclasses import dataclass, field
from math import log2
from types import MappingProxyType

from beat_bridge.cbpf import domains
from beat_bridge.cbpf.domains import Domain
from beat_bridge.cbpf.follow import Path
from beat_bridge.cbpf.layers import Layer, Layers, Place
from beat_bridge.cbpf.link import ICMP, ICMP6, SCTP, TCP, UDP, Link
from beat_bridge.cbpf.nodes import JOINED, Bits, Byte, Node, Operation
from beat_bridge.cbpf.rarity import Sampler
from beat_bridge.cbpf.solve import known_value
from beat_bridge.cbpf.terms import Terms

PROTOCOL_NAMES = MappingProxyType(
    {
        ICMP: "icmp", 2: "igmp", TCP: "tcp", UDP: "udp", 33: "dccp", 47: "gre", 50: "esp", 51: "ah", ICMP6: "icmp6",
        89: "ospf", 103: "pim", 112: "vrrp", SCTP: "sctp", 136: "udplite",
    }
)  # fmt: skip
_SPELLED = MappingProxyType({"icmp6": "ICMPv6", "ethernet": "Ethernet", "udplite": "UDP-Lite"})
HEADER_LENGTHS = MappingProxyType(
    # the fixed part of each transport header; of control protocols, the message
    {
        ICMP: 8, 2: 12, TCP: 20, UDP: 8, 33: 16, 46: 20, 47: 16, 50: 8, 51: 12, ICMP6: 8, 88: 20, 89: 44, 103: 26,
        112: 40, SCTP: 16, 136: 8,
    }
)  # fmt: skip
_TUNNELS = frozenset({4, 41, 47, 94, 137})
"""IP protocols that carry another packet, whose headers are no secret."""
_FRAME_PROTOCOLS = MappingProxyType(
    # EtherTypes whose whole content is a known protocol's; the length of what it fills
    {
        0x0806: 28, 0x8035: 28, 0x0842: 116, 0x8809: 1500, 0x8847: 1500, 0x8848: 1500, 0x8863: 1500, 0x8864: 1500,
        0x888E: 1500, 0x8892: 1500, 0x88A4: 1500, 0x88B8: 1500, 0x88CC: 1500, 0x88E1: 1500, 0x88E5: 1500,
        0x88F7: 1500, 0x8902: 1500, 0x890D: 1500, 0x893A: 1500, 0x9000: 1500, 0x22F0: 1500, 0x22F3: 1500,
    }
)  # fmt: skip
GRE = 47
LAST_ASSIGNED = 147
"""The largest IP protocol number that belongs to a protocol (IANA); what lies above has no header to speak of."""
ROVING = "roving"
"""`Magic.base` of a word at a place that the packet decides."""
ANYWHERE = -(1 << 31)
"""Where a payload begins, in a stretch whose offsets do not count from it."""
FEW = 16
"""Values up to which a set counts as a list of accepted words, not as a range."""
MANY = 256
"""The same for values that lie apart from each other: nobody writes down a range in this way."""
RARE_BITS = 8
"""A list that so few words are on is as good a secret as each of its words."""


@dataclass(frozen=True)
class Region:
    """A stretch of payload in which offsets are counted alike."""

    protocols: tuple[str, ...]
    base: str
    """`header`, `payload` or `packet`, as in `Magic.base`."""
    start: int
    """Where in this stretch the payload begins: 8 for UDP counted from its header."""
    origin: int = 0
    """What to add to an offset in this stretch for `Magic.offset`."""
    inner: bool = False
    """In a packet inside the packet."""


@dataclass
class Demands:
    """What one path demands."""

    layers: Layers
    payload: dict[Region, dict[int, tuple[int, int]]] = field(default_factory=dict)
    """Bits demanded of payload bytes: offset to (mask, value)."""
    choices: list[tuple[Region, int, int, tuple[int, ...]]] = field(default_factory=list)
    """(region, offset, width, values): one of a few words."""
    functions: list[tuple[float, bool]] = field(default_factory=list)
    """(bits, of payload bytes alone): a function of payload bytes must have a certain value."""
    narrowed: float = 0.0
    """Bits by which ranges of payload bytes are narrowed."""
    computed_bits: float = 0.0
    """Bits demanded at places that could not be named."""
    unfollowed: bool = False
    """Something is demanded of a word that is one thing on some ways through the program, another on others."""
    pinned: dict[str, int] = field(default_factory=dict)
    """Bits demanded of header fields that change from packet to packet, by the field's name; zeros do not count."""

    @property
    def payload_bits(self) -> float:
        """How many bits of payload are demanded exactly, or as one of a few words."""
        exact = sum(mask.bit_count() for region in self.payload.values() for mask, _ in region.values())
        return exact + sum(bits for bits, alone in self.functions if alone) + self.choice_bits

    @property
    def choice_bits(self) -> float:
        """What sets of words add to the bits that all their members share."""
        total = 0.0
        for region, offset, width, values in self.choices:
            shared = sum(self.payload.get(region, {}).get(offset + i, (0, 0))[0].bit_count() for i in range(width))
            bits = 8 * width - log2(len(values))
            total += max(0.0, (8 * width if bits >= RARE_BITS else bits) - shared)
        return total


def demands_of(path: Path, link: Link, terms: Terms, sampler: Sampler) -> Demands:
    """Sort a path's conditions by layer."""
    layers = Layers(link, path.conditions, path.known, terms)
    demands = Demands(layers)
    for byte, (mask, value) in path.known.items():
        place = layers.locate(byte)
        region = region_of(layers, place)
        if region is not None:
            demands.payload.setdefault(region, {})[place.offset] = (mask, value)
        elif is_computed(layers, place):
            demands.computed_bits += mask.bit_count()
        else:
            name = _changing_field(layers, place)
            if name and value:
                demands.pinned[name] = demands.pinned.get(name, 0) + mask.bit_count()
    for node, domain in path.conditions.items():
        _sort_residue(demands, path, node, domain, terms, sampler)
    return demands


def region_of(layers: Layers, place: Place) -> Region | None:  # noqa: PLR0911 - one return for each kind of layer
    """The payload a place belongs to, or None for a header or a place that could not be named."""
    layer, offset, inner = place
    protocols = layers.protocols_of(place)
    if layer is Layer.TCP_PAYLOAD:
        return Region(("tcp",), "payload", 0, inner=inner)
    if layer is Layer.PAYLOAD:
        return Region(_names(protocols), "payload", 0)
    if layer is Layer.ROVING:
        return Region(_names(protocols), ROVING, ANYWHERE)
    if layer is Layer.FRAME and not inner:
        types = layers.ethertypes or []
        header = min((_FRAME_PROTOCOLS.get(kind, 8 if kind <= 1500 else 0) for kind in types), default=0)
        return Region(("ethernet",), "packet", 0, layers.network) if offset >= header else None
    if layer is Layer.TRANSPORT:
        if protocols is None:
            if inner:
                return None
            return Region(("any",), "packet", 8, layers.transport) if offset >= 8 else None
        carrying = [p for p in protocols if offset >= header_length(p) and p not in _TUNNELS]
        if carrying:
            return Region(_names(carrying), "header", min(header_length(p) for p in carrying), inner=inner)
    return None


def is_computed(layers: Layers, place: Place) -> bool:
    """Whether a place could not be named, or lies within a packet inside the packet."""
    if place.layer is Layer.COMPUTED:
        return True
    protocols = layers.protocols_of(place)
    if place.layer is not Layer.TRANSPORT:
        return False
    if protocols is None:
        return place.inner and place.offset >= 8
    return _TUNNELS.issuperset(protocols) and place.offset >= (8 if _keyed(layers, protocols) else 4)


def _keyed(layers: Layers, protocols: list[int]) -> bool:
    """Whether a demand on bytes 4 to 7 of GRE is one on the key: then the flag says that there is one."""
    flags = layers.transport_values(0, 1) if protocols == [GRE] else None
    return flags is not None and all(value & 0x20 for value in flags)


def header_length(protocol: int) -> int:
    """Bytes of the fixed part of a transport header: none where the number is not assigned."""
    return HEADER_LENGTHS.get(protocol, 8 if protocol <= LAST_ASSIGNED else 0)


def _names(protocols: list[int] | None) -> tuple[str, ...]:
    if not protocols:
        return ("any",)
    return tuple(PROTOCOL_NAMES.get(number, f"ip-protocol-{number}") for number in protocols)


_CHANGING = (
    # (IP protocols, from, to, name) of fields in transport headers
    (frozenset({TCP}), 4, 8, "TCP sequence number"),
    (frozenset({TCP}), 8, 12, "TCP acknowledgement number"),
    (frozenset({TCP}), 14, 16, "TCP window"),
    (frozenset({TCP}), 16, 18, "TCP checksum"),
    (frozenset({TCP}), 18, 20, "TCP urgent pointer"),
    (frozenset({UDP}), 6, 8, "UDP checksum"),
    (frozenset({ICMP, ICMP6}), 2, 4, "ICMP checksum"),
    (frozenset({ICMP, ICMP6}), 4, 6, "ICMP identifier"),
    (frozenset({ICMP, ICMP6}), 6, 8, "ICMP sequence number"),
)


def protocol_word(name: str) -> str:
    """A protocol's name as it is written in a sentence."""
    if name.startswith("ip-protocol-"):
        return name.replace("ip-protocol-", "IP protocol ")
    return _SPELLED.get(name) or name.upper()


def _changing_field(layers: Layers, place: Place) -> str:
    """The name of a header field that no two packets share, if the place lies in one."""
    layer, offset, inner = place
    if inner:
        return ""
    if layer is Layer.NETWORK and layers.version == 4 and offset >= 0:
        return {4: "IP identification", 5: "IP identification", 10: "IP checksum", 11: "IP checksum"}.get(
            offset, "IP options" if offset >= 20 else ""
        )
    if layer is not Layer.TRANSPORT:
        return ""
    for protocols, low, high, name in _CHANGING:
        if low <= offset < high and layers.protocols and protocols.issuperset(layers.protocols):
            return name
    return ""


def _sort_residue(  # noqa: PLR0913, PLR0917 - a path's condition, and what is needed to read it
    demands: Demands, path: Path, node: Node, domain: Domain, terms: Terms, sampler: Sampler
) -> None:
    """What a condition demands of payload beyond the bits that are known."""
    if isinstance(node, Operation) and node.operator in ("room", "loadable"):
        return  # that the packet is long enough
    mask, _ = known_value(path.known, node)
    if mask & node.ones == node.ones:
        return
    layers = demands.layers
    places = [layers.locate(source) for source in terms.sources(node) if isinstance(source, Byte)]
    regions = [region_of(layers, place) for place in places]
    if not any(regions):
        if any(is_computed(layers, place) for place in places):
            demands.computed_bits += max(0.0, log2((node.ones + 1) / domains.size(domain)))
        return
    natural = node.ones + 1
    accepted = domains.size(domain)
    word = word_of(node)
    if accepted * 2 > natural and (word is not None or isinstance(node, Bits)):
        return  # "not this one": nothing is demanded
    bits = max(0.0, log2(natural / accepted) - (mask & node.ones).bit_count())
    if word is None and node.opacity == JOINED:
        demands.unfollowed = True
    elif word is None:
        if not isinstance(node, Bits):
            bits = sampler.bits(node, domain, path.known, bits)
        alone = all(regions) and len(places) == len(terms.sources(node))
        demands.functions.append((min(bits, 8.0 * len(places)), alone))
    elif accepted > MANY and len(domain) * 2 > accepted:
        demands.functions.append((max(bits, RARE_BITS), True))
    elif accepted <= FEW or len(domain) * 2 > accepted:
        byte, width, shift = word
        place = layers.locate(byte)
        region = region_of(layers, place)
        values = domains.points(domain, MANY)
        if region is not None and values is not None:
            demands.choices.append((region, place.offset, width, tuple(value << shift for value in values)))
    else:
        demands.narrowed += bits


def word_of(node: Node) -> tuple[Byte, int, int] | None:
    """(first byte, width, shift) of a node that is a word of adjacent whole bytes, shifted right; else None."""
    if isinstance(node, Byte):
        return node, 1, 0
    if not isinstance(node, Bits) or not node.disjoint or node.flip:
        return None
    parts = sorted(node.parts, key=lambda part: -part[1])
    first, _, _ = parts[0]
    last_shift = parts[-1][1]
    for index, (source, shift, mask) in enumerate(parts):
        if not isinstance(source, Byte) or not isinstance(first, Byte) or source.base is not first.base:
            return None
        whole = 0xFF << shift if shift >= 0 else 0xFF >> -shift
        if source.offset != first.offset + index or shift != parts[0][1] - 8 * index or mask != whole:
            return None
    return (first, len(parts), -last_shift) if isinstance(first, Byte) and last_shift <= 0 else None
