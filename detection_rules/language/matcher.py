"""Sequences and samples over a stream of documents: one state machine for each key, within bounds.

State is in memory. It is bounded in keys, in bytes and in time, and what had to be let go is counted: a sequence that
was not seen because its beginning was let go is said to be possible, never denied. A restart begins anew.
"""

import heapq
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from beat_bridge.model.base import Value
from detection_rules.language.fields import Document, Reader, reader
from detection_rules.language.occurrences import Ledger, Occurrence, microseconds, tiebreak
from detection_rules.language.sample_machine import SampleMachine
from detection_rules.language.sequence_machine import LATENESS, SequenceMachine, Shape
from detection_rules.language.sequence_plan import Key, Plan

_Packed = bytes | Key
"""A key as JSON, half as large; as it is where JSON cannot hold it (half a surrogate)."""
Machine = SequenceMachine | SampleMachine
_Held = Occurrence | Machine
"""What a key has pending; of most keys nothing but the first event of a sequence, which needs no machine yet."""
_Awaited = tuple[int, int, _Packed, tuple[Occurrence, ...], SequenceMachine]
"""When a sequence is certain, a number that no other has, and the sequence."""
SECOND: Final = 1_000_000
"""Microseconds."""
PATIENCE: Final = 900 * SECOND
"""How much later than its span allows a sequence is kept, on the clock of arrival: sensors and networks delay."""
LONGEST: Final = 86_400 * SECOND
"""How long a sequence without `maxspan`, and a sample, is kept after its last event."""
KEY_BYTES: Final = 270
MACHINE_BYTES: Final = 440
"""What a key costs beside its occurrences, and what a machine adds to it, measured."""
SWEPT: Final = 256
"""Keys looked at for their age with each document: a pause must not grow with the number of keys."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one matcher may remember."""

    keys: int = 200_000
    bytes: int = 192 << 20


@dataclass(frozen=True, slots=True)
class Match:
    """A sequence or a sample that is complete."""

    documents: tuple[Mapping[str, Any], ...]
    """Of a sequence in the order of time, of a sample in the order of its items; missing events have none."""
    references: tuple[Hashable, ...]
    """What the caller called them."""
    key: Key


class MatcherStatus(Value, frozen=True, kw_only=True):
    """What a matcher remembers, and what it could not."""

    keys: int = 0
    """Keys with something pending."""
    bytes: int = 0
    matches: int = 0
    let_go: int = 0
    """Keys given up while something was pending: too many keys or bytes, or older than LONGEST without `maxspan`."""
    late: int = 0
    """Events that came more than a minute after a later one of their key, and were left out."""
    undated: int = 0
    """Events without a time that can be read, left out."""
    crowded: int = 0
    """Documents with more keys than are looked at."""

    @property
    def complete(self) -> bool:
        """Whether every event had its chance: False where a match may have been missed."""
        return not (self.let_go or self.late or self.undated or self.crowded)

    def line(self) -> str:
        """One line for a person."""
        missed = [
            f"{count} {what}"
            for count, what in (
                (self.let_go, "keys let go"),
                (self.late, "events too late"),
                (self.undated, "events without a time"),
                (self.crowded, "documents with too many keys"),
            )
            if count
        ]
        return f"{self.keys} keys open, {self.bytes >> 10} KiB, " + (", ".join(missed) or "nothing let go")


