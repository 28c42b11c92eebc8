"""One key's state machine of an EQL sequence, as Elasticsearch's documentation lays it down.

Each item is a state; a state holds at most one pending sequence, and a newer one takes its place. An event moves what
waits in the state before its own. `until` empties all states. Whether a missing event (`![ ]`) did happen is asked when
the others are complete, so that a pending sequence is treated alike whether one lies in its gaps or not.

https://www.elastic.co/docs/reference/query-languages/eql/eql-syntax#eql-how-sequence-queries-handle-matches
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from detection_rules.language.occurrences import Occurrence, Ordinal

LATENESS: Final = 60_000_000
"""Microseconds by which an event may arrive after a later one of its key and still take its place in the order."""
MOST_RECENT: Final = 64
"""Events of one key that may still be put in another order; with more, the oldest keep theirs."""
MOST_FORBIDDEN: Final = 256
"""Missing events that did happen, of one key."""
_END: Final[tuple[int | float | str, ...]] = (9,)
"""Behind every tiebreaker."""
_ordinal = attrgetter("ordinal")


@dataclass(frozen=True, slots=True)
class Gap:
    """Where a missing event must not lie: between two stages (-1: before the first, `stages`: after the last)."""

    bit: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What a machine needs to know of its sequence."""

    stages: int
    """Events that must happen; stage n has bit n in an occurrence's `stages`."""
    span: int | None
    """Microseconds from the first to the last."""
    until: int
    """The bit of the event that ends all; 0 where there is none."""
    gaps: tuple[Gap, ...]

    @property
    def forbidden(self) -> int:
        """The bits of all missing events."""
        bits = 0
        for gap in self.gaps:
            bits |= gap.bit
        return bits

    @property
    def trailing(self) -> bool:
        """Whether something must not happen after the last event: then a match takes as long as the span."""
        return any(gap.after == self.stages for gap in self.gaps)


class _Pending:
    """A sequence so far: its newest event, and what came before."""

    __slots__ = ("before", "event", "start")

    def __init__(self, event: Occurrence, before: "_Pending | None") -> None:
        self.event = event
        self.before = before
        self.start: int = before.start if before else event.time

    def events(self) -> tuple[Occurrence, ...]:
        found = [self.event]
        node = self.before
        while node:
            found.append(node.event)
            node = node.before
        return tuple(reversed(found))


_States = list[_Pending | None]
"""By stage, the last one aside, where a sequence is complete and waits no more."""
Complete = tuple[Occurrence, ...]


