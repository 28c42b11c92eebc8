"""Judge a filter by what it demands of a packet, never by the constants it holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from beat_bridge.cbpf.check import obstacle
from beat_bridge.cbpf.demands import PROTOCOL_NAMES, Demands, demands_of, is_computed, protocol_word, region_of
from beat_bridge.cbpf.describe import describe_path
from beat_bridge.cbpf.families import family_of
from beat_bridge.cbpf.follow import Following, Path, follow
from beat_bridge.cbpf.link import Link
from beat_bridge.cbpf.nodes import Byte
from beat_bridge.cbpf.rarity import Sampler
from beat_bridge.cbpf.summary import in_order, listed, summarise
from beat_bridge.cbpf.terms import Terms
from beat_bridge.cbpf.weigh import Weight, weigh
from beat_bridge.model.base import Verdict
from beat_bridge.model.filters import FilterJudgement, Magic, Program

MAX_LISTED = 24
"""Paths, reasons and magic values that are told."""
REMEMBERED = 256
"""Judgements kept: a host has few different filters, on however many sockets."""


@dataclass(frozen=True)
class _Judged:
    """One accepting path."""

    path: Path
    demands: Demands
    weight: Weight
    words: str
    """Empty past MAX_LISTED."""


@lru_cache(maxsize=REMEMBERED)
def judge(program: Program, link: Link = Link.ETHERNET) -> FilterJudgement:
    """Say what a program demands of a packet, and what that makes of it; equal filters are judged once.

    Args:
        program: Any instructions; what the kernel would refuse is judged unknown.
        link: What the packets of its socket begin with.
    """
    reason = obstacle(program)
    if reason:
        return FilterJudgement(
            verdict=Verdict.UNKNOWN,
            summary=f"Could not be judged: {reason}.",
            reasons=(f"no kernel attaches this program: {reason}",),
            complete=False,
        )
    following = follow(program, link)
    judged: list[_Judged] = []
    sampler = Sampler(following.terms)
    for path in following.paths:
        demands = demands_of(path, link, following.terms, sampler)
        words = describe_path(path, demands, following.terms) if len(judged) < MAX_LISTED else ""
        judged.append(_Judged(path, demands, weigh(demands, link), words))
    return _conclude(judged, following)


def _conclude(judged: Sequence[_Judged], following: Following) -> FilterJudgement:
    verdict = max((item.weight.verdict for item in judged), key=lambda v: v.rank, default=Verdict.BENIGN)
    reasons = [reason for item in judged for reason in item.weight.reasons if item.weight.verdict is verdict]
    blind = any(item.demands.unfollowed or _lost_payload(item, following.terms) for item in judged)
    complete = following.complete and not blind
    if not complete:
        reasons.append(
            "some accepting paths were given up: they are too many to follow"
            if not following.complete
            else "some demands on the payload were given up: they are too many to tell apart"
        )
        if verdict is Verdict.BENIGN:
            verdict = Verdict.UNKNOWN
    magic = _magic(judged, verdict)
    if magic and verdict is Verdict.MALICIOUS:
        breadth = list(dict.fromkeys(protocol_word(item.protocol) for item in magic))
        if len(breadth) > 1:
            reasons.append(f"waits for it on {len(breadth)} protocols at once: {listed(breadth)}")
    if verdict is Verdict.BENIGN and not reasons:
        reasons.append("demands nothing of any payload" if judged else "accepts nothing")
    others = sum(item.weight.verdict is not verdict for item in judged)
    paths = tuple(dict.fromkeys(item.words for item in judged[:MAX_LISTED]))
    if len(judged) > MAX_LISTED:
        paths = (*paths, f"and {len(judged) - MAX_LISTED} more")
    return FilterJudgement(
        verdict=verdict,
        summary=summarise(verdict, _demanded(judged, verdict), _protocols(judged), paths, reasons, others),
        magic=magic[:MAX_LISTED],
        reasons=tuple(dict.fromkeys(reasons))[:MAX_LISTED],
        family=family_of(magic) if verdict.rank >= Verdict.SUSPICIOUS.rank else "",
        protocols=_protocols(judged),
        paths=paths,
        complete=complete,
    )


def _demanded(judged: Sequence[_Judged], verdict: Verdict) -> list[tuple[tuple[Magic, ...], ...]]:
    return [item.weight.demanded for item in judged if item.weight.verdict is verdict]


def _magic(judged: Sequence[_Judged], verdict: Verdict) -> tuple[Magic, ...]:
    if verdict.rank < Verdict.SUSPICIOUS.rank:
        return ()
    found = dict.fromkeys(magic for item in judged for magic in item.weight.magic)
    return tuple(sorted(found, key=lambda magic: in_order(magic.protocol)))


def _protocols(judged: Sequence[_Judged]) -> tuple[str, ...]:
    found = set()
    for item in judged:
        for number in item.demands.layers.protocols or ():
            found.add(PROTOCOL_NAMES.get(number, f"ip-protocol-{number}"))
    return tuple(sorted(found))


def _lost_payload(item: _Judged, terms: Terms) -> bool:
    """Whether joining states gave up a test that looked at a payload, or at a place without a name."""
    layers = item.demands.layers
    places = (
        layers.locate(source) for node in item.path.lost for source in terms.sources(node) if isinstance(source, Byte)
    )
    return any(region_of(layers, place) is not None or is_computed(layers, place) for place in places)
