"""What is true of the packets that reach an instruction, and how two such truths become one."""

from collections.abc import Mapping, Sequence

from beat_bridge.cbpf import domains
from beat_bridge.cbpf.domains import Domain
from beat_bridge.cbpf.liveness import A, X
from beat_bridge.cbpf.nodes import Node, Value
from beat_bridge.cbpf.solve import Known
from beat_bridge.cbpf.terms import Terms

_NOTHING_LOST: frozenset[Node] = frozenset()
Registers = tuple[Value, ...]


class State:
    """Registers as functions of the packet, and the conditions under which a packet comes here. Never changed."""

    __slots__ = ("a", "cells", "conditions", "known", "lost", "x")

    def __init__(  # noqa: PLR0913, PLR0917 - this is what a state is, and one is made at every step
        self,
        a: Value = 0,
        x: Value = 0,
        cells: Mapping[int, Value] | None = None,
        conditions: Mapping[Node, Domain] | None = None,
        known: Known | None = None,
        lost: frozenset[Node] = _NOTHING_LOST,
    ) -> None:
        self.a = a
        self.x = x
        self.cells: Mapping[int, Value] = cells or {}
        self.conditions: Mapping[Node, Domain] = conditions or {}
        self.known: Known = known or {}
        self.lost = lost

    def with_a(self, value: Value) -> "State":
        """With another A."""
        return State(value, self.x, self.cells, self.conditions, self.known, self.lost)

    def with_x(self, value: Value) -> "State":
        """With another X."""
        return State(self.a, value, self.cells, self.conditions, self.known, self.lost)

    def with_cell(self, cell: int, value: Value) -> "State":
        """With another M[cell]."""
        return State(self.a, self.x, {**self.cells, cell: value}, self.conditions, self.known, self.lost)

    def with_condition(self, node: Node, domain: Domain, known: Known) -> "State":
        """With a condition put in the place of the one on the same node, and the bits that are now known."""
        return State(self.a, self.x, self.cells, {**self.conditions, node: domain}, known, self.lost)

    def ended(self) -> "State":
        """Without registers: the program is over."""
        return State(conditions=self.conditions, known=self.known, lost=self.lost)

    def registers(self, live: int) -> Registers:
        """What can still be read, in a fixed order."""
        kept: list[Value] = [self.a] if live & A else []
        if live & X:
            kept.append(self.x)
        if self.cells:
            kept += [self.cells.get(cell, 0) for cell in range(16) if live >> cell & 1]
        return tuple(kept)


def gather(states: Sequence[State], live: int, limit: int, terms: Terms) -> list[State]:
    """The same packets in fewer states.

    Args:
        states: All that arrive at one instruction.
        live: What may still be read there (`liveness.Liveness.live`).
        limit: How many states to keep; beyond it the most similar are joined and remember what they lost.
        terms: Counts the work.
    """
    kept: dict[Registers, list[State]] = {}
    count = 0
    for state in states:
        group = kept.setdefault(state.registers(live), [])
        before = len(group)
        _add(group, state, terms)
        count += len(group) - before
        if count > limit:
            count -= _reduce(kept, live, terms)
    return [state for group in kept.values() for state in group]


def _add(group: list[State], state: State, terms: Terms) -> None:
    """Put a state among those with the same registers, merging exactly as long as that is possible."""
    merged: State | None = state
    while merged is not None:
        state = merged
        merged = None
        terms.work += 3 * len(group)
        for index, other in enumerate(group):
            merged = _merged(other, state)
            if merged is other:
                return
            if merged is not None:
                del group[index]
                break
    group.append(state)


def _merged(left: State, right: State) -> State | None:
    """One state for exactly the packets of both, or None where there is none."""
    if left.lost != right.lost:
        return None
    ours, theirs = left.conditions, right.conditions
    if len(ours) <= len(theirs) and _covers(ours, theirs):
        return left
    if len(ours) >= len(theirs) and _covers(theirs, ours):
        return right
    differing = _only_difference(ours, theirs)
    if differing is None:
        return None
    joined = domains.union(ours[differing], theirs[differing])
    conditions = dict(ours)
    if joined == domains.below(differing.ones):
        del conditions[differing]
    else:
        conditions[differing] = joined
    return State(left.a, left.x, left.cells, conditions, _shared_known(left, right), left.lost)


def _only_difference(ours: Mapping[Node, Domain], theirs: Mapping[Node, Domain]) -> Node | None:
    """The one node on which two sets of conditions differ, or None where there are more or they name other nodes."""
    if len(ours) != len(theirs):
        return None
    differing: Node | None = None
    for node, domain in ours.items():
        other = theirs.get(node)
        if other is None:
            return None
        if other != domain:
            if differing is not None:
                return None
            differing = node
    return differing


def _covers(wide: Mapping[Node, Domain], narrow: Mapping[Node, Domain]) -> bool:
    """Whether every packet that meets the second set of conditions meets the first."""
    for node, domain in wide.items():
        other = narrow.get(node)
        if other is None or not domains.subset(other, domain):
            return False
    return True


def _shared_known(left: State, right: State) -> Known:
    shared = {}
    for byte, (mask, value) in left.known.items():
        other_mask, other_value = right.known.get(byte, (0, 0))
        both = mask & other_mask & ~(value ^ other_value)
        if both:
            shared[byte] = (both, value & both)
    return shared


# -- with a loss


def _reduce(kept: dict[Registers, list[State]], live: int, terms: Terms) -> int:
    """Join the two most similar states; how many states fewer there are."""
    group = max(kept.values(), key=len)
    if len(group) > 1:
        before = len(group)
        newest = group.pop()
        terms.work += 2 * before
        nearest = min(range(len(group)), key=lambda index: _distance(group[index], newest))
        _add(group, _joined(group.pop(nearest), newest, terms), terms)
        return before - len(group)
    # all registers differ: the two latest values become one that was not followed
    (first, [left]), (second, [right]) = list(kept.items())[-2:]
    del kept[first], kept[second]
    joined = _joined(left, right, terms)
    kept[joined.registers(live)] = [joined]
    return 1


def _distance(left: State, right: State) -> int:
    return len(left.conditions.items() ^ right.conditions.items())


def _joined(left: State, right: State, terms: Terms) -> State:
    """A state that holds for the packets of both, and remembers which tests it gave up."""
    conditions: dict[Node, Domain] = {}
    lost = set(left.lost | right.lost)
    for node in {**left.conditions, **right.conditions}:
        ours, theirs = left.conditions.get(node), right.conditions.get(node)
        if ours is not None and ours == theirs:
            conditions[node] = ours
            continue
        lost.add(node)
        if ours is not None and theirs is not None:
            both = domains.union(ours, theirs)
            if both != domains.below(node.ones) and len(both) <= 16:
                conditions[node] = both
    terms.work += len(lost) + len(conditions) + len(left.known) >> 2

    def either(ours: Value, theirs: Value) -> Value:
        return ours if ours is theirs or ours == theirs else terms.either(ours, theirs)

    cells = {cell: either(value, right.cells.get(cell, 0)) for cell, value in left.cells.items()}
    return State(
        either(left.a, right.a), either(left.x, right.x), cells, conditions, _shared_known(left, right), frozenset(lost)
    )