class SequenceMachine:
    """All that is pending for one key.

    An event in order moves `current`. One that comes late is put in its place among the `recent` ones, and they are
    gone through again from `settled`, which no event can be put before any more.
    """

    __slots__ = ("_current", "_fired", "_forbidden", "_recent", "_settled", "awaited", "touched")

    def __init__(self, shape: Shape) -> None:
        self.touched = 0
        """When it last got an event, on the matcher's clock."""
        self.awaited = 0
        """Sequences whose end is not certain yet."""
        self._current: _States = _nothing(shape)
        self._recent: list[Occurrence] = []
        self._settled: _States | None = None
        self._forbidden: list[Occurrence] | None = None
        self._fired: set[int] | None = None

    @classmethod
    def after(cls, event: Occurrence, shape: Shape) -> "SequenceMachine":
        """What a machine is after the first event of its key."""
        machine = cls(shape)
        machine.take(shape, event)
        return machine

    def take(self, shape: Shape, event: Occurrence) -> tuple[list[Complete], bool]:
        """Add an event.

        Returns:
            What it completes, in the order of time, and whether it could be taken: False for one that came too late.
        """
        recent = self._recent
        if event.reference is not None:
            for known in recent:
                if known.reference == event.reference:
                    return [], True  # delivered twice
        if event.stages & shape.forbidden:
            self._forbid(shape, event)
            if not event.stages & ~shape.forbidden:
                return [], True
        late = bool(recent) and event.ordinal < recent[-1].ordinal
        if late and event.time < recent[-1].time - LATENESS:
            return [], False
        if late and len(recent) >= MOST_RECENT and event.ordinal < recent[0].ordinal:
            return [], False
        if late:
            insort(recent, event, key=_ordinal)
            done = self._again(shape)
        else:
            self._recent = [*recent, event] if len(recent) < 2 else recent  # without room for more: there are many keys
            if self._recent is recent:
                recent.append(event)
            complete = _advance(shape, self._current, event)
            done = [complete] if complete else []
        self._settle(shape)
        if done:
            fired = self._fired = self._fired or set()
            fired.update(complete.event.ordinal[2] for complete in done)
        return [complete.events() for complete in done], True

    @property
    def pending(self) -> bool:
        """Whether a sequence has begun; otherwise it is only kept for events that come late."""
        return bool(self._forbidden or self.awaited) or any(self._current)

    def forbidden(self, shape: Shape, events: Complete) -> bool:
        """Whether a missing event did happen in one of the gaps between the events of a sequence."""
        happened = self._forbidden
        if not happened:
            return False
        span = shape.span or 0
        full = len(happened) >= MOST_FORBIDDEN
        for gap in shape.gaps:
            low: Ordinal | tuple[int]
            low = events[gap.before].ordinal if gap.before >= 0 else (events[-1].time - span,)
            high: tuple[object, ...]
            high = events[gap.after].ordinal if gap.after < shape.stages else (events[0].time + span, _END)
            if full and low < happened[0].ordinal:
                return True  # what lay before is no longer known: rather no match than one that is not true
            for event in happened[bisect_left(happened, low, key=_ordinal) :]:
                if event.ordinal >= high:
                    break
                if event.ordinal > low and event.stages & gap.bit:
                    return True
        return False

    def _forbid(self, shape: Shape, event: Occurrence) -> None:
        happened = self._forbidden = self._forbidden or []
        insort(happened, event, key=_ordinal)
        oldest = happened[-1].time - 2 * (shape.span or 0) - LATENESS
        keep = bisect_left(happened, (oldest,), key=_ordinal)
        del happened[: max(keep, len(happened) - MOST_FORBIDDEN)]

    def _again(self, shape: Shape) -> list[_Pending]:
        """Go through the recent events in their new order; what already fired does not fire twice."""
        self._current = list(self._settled) if self._settled else _nothing(shape)
        fired = self._fired or ()
        done = []
        for event in self._recent:
            complete = _advance(shape, self._current, event)
            if complete and event.ordinal[2] not in fired:
                done.append(complete)
        return done

    def _settle(self, shape: Shape) -> None:
        recent = self._recent
        oldest = recent[-1].time - LATENESS
        if len(recent) <= MOST_RECENT and recent[0].time >= oldest:
            return
        count = max(len(recent) - MOST_RECENT, bisect_left(recent, (oldest,), key=_ordinal))
        settled = self._settled = self._settled or _nothing(shape)
        for event in recent[:count]:
            _advance(shape, settled, event)
            if self._fired:
                self._fired.discard(event.ordinal[2])
        del recent[:count]


def _advance(shape: Shape, states: _States, event: Occurrence) -> _Pending | None:
    """Move what waits for an event; what it completes. Last stage first: so that an event moves nothing twice."""
    bits, last = event.stages, shape.stages - 1
    complete = None
    for stage in range(min(last, bits.bit_length()), 0, -1):
        if not bits >> stage & 1:
            continue
        waiting, states[stage - 1] = states[stage - 1], None
        if waiting is None or (shape.span is not None and event.time - waiting.start > shape.span):
            continue
        grown = _Pending(event, waiting)
        if stage == last:
            complete = grown
        else:
            states[stage] = grown
    if bits & 1:
        first = _Pending(event, None)
        if last:
            states[0] = first
        else:
            complete = first
    if bits & shape.until:
        states[:] = _nothing(shape)
    return complete


def _nothing(shape: Shape) -> _States:
    return [None] * (shape.stages - 1)


def gaps_of(missing: Sequence[bool]) -> tuple[tuple[int, int], ...]:
    """The stages on either side of each missing item: `[False, True, False]` has one gap, (0, 1)."""
    found, stage = [], -1
    for item in missing:
        if item:
            found.append((stage, stage + 1))
        else:
            stage += 1
    return tuple(found)
