"""What one path's demands make of it: benign, suspicious or malicious, and why."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, product

from beat_bridge.cbpf import carried, words
from beat_bridge.cbpf.demands import Demands, Region, protocol_word
from beat_bridge.cbpf.link import Link
from beat_bridge.model.base import Verdict
from beat_bridge.model.filters import Magic

SECRET_BITS = 12
"""Demanded of a payload, exactly, from here on: one packet in 4,096 meets it by chance."""
FEW_BITS = 8
"""Below this nobody can tell a demand from a look at a flag."""
RANGE_BITS = 16
"""Ranges that together narrow a payload by this much are no look at a length or a type."""
PINNED_BITS = 12
MAX_VARIANTS = 64
_ECHOED = frozenset({"icmp", "icmp6"})
MAX_MAGIC_WIDTH = 8


@dataclass(frozen=True)
class Weight:
    """One path's verdict."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    demanded: tuple[tuple[Magic, ...], ...] = ()
    """The words it demands: one of each group."""

    @property
    def magic(self) -> tuple[Magic, ...]:
        """All the words, each once."""
        return tuple(dict.fromkeys(magic for group in self.demanded for magic in group))


Variant = dict[Region, dict[int, tuple[int, int]]]


def weigh(demands: Demands, link: Link) -> Weight:
    """Judge what a path demands."""
    if link in (Link.NETLINK, Link.MESSAGE):
        return Weight(Verdict.BENIGN, ("messages of this kind come from this machine only",))
    weights = [*_weigh_payload(demands), *_weigh_rest(demands)]
    verdict = max((weight.verdict for weight in weights), key=lambda verdict: verdict.rank, default=Verdict.BENIGN)
    reasons = tuple(dict.fromkeys(reason for weight in weights for reason in weight.reasons))
    return Weight(verdict, reasons, tuple(group for weight in weights for group in weight.demanded))


def _weigh_payload(demands: Demands) -> Iterator[Weight]:
    """What is demanded of payload bytes, exactly or as one of a few words."""
    bits = demands.payload_bits
    if bits < FEW_BITS:
        return
    demanded = tuple(words_of(demands))
    where = _where(magic for group in demanded for magic in group) or "the payload"
    known = _known_protocol(demands)
    if known is not None:
        yield Weight(*known, demanded if known[0] is not Verdict.BENIGN else ())
        return
    amount = f"{bits:.0f} bits of {where}"
    if bits >= SECRET_BITS:
        yield Weight(Verdict.MALICIOUS, (f"demands {amount}, which no protocol explains: a secret",), demanded)
    else:
        yield Weight(Verdict.SUSPICIOUS, (f"demands {amount}, which no known protocol explains",), demanded)


def _weigh_rest(demands: Demands) -> Iterator[Weight]:
    """Functions of several places, ranges, places without a name, and header fields that should vary."""
    mixed = sum(bits for bits, alone in demands.functions if not alone)
    if mixed >= FEW_BITS:
        yield Weight(
            Verdict.SUSPICIOUS,
            (f"demands that payload bytes agree with another part of the packet ({mixed:.0f} bits)",),
        )
    if demands.narrowed >= RANGE_BITS:
        yield Weight(Verdict.SUSPICIOUS, (f"narrows payload bytes to ranges, by {demands.narrowed:.0f} bits in all",))
    if demands.computed_bits >= 1:
        yield Weight(
            Verdict.SUSPICIOUS if demands.computed_bits >= RANGE_BITS else Verdict.UNKNOWN,
            (f"demands {demands.computed_bits:.0f} bits at a place that depends on the packet and has no name",),
        )
    for names, reason in _pinned(demands):
        yield Weight(Verdict.SUSPICIOUS, (f"demands a certain {names}, {reason}",))


def _pinned(demands: Demands) -> Iterator[tuple[str, str]]:
    fields = {name: bits for name, bits in demands.pinned.items() if bits >= PINNED_BITS}
    if set(fields) == {"ICMP identifier"}:
        return  # ping looks for its own
    if fields:
        yield " and ".join(sorted(fields)), "which differs from packet to packet"


