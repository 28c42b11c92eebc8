"""The sensor `read_only_data`: tables and operations that lead somewhere, and that nobody may change.

Everything from `__start_rodata` on is as in the image, to the byte. What boot writes to, and nobody afterwards
(`__ro_after_init`), may differ from the image: there a pointer that the image aims at a function must still lead to
the beginning of one, and nothing may change after the first look.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from drgn import FaultError, Program

from beat_bridge.model.kernel import Hook
from beat_bridge.sensors.hypervisor.integrity.pages import PAGE, Pages, digest
from beat_bridge.sensors.hypervisor.integrity.running import Running
from beat_bridge.sensors.hypervisor.integrity.stretch import differences
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.kernel.seq_operations import MEMBERS, SHOWN_BY
from beat_bridge.sensors.hypervisor.kernel.syscalls import TABLES
from beat_bridge.sensors.hypervisor.kernel.whose import KERNEL
from beat_bridge.sensors.hypervisor.symbols.relocations import relocate

_WORD = struct.Struct("<Q")
_MOST_TOLD = 1000
_SHOWN = 16
_RUN = 256
"""Pages compared at once."""


class ReadOnlyData:
    """Remembered from look to look."""

    def __init__(self, prog: Program) -> None:
        profile = view(prog).profile
        self._prog = prog
        self._image = profile.build.read_only
        self._slide = profile.kernel_offset
        start, size = self._image.address + self._slide, len(self._image.data)
        if not size:
            start = profile.address("__start_rodata")
            size = profile.address("__end_ro_after_init") - start
        self.pages = Pages(prog, start, size)
        lasting = [profile.find(name) for name in ("__start_ro_after_init", "__end_ro_after_init")]
        self._written = range(*(0 if at is None else at - start for at in lasting))
        """Places that boot writes to."""
        self._pointers = self._function_pointers()
        self._differing: set[int] = set()

    def look(self, running: Running, gaps: Gaps, baseline: Sequence[str] = ()) -> Iterator[Hook]:
        """What is not as it should be.

        Args:
            running: Names what pointers lead to.
            gaps: Takes the account.
            baseline: Digests of pages, taken earlier in this boot: what differs from them is told as well.
        """
        if not self._image.data:
            gaps.lack("read-only data", LookupError("give the kernel's image: without it only later changes show"))
        pages = sorted(self._differing.union(self.pages.changed(gaps)))
        self._differing = set()
        if baseline:
            yield from self._drifted(pages, baseline)
        told = 0
        for first in range(0, len(pages), _RUN):
            for hook in self._compared(pages[first : first + _RUN], running):
                told += 1
                if told > _MOST_TOLD:
                    gaps.lose("changed data", FaultError(f"more than {_MOST_TOLD} places", self.pages.start))
                    return
                yield hook

    def _drifted(self, pages: list[int], baseline: Sequence[str]) -> Iterator[Hook]:
        for page in pages:
            content = self.pages.part(page * PAGE, min(page * PAGE + PAGE, self.pages.size))
            was = baseline[page] if page < len(baseline) else ""
            if content is not None and was and digest(content) != was:
                self._differing.add(page)
                surface, symbol = self._name(page * PAGE)
                found = f"page {digest(content)}"
                yield Hook(surface=surface, symbol=f"page {symbol}", expected=f"baseline {was}", actual=found)

    def _compared(self, pages: list[int], running: Running) -> Iterator[Hook]:
        image, starts = b"", 0
        for page in pages:
            low, high = page * PAGE, min(page * PAGE + PAGE, self.pages.size)
            now = self.pages.part(low, high)
            if now is None:
                continue
            before = self.pages.before.get(page, now)
            if self._image.data and not starts <= low < starts + len(image):
                starts = low
                image = self._should(low, min(_behind_run(pages, page) * PAGE, self.pages.size))
            should = bytearray(image[low - starts : high - starts] if self._image.data else before)
            # what boot writes to is judged by where it leads, and by what it was
            first, last = max(self._written.start, low), min(self._written.stop, high)
            if first < last:
                should[first - low : last - low] = before[first - low : last - low]
                yield from self._astray(first, last, now, low, running)
            reported = -1
            for start, end in differences(now, should):
                word = (low + start) & -8
                if word == reported:
                    continue
                reported = (low + end - 1) & -8
                self._differing.add(page)
                yield self._hook(_Part(low, now, bytes(should)), low + start, low + end, running)

    def _should(self, low: int, high: int) -> bytes:
        first, last = max(low - 8, 0), high + 8
        moves = view(self._prog).profile.build.relocations
        data = self._image.data[first:last]
        if moves is not None:
            data = relocate(data, self._image.address + first, moves, self._slide)
        return data[low - first : high - first]

    def _function_pointers(self) -> list[tuple[int, int]]:
        """Where the image aims at a function, in what boot writes to: (place, address)."""
        profile = view(self._prog).profile
        moves, found = profile.build.relocations, []
        base = self._image.address & 0xFFFF_FFFF
        if moves is None or not self._image.data:
            return []
        stop = min(self._written.stop, len(self._image.data) - _WORD.size + 1)
        first, last = (bisect_left(moves.add64, base + at) for at in (self._written.start, stop))
        start, end = profile.text_start - self._slide, profile.text_end - self._slide
        for moving in moves.add64[first:last]:
            (target,) = _WORD.unpack_from(self._image.data, moving - base)
            if start <= target < end:
                found.append((moving - base, target + self._slide))
        return found

    def _astray(self, first: int, last: int, now: bytes, low: int, running: Running) -> Iterator[Hook]:
        at = bisect_left(self._pointers, (first, 0))
        while at < len(self._pointers) and self._pointers[at][0] + 8 <= last:
            place, target = self._pointers[at]
            at += 1
            found = _WORD.unpack_from(now, place - low)[0]
            if found == target:
                continue
            code = running.code(found)
            if code.owner == KERNEL and code.aliases:
                continue
            self._differing.add(place // PAGE)
            surface, symbol = self._name(place)
            expected = running.code(target).name
            yield Hook(surface=surface, symbol=symbol, expected=expected, actual=code.name, owner=_owner(code.owner))

    def _hook(self, part: "_Part", start: int, end: int, running: Running) -> Hook:
        """Names of functions where the image has a pointer to one, else bytes."""
        word = start & -8
        at = word - part.low
        surface, symbol = self._name(word)
        if end <= word + 8 and at + 8 <= len(part.now):
            aimed, found = (_WORD.unpack_from(data, at)[0] for data in (part.should, part.now))
            expected, actual = running.code(aimed), running.code(found)
            if expected.owner or actual.owner:
                return Hook(
                    surface=surface,
                    symbol=symbol,
                    expected=expected.name,
                    actual=actual.name,
                    owner=_owner(actual.owner),
                )
        surface, symbol = self._name(start)
        shown = slice(start - part.low, min(end, start + _SHOWN) - part.low)
        was, found_bytes = part.should[shown].hex(" "), part.now[shown].hex(" ")
        return Hook(surface=surface, symbol=symbol, expected=was, actual=found_bytes)

    def _name(self, place: int) -> tuple[str, str]:
        """Surface and entry; those that other sensors know too are named as these do."""
        symbol = view(self._prog).profile.symbol_at(self.pages.start + place)
        if symbol is None:
            return "read_only_data", f"{self.pages.start + place:#x}"
        offset = self.pages.start + place - symbol.address
        if symbol.name in TABLES:
            return "syscall_table", f"{symbol.name}[{offset // 8}]"
        if symbol.name in SHOWN_BY and offset < 8 * len(MEMBERS):
            return "seq_operations", f"{symbol.name}.{MEMBERS[offset // 8]}"
        return "read_only_data", f"{symbol.name}+{offset:#x}"


@dataclass(frozen=True, slots=True)
class _Part:
    """A page."""

    low: int
    """Its place."""
    now: bytes
    should: bytes


def _behind_run(pages: list[int], page: int) -> int:
    """The page behind those that follow one another from a page on."""
    first = bisect_left(pages, page)
    return next((page + n for n, each in enumerate(pages[first:]) if each != page + n), page + len(pages) - first)


def _owner(owner: str) -> str:
    return "" if owner == KERNEL else owner
