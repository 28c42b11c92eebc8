"""A whole filter in one sentence that an analyst can read aloud."""

from collections.abc import Iterable, Mapping, Sequence

from beat_bridge.cbpf.demands import PROTOCOL_NAMES, ROVING, header_length, protocol_word
from beat_bridge.model.base import Verdict
from beat_bridge.model.filters import Magic

Demanded = tuple[tuple[Magic, ...], ...]
"""What one path demands: one word of each group."""
MAX_TOLD = 8
MAX_PATHS = 64
_NUMBERS: Mapping[str, int] = {name: number for number, name in PROTOCOL_NAMES.items()}
_ORDER = ("udp", "icmp", "tcp", "icmp6", "sctp")


def in_order(protocol: str) -> int:
    """The place of a protocol in a list, the commonest knocks first."""
    return _ORDER.index(protocol) if protocol in _ORDER else len(_ORDER)


def summarise(  # noqa: PLR0913, PLR0917 - all that a judgement knows
    verdict: Verdict,
    demanded: Sequence[Demanded],
    protocols: Sequence[str],
    paths: Sequence[str],
    reasons: Sequence[str],
    others: int,
) -> str:
    """One sentence.

    Args:
        verdict: Of the filter.
        demanded: What each path of this verdict demands.
        protocols: That some path demands.
        paths: Its accepting paths in words.
        reasons: Why this verdict.
        others: How many of its paths have another verdict.
    """
    if verdict is Verdict.MALICIOUS:
        also = (
            f"; {others} other {'kind of packet is' if others == 1 else 'kinds of packets are'} let through as well"
            if others
            else "; nothing else is let through"
        )
        return f"Wakes on {_packets(demanded) or _calculated(protocols)}{also}."
    if verdict is Verdict.SUSPICIOUS:
        packets = _packets(demanded)
        return f"Worth a look: {reasons[0] if reasons else 'see the paths'}{f' ({packets})' if packets else ''}."
    if verdict is Verdict.UNKNOWN:
        return f"Could not be judged: {reasons[-1] if reasons else 'not followed'}."
    if not paths:
        return "Accepts nothing."
    if paths[0] == "every packet":
        return "Accepts every packet."
    more = f"; or {len(paths) - 2} more" if len(paths) > 2 else ""
    return f"Accepts {'; or '.join(paths[:2])}{more}. No secret is demanded."


def _calculated(protocols: Sequence[str]) -> str:
    kinds = f"{listed(map(protocol_word, sorted(protocols, key=in_order)))} " if protocols else ""
    return f"{kinds}packets whose payload meets a secret calculation"


def _packets(demanded: Sequence[Demanded]) -> str:
    """`UDP, ICMP or TCP packets whose payload begins with 0x7255 (UDP, ICMP) or 0x5293 (TCP)`."""
    by_demand: dict[str, list[str]] = {}
    pairs = {
        (protocol, _path_words(path, protocol)): None
        for path in demanded[:MAX_PATHS]
        for protocol in dict.fromkeys(magic.protocol for group in path for magic in group)
    }
    in_turn = sorted(pairs, key=lambda pair: in_order(pair[0]))
    for protocol, words in in_turn:
        by_demand.setdefault(words, []).append(protocol)
    if not by_demand:
        return ""
    protocols = list(dict.fromkeys(protocol for protocol, _ in in_turn))
    told = [
        f"{words} ({', '.join(map(protocol_word, names))})" if len(protocols) > 1 else words
        for words, names in by_demand.items()
    ]
    kinds = "" if "any" in protocols else f"{listed(map(protocol_word, protocols))} "
    return f"{kinds}packets whose payload {_alternatives(told)}"


def _path_words(path: Demanded, protocol: str) -> str:
    """What a path demands of the packets of one protocol."""
    groups = [[magic for magic in group if magic.protocol == protocol] for group in path]
    told = [_alternatives([_word(magic) for magic in group[:MAX_TOLD]], len(group)) for group in groups if group]
    more = f" and {len(told) - MAX_TOLD} more" if len(told) > MAX_TOLD else ""
    return " and ".join(told[:MAX_TOLD]) + more


def _alternatives(phrases: Sequence[str], count: int = 0) -> str:
    """`begins with 0x7255, 0x5293 or 0x1155`: what all have in common is said once; the last says how many more."""
    count = max(count, len(phrases))
    told = list(phrases[:MAX_TOLD])
    start = "begins with "
    if all(phrase.startswith(start) and " and " not in phrase for phrase in told):
        told = [told[0], *(phrase.removeprefix(start) for phrase in told[1:])]
    return listed([*told, f"one of {count - len(told)} more"] if count > len(told) else told)


def listed(names: Iterable[str]) -> str:
    """`a, b or c`."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _word(magic: Magic) -> str:
    value = f"{magic.value:#0{magic.width * 2 + 2}x}"
    if magic.mask is not None:
        value = f"{value} under the mask {magic.mask:#0{magic.width * 2 + 2}x}"
    if magic.base == ROVING:
        return f"holds {value} at a place that the packet itself tells"
    if magic.base == "packet":
        return f"holds {value} at byte {magic.offset} of the packet"
    offset = magic.offset
    if magic.base == "header":
        offset -= header_length(_NUMBERS[magic.protocol]) if magic.protocol in _NUMBERS else 0
    return f"begins with {value}" if offset == 0 else f"holds {value} at byte {offset}"
