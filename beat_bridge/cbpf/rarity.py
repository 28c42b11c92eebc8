"""How seldom a calculation over payload comes out as demanded, where counting its results does not tell.

`1 / (1 + (x ^ K))` has two results and nearly always the same one; `x * y` is 0 far more often than any other number.
So it is tried out, with payloads drawn at random:
the same ones every time, so that the same program always gets the same answer.
"""

from collections.abc import Sequence
from math import log2
from random import Random

from beat_bridge.cbpf import domains
from beat_bridge.cbpf.domains import Domain
from beat_bridge.cbpf.evaluate import Packet, evaluate
from beat_bridge.cbpf.nodes import Byte, Node, children
from beat_bridge.cbpf.solve import Known
from beat_bridge.cbpf.terms import Terms

TRIALS = 2048
"""What none of them meets is as good a secret as a word of 12 bits."""
BUDGET = 24_000
"""Nodes to evaluate in one analysis."""
FEW_HITS = 8
"""After as many the answer is plain enough."""
MAX_SOURCES = 16
LENGTH_BITS = 11
"""Of a packet's length."""
_NO_PACKET = Packet(data=b"")


class Sampler:
    """Tries conditions out, within a budget; remembers what it has tried."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._left = BUDGET
        self._found: dict[tuple[Node, Domain], tuple[int, int]] = {}

    def bits(self, node: Node, domain: Domain, known: Known, counted: float) -> float:
        """How many bits of luck it takes to meet a condition; from 12 on, no trial can tell.

        Args:
            node: Of the condition.
            domain: What it demands of the node.
            known: Bits of packet bytes that the path fixes.
            counted: What counting results says, for what cannot be tried, or is met by no trial.
        """
        sources = sorted(self._terms.sources(node), key=lambda source: source.number)
        if len(sources) > MAX_SOURCES or node.opacity:
            return counted
        key = (node, domain)
        if key not in self._found:
            self._found[key] = self._try(node, domain, sources, known)
        hits, done = self._found[key]
        if done <= FEW_HITS:
            return counted if hits < done or not done else 0.0
        return log2(done / hits) if hits else max(counted, log2(2 * done))

    def _try(self, node: Node, domain: Domain, sources: Sequence[Node], known: Known) -> tuple[int, int]:
        """(how often it was met, in how many trials)."""
        cost = _size(node)
        trials = min(TRIALS, self._left // cost)
        draw = Random(0)  # noqa: S311 - no secret is drawn
        hits = done = 0
        while done < trials and hits < FEW_HITS:
            done += 1
            memory: dict[Node, int | None] = {}
            for source in sources:
                mask, value = known.get(source, (0, 0)) if isinstance(source, Byte) else (0, 0)
                drawn = draw.getrandbits(8 if isinstance(source, Byte) else LENGTH_BITS)
                memory[source] = drawn & ~mask | value & mask
            result = evaluate(node, _NO_PACKET, memory)
            if result is None:
                return 0, 0
            hits += domains.contains(domain, result)
        self._left -= done * cost
        return hits, done


def _size(node: Node) -> int:
    """How many nodes one is made of."""
    seen: set[Node] = set()
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += children(node)
    return len(seen)