class Matcher:
    """Finds what a query describes in documents as they arrive. Any thread may feed it."""

    def __init__(
        self,
        plan: Plan,
        *,
        bounds: Bounds | None = None,
        clock: Callable[[], float] | None = time.time,
        timestamp: str = "@timestamp",
        tiebreaker: str | None = None,
    ) -> None:
        """Begin with nothing.

        Args:
            plan: The query, compiled.
            bounds: How much to remember.
            clock: Seconds since 1970. None where the documents come in the order of their times, which then are the
                clock.
            timestamp: The field that says when an event happened.
            tiebreaker: The field that orders events of the same moment; without one it is the order of arrival.
        """
        self._plan = plan
        self._bounds = bounds or Bounds()
        self._clock = clock
        self._timestamp = reader(timestamp)
        self._tiebreaker: Reader | None = reader(tiebreaker) if tiebreaker else None
        self._mutex = threading.Lock()
        self._ledger = Ledger()
        self._open: OrderedDict[_Packed, _Held] = OrderedDict()
        self._idle: OrderedDict[_Packed, _Held] = OrderedDict()
        self._awaited: list[_Awaited] = []
        self._awaiting = 0
        self._machines = 0
        self._arrived = 0
        self._counts = dict.fromkeys(("matches", "let_go", "late", "undated", "crowded"), 0)
        span = plan.shape.span if plan.shape else None
        live = clock is not None
        self._hold = (span + (PATIENCE if live else 0)) if span is not None else LONGEST if live else None
        self._counted_when_old = span is None
        self._lateness = LATENESS if live else 0

    def feed(self, document: Document, reference: Hashable = None) -> list[Match]:
        """Consider a document.

        Args:
            document: A decoded JSON object.
            reference: What matches call it (its id). A document whose reference is known already is one delivered
                twice, and counts once.

        Returns:
            What it completes, and what the time that has passed confirms.
        """
        return self.feed_to(self._plan.fits(document), document, reference)

    def feed_to(self, fits: tuple[Mapping[Key, int], bool], document: Document, reference: Hashable) -> list[Match]:
        """Consider a document of which it is known already where it fits (`Plan.fits`)."""
        bits, crowded = fits
        if not bits:
            return self.advance() if self._awaited and self._clock else []
        with self._mutex:
            self._counts["crowded"] += crowded
            return self._told(self._take(document, reference, bits))

    def advance(self, now: float | None = None) -> list[Match]:
        """Let time pass without a document: a missing event at a sequence's end is certain only when its time is over.

        Args:
            now: Seconds since 1970; by default what the clock says.
        """
        with self._mutex:
            return self._told(self._pass(self._now(0) if now is None else int(now * SECOND)))

    def finish(self) -> list[Match]:
        """The end of the documents: what is only waited for will not happen any more."""
        with self._mutex:
            found = []
            while self._awaited:
                found += self._confirm(heapq.heappop(self._awaited))
            return self._told(found)

    def status(self) -> MatcherStatus:
        """How it is doing."""
        with self._mutex:
            return MatcherStatus(keys=len(self._open), bytes=self._size(), **self._counts)

    def _take(self, document: Document, reference: Hashable, bits: Mapping[Key, int]) -> list[Match]:
        moment = next((at for value in self._timestamp(document) if (at := microseconds(value)) is not None), None)
        if moment is None:
            self._counts["undated"] += 1
            return []
        self._arrived += 1
        now = self._now(moment)
        found = self._pass(now)
        ordinal = (moment, tiebreak(self._tiebreaker, document), self._arrived)
        shared: dict[int, Occurrence] = {}
        for key, stages in bits.items():
            event = shared.get(stages)
            if event is None:
                event = shared[stages] = Occurrence(ordinal, stages, document, reference, now, self._ledger)
            found += self._put(_pack(key), event, now)
        return found

    def _put(self, key: _Packed, event: Occurrence, now: int) -> list[Match]:
        held = self._open.pop(key, None) or self._idle.pop(key, None)
        shape = self._plan.shape
        if held is None and shape is not None and event.stages == 1 and shape.stages > 1:
            self._open[key] = event
            self._trim()
            return []
        self._machines += not isinstance(held, Machine)
        if shape is None:
            machine, pending, matches = self._sampled(held, key, event)
        else:
            machine, pending, matches = self._sequenced(shape, held, key, event)
        machine.touched = now
        (self._open if pending else self._idle)[key] = machine
        self._trim()
        return matches

    def _sampled(self, held: _Held | None, key: _Packed, event: Occurrence) -> tuple[Machine, bool, list[Match]]:
        machine = held if isinstance(held, SampleMachine) else SampleMachine()
        chosen = machine.take(len(self._plan.places), event)
        return machine, True, [] if chosen is None else [_match(key, chosen)]

    def _sequenced(
        self, shape: Shape, held: _Held | None, key: _Packed, event: Occurrence
    ) -> tuple[Machine, bool, list[Match]]:
        if isinstance(held, Occurrence):
            machine = SequenceMachine.after(held, shape)
        else:
            machine = held if isinstance(held, SequenceMachine) else SequenceMachine(shape)
        complete, taken = machine.take(shape, event)
        self._counts["late"] += not taken
        matches = []
        for events in complete:
            if shape.trailing:
                self._await(shape, key, events, machine, event.touched)
            elif not machine.forbidden(shape, events):
                matches.append(_match(key, events))
        return machine, machine.pending, matches

    def _trim(self) -> None:
        """Let go of the oldest where there is too much."""
        while self._open and (
            len(self._open) + len(self._idle) > self._bounds.keys or self._size() > self._bounds.bytes
        ):
            if self._idle:
                self._drop(self._idle)
            else:
                self._drop(self._open)
                self._counts["let_go"] += 1

    def _drop(self, kept: "OrderedDict[_Packed, _Held]") -> None:
        _, held = kept.popitem(last=False)
        self._machines -= isinstance(held, Machine)

    def _await(
        self, shape: Shape, key: _Packed, events: tuple[Occurrence, ...], machine: SequenceMachine, now: int
    ) -> None:
        """Wait until nothing can happen any more that must not: by the events' time and, behind it, by arrival."""
        last = events[0].time + (shape.span or 0)
        due = max(last, now + last - events[-1].time) + self._lateness
        self._awaiting += 1
        machine.awaited += 1
        heapq.heappush(self._awaited, (due, self._awaiting, key, events, machine))

    def _confirm(self, awaited: _Awaited) -> list[Match]:
        _, _, key, events, machine = awaited
        machine.awaited -= 1
        if self._plan.shape is None or self._open.get(key) is not machine:
            return []  # let go, and counted: what happened since is not known
        return [] if machine.forbidden(self._plan.shape, events) else [_match(key, events)]

    def _pass(self, now: int) -> list[Match]:
        """Let go of what has become too old, and confirm what was waited for."""
        found: list[Match] = []
        while self._awaited and self._awaited[0][0] < now:
            found += self._confirm(heapq.heappop(self._awaited))
        for machines, hold in ((self._idle, self._lateness), (self._open, self._hold)):
            for _ in range(SWEPT):
                if hold is None or not machines or next(iter(machines.values())).touched >= now - hold:
                    break
                self._drop(machines)
                if machines is self._open:
                    self._counts["let_go"] += self._counted_when_old
        return found

    def _now(self, moment: int) -> int:
        """Microseconds: what the clock says, or else the time of an event."""
        return int(self._clock() * SECOND) if self._clock else moment

    def _size(self) -> int:
        return self._ledger.bytes + KEY_BYTES * (len(self._open) + len(self._idle)) + MACHINE_BYTES * self._machines

    def _told(self, found: list[Match]) -> list[Match]:
        self._counts["matches"] += len(found)
        return found


