"""A range of the guest's memory, read again and again: which of its pages are not what they were?

What was read last is kept, so that a pass over what has not changed is one comparison of bytes. The pieces are smaller
than what malloc(3) takes from the system and gives back each time.
"""

from collections.abc import Iterator
from hashlib import blake2b

from drgn import FaultError, Program

from beat_bridge.sensors.hypervisor.integrity.mapping import mapped
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.memory import MemoryFault

PAGE = 4096
_PIECE = 32 * PAGE
_DIGEST = 16


def digest(content: bytes) -> str:
    """Stands for a page's content, in hexadecimal."""
    return blake2b(content, digest_size=_DIGEST).hexdigest()


class Pages:
    """The pages of one range, by number from its beginning."""

    def __init__(self, prog: Program, start: int, size: int) -> None:
        """Describe the range.

        Args:
            prog: The guest.
            start: Address of the first byte, at the beginning of a page.
            size: Bytes.
        """
        self._prog = prog
        self.start = start
        self.size = size
        self._kept: list[bytes | None] = [None] * (-(-size // _PIECE))
        self.before: dict[int, bytes] = {}
        """Pages that have changed, as they were first seen."""

    def changed(self, gaps: Gaps) -> list[int]:
        """Read everything anew.

        Args:
            gaps: Takes the account: a page is one object.

        Returns:
            The numbers of the pages that were read and are not as last time, ascending.
        """
        found: list[int] = []
        frames = list(mapped(self._prog, self.start, self.start + self.size))
        for number, kept in enumerate(self._kept):
            view(self._prog).deadline.check()
            first = number * _PIECE
            size = min(_PIECE, self.size - first)
            try:
                data = self._read(frames, self.start + first, size)
            except MemoryFault as error:
                self._kept[number] = None
                gaps.miss(f"{size // PAGE} pages of code at {self.start + first:#x}", error)
                continue
            gaps.examined += -(-size // PAGE)
            if data == kept:
                continue
            self._kept[number] = data
            for at in range(0, size, PAGE):
                if kept is None:
                    found.append((first + at) // PAGE)
                elif data[at : at + PAGE] != kept[at : at + PAGE]:
                    found.append((first + at) // PAGE)
                    self.before.setdefault((first + at) // PAGE, kept[at : at + PAGE])
        return found

    def digests(self) -> Iterator[str]:
        """Of every page as it was last read; empty for one that could not be."""
        for low in range(0, self.size, PAGE):
            content = self.part(low, min(low + PAGE, self.size))
            yield "" if content is None else digest(content)

    def _read(self, frames: list[tuple[int, int, int]], address: int, size: int) -> bytes:
        parts, at, end = [], address, address + size
        for virtual, physical, length in frames:
            if virtual <= at < virtual + length:
                count = min(end, virtual + length) - at
                parts.append(view(self._prog).memory.read(physical + at - virtual, count))
                at += count
                if at == end:
                    return parts[0] if len(parts) == 1 else b"".join(parts)
        raise MemoryFault(f"nothing is mapped at {at:#x}")

    def again(self, low: int, high: int) -> None:
        """Read a part anew.

        Raises:
            FaultError: It cannot be read any more.
        """
        for number in range(low // _PIECE, -(-high // _PIECE)):
            first = number * _PIECE
            size = min(_PIECE, self.size - first)
            try:
                frames = list(mapped(self._prog, self.start + first, self.start + first + size))
                self._kept[number] = self._read(frames, self.start + first, size)
            except MemoryFault as error:
                raise FaultError(str(error), self.start + first) from None

    def part(self, low: int, high: int) -> bytes | None:
        """Bytes as they were last read, by their places; None where some could not be read."""
        pieces = self._kept[low // _PIECE : -(-high // _PIECE)]
        if None in pieces:
            return None
        whole = pieces[0] if len(pieces) == 1 else b"".join(piece for piece in pieces if piece is not None)
        first = low // _PIECE * _PIECE
        return None if whole is None else whole[low - first : high - first]
