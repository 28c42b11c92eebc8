"""The row of a spool's segments: it grows at its end and loses at its head what is settled."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from beat_bridge.shipping import segments
from beat_bridge.shipping.reader import Position
from beat_bridge.shipping.records import Damage, Run
from beat_bridge.shipping.segments import Segment, Writer


class Row:
    """Segments in their order, for one process. `segments` is what readers may go through meanwhile."""

    def __init__(self, directory: Path, segment_bytes: int, least_ordinal: int) -> None:
        """Take up what is in a directory.

        Args:
            directory: Where the segments are.
            segment_bytes: When to begin a new one.
            least_ordinal: No new segment gets a lower ordinal.

        Raises:
            OSError: The directory cannot be read.
        """
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._writer: Writer | None = None
        self.segments: list[Segment] = segments.find(directory)
        self.ordinal = max(least_ordinal, self.segments[-1].ordinal + 1 if self.segments else 0)
        """What the next segment gets, or a lower one."""

    def append(self, encoded: Sequence[bytes], first: int) -> None:
        """Write records to the newest segment, or to a new one where that is full. All of them or none.

        Args:
            encoded: The records.
            first: The sequence of the first.

        Raises:
            OSError: None of them is there.
        """
        if self._writer is None or self._writer.segment.size >= self._segment_bytes:
            self.close()
            self.ordinal += 1
            segment = segments.create(self._directory, self.ordinal - 1, first)
            self._writer = Writer(segment)
            self.segments.append(segment)
        try:
            self._writer.append(b"".join(encoded))
        except OSError:
            if not self._writer.clean:
                self.close()
            raise

    def retire(self, below: int, damage: Mapping[int, Sequence[Damage]], torn: Path) -> list[int]:
        """Remove the segments below an ordinal, except those whose damaged bytes there is no room to set aside.

        Args:
            below: The first ordinal that stays.
            damage: By ordinal, what of a segment is to be kept.
            torn: Where.

        Returns:
            Ordinals of those that are gone.
        """
        gone: list[int] = []
        while self.segments and self.segments[0].ordinal < below:
            segment = self.segments[0]
            try:
                for stretch in damage.get(segment.ordinal, ()):
                    segment.keep_damage(stretch, torn)
                segment.path.unlink()
            except OSError:
                break  # the segment stays until there is room
            gone.append(segment.ordinal)
            del self.segments[0]
        return gone

    def size(self) -> int:
        """Bytes on disk."""
        return sum(segment.size for segment in self.segments)

    def size_behind(self, position: Position) -> int:
        """Bytes from a position on."""
        return sum(
            segment.size - (position.offset if segment.ordinal == position.ordinal else 0)
            for segment in self.segments
            if segment.ordinal >= position.ordinal
        )

    def sequences(self) -> set[int]:
        """Which documents are here.

        Raises:
            OSError: A segment cannot be read.
        """
        return {sequence for segment in self.segments for sequence in _sequences(segment)}

    def end(self) -> int:
        """The sequence behind the last record.

        Raises:
            OSError: The last segment cannot be read.
        """
        if not self.segments:
            return 0
        last = self.segments[-1]
        return max((sequence + 1 for sequence in _sequences(last)), default=last.base)

    def close(self) -> None:
        """Let go of the file that is written to; what comes next goes to a new one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _sequences(segment: Segment) -> list[int]:
    return [record.sequence for item in segment.read(0, None) if isinstance(item, Run) for record in item.records]