def match_all(
    plan: Plan, documents: Iterable[Document], *, timestamp: str = "@timestamp", tiebreaker: str | None = None
) -> list[Match]:
    """Every match among documents that are all there, whatever their order; references are their places, from 0.

    As Elasticsearch finds them in an index: nothing is let go, and every span is over at the end. Documents without a
    time are in no sequence.
    """
    when, breaks = reader(timestamp), reader(tiebreaker) if tiebreaker else None

    def ordinal(place: tuple[int, Document]) -> tuple[int, tuple[int | float | str, ...], int]:
        at, document = place
        moment = next((moment for value in when(document) if (moment := microseconds(value)) is not None), 0)
        return moment, tiebreak(breaks, document), at

    matcher = Matcher(plan, bounds=Bounds(2**62, 2**62), clock=None, timestamp=timestamp, tiebreaker=tiebreaker)
    found = []
    for at, document in sorted(enumerate(documents), key=ordinal):
        found += matcher.feed(document, at)
    return found + matcher.finish()


def _match(key: _Packed, events: tuple[Occurrence, ...]) -> Match:
    unpacked = msgspec.json.decode(key, type=Key) if isinstance(key, bytes) else key
    return Match(tuple(event.document() for event in events), tuple(event.reference for event in events), unpacked)


def _pack(key: Key) -> _Packed:
    try:
        return msgspec.json.encode(key)
    except UnicodeEncodeError:
        return key
