"""Reads the spool's records in order, once, and accounts for everything that should be there and is not."""

from collections.abc import Collection, Iterator, Sequence

import msgspec

from beat_bridge.shipping.records import Damage, Record
from beat_bridge.shipping.segments import Segment


class Position(msgspec.Struct, frozen=True, order=True, array_like=True):
    """A place in the row of segments."""

    ordinal: int = 0
    offset: int = 0


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Records to be sent, and what was passed on the way to them."""

    records: tuple[Record, ...]
    end: int
    """Every document with a lower sequence is in this batch or an earlier one."""
    position: Position
    """Where reading goes on: damage before this place is counted."""
    damaged: int
    """Sequences that are missing from the disk."""
    torn: int
    """Stretches of damaged bytes that no missing sequence accounts for."""
    dead: int
    """Records passed over because dead letters hold them already."""


class _Step(msgspec.Struct, frozen=True):
    records: list[Record]
    position: Position
    """Behind them."""
    damaged: int
    torn: int
    """Found before them."""


class Reader:
    """Goes through the segments from the first document that is not settled.

    The list of segments is the spool's own: it grows at its end, and loses what is settled, while this reads.
    """

    def __init__(
        self, segments: Sequence[Segment], settled: int, counted: Position, dead: Collection[int] = frozenset()
    ) -> None:
        """Begin.

        Args:
            segments: The spool's list.
            settled: Sequence of the first record to read.
            counted: Damage before this place has been counted.
            dead: Sequences from there on that dead letters hold already.
        """
        self._segments = segments
        self._end = self._settled = settled
        self._position = self._counted = counted
        self._dead = dead
        self._steps = self._walk()
        self._held: _Step | None = None
        self.damage: dict[int, list[Damage]] = {}
        """What was found damaged, by the segment's ordinal."""

    def take(self, max_documents: int, max_bytes: int) -> Batch | None:
        """The next records; None where there is nothing new.

        Args:
            max_documents: At most so many.
            max_bytes: At most so many bytes of lines, but always at least one record.

        Raises:
            OSError: A segment cannot be read; this reader is then of no further use.
        """
        taken: list[Record] = []
        damaged = torn = dead = 0
        while len(taken) < max_documents:
            step = self._held or next(self._steps)
            if step is None:
                break
            fitting, size = _fitting(step.records, max_documents - len(taken), max_bytes, bool(taken))
            step, self._held = _split(step, fitting)
            if step.records:
                max_bytes -= size
                self._end = step.records[-1].sequence + 1
                live = [record for record in step.records if record.sequence not in self._dead]
                dead += len(step.records) - len(live)
                taken += live
            else:
                self._end += step.damaged
            damaged += step.damaged
            torn += step.torn
            self._position = step.position
            if self._held:
                break
        if not (taken or damaged or torn or dead):
            return None
        return Batch(
            records=tuple(taken), end=self._end, position=self._position, damaged=damaged, torn=torn, dead=dead
        )

    def _walk(self) -> Iterator[_Step | None]:
        """Every record that is not settled, with what is missing before it; None where there is no more as yet."""
        expected, ordinal = self._settled, -1
        while True:
            segment = self._after(ordinal)
            if segment is None:
                yield None
                continue
            offset, torn, ordinal = 0, 0, segment.ordinal
            while True:
                following = self._after(ordinal)  # asked before reading: where there is one, this one grows no more
                for item in segment.read(offset, following.base if following else None):
                    offset = item.end
                    if isinstance(item, Damage):
                        self.damage.setdefault(ordinal, []).append(item)
                        torn += Position(ordinal, item.start) >= self._counted
                    elif item.records[-1].sequence >= expected:
                        unsettled = [record for record in item.records if record.sequence >= expected]
                        missing = unsettled[0].sequence - expected
                        yield _Step(unsettled, Position(ordinal, offset), missing, 0 if missing else torn)
                        expected, torn = unsettled[-1].sequence + 1, 0
                if following is not None:
                    break
                if offset == segment.size and self._after(ordinal) is None:
                    yield None
            missing = max(0, following.base - expected)
            if missing or torn:
                yield _Step([], Position(following.ordinal, 0), missing, 0 if missing else torn)
                expected += missing

    def _after(self, ordinal: int) -> Segment | None:
        return next((segment for segment in tuple(self._segments) if segment.ordinal > ordinal), None)


def _fitting(records: Sequence[Record], documents: int, room: int, crowded: bool) -> tuple[int, int]:
    """How many records, from the first on, there is room for, and their bytes; uncrowded, the first always fits."""
    size = 0
    for fitting, record in enumerate(records[:documents]):
        more = len(record.lines)
        if size + more > room and (crowded or fitting):
            return fitting, size
        size += more
    return min(documents, len(records)), size


def _split(step: _Step, count: int) -> tuple[_Step, _Step | None]:
    """A step with its first records, and one with the rest; None where there is no rest."""
    if count == len(step.records):
        return step, None
    rest = step.records[count:]
    middle = Position(step.position.ordinal, step.position.offset - sum(record.size for record in rest))
    return _Step(step.records[:count], middle, step.damaged, step.torn), _Step(rest, step.position, 0, 0)