def _known_protocol(demands: Demands) -> tuple[Verdict, tuple[str, ...]] | None:  # noqa: PLR0911 - one for each answer
    """What a known protocol makes of the demand: a verdict and reasons, or None where none explains it."""
    if any(alone for _, alone in demands.functions):
        return None
    variants = list(_variants(demands))
    if len(variants) > MAX_VARIANTS:
        return None
    layers = demands.layers
    ports = (layers.transport_values(2, 2) or layers.transport_values(0, 2) or []) if layers.protocols else []
    texts = [(_text(region, text), _certain(region)) for variant in variants for region, text in variant.items()]
    if any(not text for text, _ in texts):
        return None
    fits = [carried.fit(text, layers.protocols or [], ports) for text, _ in texts]
    if fits and all(fits):
        name = next(fit.name for fit in fits if fit)
        if all(fit.ordinary for fit in fits if fit):
            return Verdict.BENIGN, (f"looks at {name} on its own port",)
        return Verdict.SUSPICIOUS, (f"looks for certain contents of {name} on its own port",)
    if any(_ECHOED.intersection(region.protocols) for variant in variants for region in variant):
        return None  # nobody looks for an application's words in a ping
    reading = words.best_of(texts)
    if reading is None or reading.unexplained >= SECRET_BITS:
        return None
    more = " and a little more" if reading.unexplained else ""
    return Verdict.SUSPICIOUS, (f"looks for the first bytes of {reading.protocol}{more} in the payload",)


def _text(region: Region, demanded: dict[int, tuple[int, int]]) -> words.Text:
    return {offset - region.start: bits for offset, bits in demanded.items()}


def _certain(region: Region) -> bool:
    """Whether the payload is known to begin at the region's start."""
    return region.base == "payload" or (region.base == "header" and region.protocols != ("tcp",))


def _variants(demands: Demands) -> Iterator[Variant]:
    """Each combination of the accepted words, as the bytes it demands; MAX_VARIANTS and one at most."""
    alternatives: list[list[tuple[Region, int, int, int]]] = [
        [(region, offset, width, value) for value in values] for region, offset, width, values in demands.choices
    ]
    for combination in islice(product(*alternatives), MAX_VARIANTS + 1):
        variant = {region: dict(text) for region, text in demands.payload.items()}
        for region, offset, width, value in combination:
            text = variant.setdefault(region, {})
            for i in range(width):
                text[offset + i] = (0xFF, value >> 8 * (width - 1 - i) & 0xFF)
        yield variant


def words_of(demands: Demands) -> Iterator[tuple[Magic, ...]]:
    """The words demanded of the payload: adjacent bytes as one, and of each group of choices one."""
    chosen = {(region, offset + i) for region, offset, width, _ in demands.choices for i in range(width)}
    for region, text in demands.payload.items():
        rest = {offset: bits for offset, bits in text.items() if (region, offset) not in chosen}
        yield from _runs(region, rest)
    for region, offset, width, values in demands.choices:
        yield tuple(magic for value in values for magic in _each(region, offset, width, value, None))


def _runs(region: Region, text: dict[int, tuple[int, int]]) -> Iterator[tuple[Magic, ...]]:
    offsets = sorted(text)
    start = 0
    while start < len(offsets):
        end = start + 1
        while end < len(offsets) and offsets[end] == offsets[end - 1] + 1 and end - start < MAX_MAGIC_WIDTH:
            end += 1
        run = [text[offset] for offset in offsets[start:end]]
        mask = int.from_bytes(bytes(mask for mask, _ in run), "big")
        value = int.from_bytes(bytes(value & mask for mask, value in run), "big")
        full = (1 << 8 * len(run)) - 1
        yield tuple(_each(region, offsets[start], len(run), value, None if mask == full else mask))
        start = end


def _each(region: Region, offset: int, width: int, value: int, mask: int | None) -> Iterator[Magic]:
    for protocol in region.protocols:
        base = region.base
        yield Magic(protocol=protocol, offset=region.origin + offset, width=width, value=value, mask=mask, base=base)


def _where(magic: Iterable[Magic]) -> str:
    names = sorted({item.protocol for item in magic})
    if not names:
        return ""
    if names == ["any"]:
        return "the payload, by its place in the packet"
    if names == ["ethernet"]:
        return "the frame's content"
    return f"the {' and '.join(protocol_word(name) for name in names)} payload"
