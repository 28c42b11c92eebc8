"""How long a filter takes to be judged.

The peer is what scripts in the field do: look for known constants among the instructions. It answers another, smaller
question (it cannot tell a port from a secret, nor see an unlisted one); the ratio says what following costs.
"""

import statistics
from collections.abc import Callable, Sequence

from beat_bridge.cbpf import Link, judge
from beat_bridge.model.filters import Program
from tests.beat_bridge.cbpf.hostile import GENERATORS
from tests.beat_bridge.cbpf.recorded import BACKDOORS, CLASSIC, ORDINARY, many_words
from tests.bench.figures import Figure, in_turn, seconds

_CONSTANTS = frozenset(
    {0x7255, 0x5293, 0x39393939, 0x8D6C, 0x9F4F, 0x270F, 0x2048, 0x1155, 0x5433, 0x3182, 0x1051, 0x3321, 0xDEAD}
)


def _scan_for_constants(program: Program) -> bool:
    return any(instruction.k in _CONSTANTS for instruction in program)


def _typical(name: str, target: float, programs: Sequence[tuple[Program, Link]]) -> Figure:
    """The median over programs of each one's median time."""
    ours: list[float] = []
    theirs: list[float] = []
    for program, link in programs:
        pair = in_turn(_bind(program, link), _bind_scan(program), runs=25)
        ours.append(pair[0])
        theirs.append(pair[1])
    value = statistics.median(ours) * 1000
    return Figure(
        name=name,
        value=value,
        unit="ms",
        target=f"<= {target:g} ms",
        met=value <= target,
        peer="scan for known constants",
        peer_value=statistics.median(theirs) * 1000,
        note=f"slowest of {len(ours)}: {max(ours) * 1000:.2f} ms",
    )


def _bind_scan(program: Program) -> Callable[[], object]:
    return lambda: _scan_for_constants(program)


def _bind(program: Program, link: Link) -> Callable[[], object]:
    return lambda: judge.__wrapped__(program, link)  # what is remembered would cost nothing


def figures() -> Sequence[Figure]:
    """Typical filters, the longest variants that were reported, and the worst of the hostile ones."""
    ordinary = [(item.program, item.link) for item in ORDINARY]
    backdoors = [(item.program, item.link) for item in BACKDOORS if len(item.program) <= 39]
    long = [(many_words(89, ports=False), Link.ETHERNET), (many_words(99, ports=True), Link.ETHERNET)]
    worst = {
        name: statistics.median(seconds(_bind(make(), Link.ETHERNET), runs=5)) for name, make in GENERATORS.items()
    }
    slowest = max(worst, key=lambda name: worst[name])
    return [
        _typical("filter judged: ordinary software", 1, ordinary),
        _typical("filter judged: classic BPFDoor, 30 instructions", 1, [(CLASSIC, Link.ETHERNET)]),
        _typical("filter judged: backdoors up to 39 instructions", 1, backdoors),
        _typical("filter judged: variants of 205 and 229 instructions", 10, long),
        Figure(
            name="filter judged: hostile, 4,096 instructions, slowest",
            value=worst[slowest] * 1000,
            unit="ms",
            target="<= 200 ms",
            met=worst[slowest] <= 0.2,
            note=f"{slowest}; of {len(worst)} generators; no peer: following each way separately would not end",
        ),
    ]
