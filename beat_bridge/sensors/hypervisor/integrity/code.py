"""Code that is watched: compared with what it should be, and, where that is not known, with what it was."""

from collections.abc import Callable, Iterator, Sequence

from drgn import FaultError

from beat_bridge.model.kernel import Hook
from beat_bridge.sensors.hypervisor.integrity.nops import NOP5
from beat_bridge.sensors.hypervisor.integrity.pages import PAGE, Pages, digest
from beat_bridge.sensors.hypervisor.integrity.reference import Reference
from beat_bridge.sensors.hypervisor.integrity.running import Running
from beat_bridge.sensors.hypervisor.integrity.sites import offsets_within, switched
from beat_bridge.sensors.hypervisor.integrity.stretch import REACH, Stretch, differences
from beat_bridge.sensors.hypervisor.integrity.verifying import Verdict, verify
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.whose import KERNEL

_MOST_PAGES = 256
"""Verified at once."""
_ATTEMPTS = 4
_NEAR = 4
"""Differing bytes that are no further apart are told as one change."""
_SHOWN = 16
"""Bytes told of one change."""
_MOST_TOLD = 1000
_TRAP = 0xCC
_LONGEST_POKE = 6


class WatchedCode:
    """Some code of the guest. A look costs little more than reading it, unless it has changed."""

    def __init__(self, pages: Pages, reference: Reference, name: Callable[[int], tuple[str, str]]) -> None:
        """Watch code.

        Args:
            pages: Where it is.
            reference: What it should be.
            name: (surface, symbol and offset) of an address, for what is told.
        """
        self._pages = pages
        self._reference = reference
        self._name = name
        self._drifted: dict[int, str] = {}
        self._doubtful: set[int] = set()
        """Pages whose state depends on what the guest says of itself: looked at in every pass."""

    def look(self, changed: list[int], running: Running, gaps: Gaps) -> Iterator[Hook]:
        """What differs and is not the kernel's own doing, and whom the kernel has let in (`explained`).

        Args:
            changed: Pages that are not as in the last look.
            running: Asked for explanations.
            gaps: Takes the account.
        """
        told = 0
        pages = sorted(self._doubtful.union(changed))
        self._doubtful = set()
        for first, last in _runs(pages):
            stretch, verdict = self._verdict(first * PAGE, min(last * PAGE, self._pages.size), running)
            if stretch is None:
                gaps.miss(f"code at {self._pages.start + first * PAGE:#x}", FaultError("could not be read again", 0))
                continue
            for hook in self._hooks(stretch, verdict):
                told += 1
                if told > _MOST_TOLD:
                    gaps.lose("changed code", FaultError(f"more than {_MOST_TOLD} places", self._pages.start))
                    return
                yield hook

    def _verdict(self, low: int, high: int, running: Running) -> tuple[Stretch | None, Verdict]:
        """Verify a part; what the kernel is just changing is looked at again."""
        verdict = Verdict((), ())
        stretch: Stretch | None = None
        for _ in range(_ATTEMPTS):
            start, end = max(low - REACH, 0), min(high + REACH, self._pages.size)
            live = self._pages.part(start, end)
            if live is None:
                return None, verdict
            expected = bytearray(self._reference.should(start, end))
            stretch = Stretch(self._pages.start, start, live, expected, high)
            found = verify(stretch, self._reference.sites, running)
            verdict = Verdict(
                tuple((max(a, low), min(b, high)) for a, b in found.unexplained if b > low and a < high),
                tuple(visitor for visitor in found.visitors if low <= visitor.at < high),
            )
            self._doubtful.update(at // PAGE for at, _ in verdict.unexplained)
            self._doubtful.update(visitor.at // PAGE for visitor in verdict.visitors)
            if not verdict.unexplained:
                break
            verdict = _without_pokes(stretch, verdict, running)
            if not verdict.unexplained:
                break
            running.again()
            try:
                self._pages.again(start, end)
            except FaultError:
                return None, verdict
            if self._pages.part(start, end) == live:
                break
        return stretch, verdict

    def digests(self, running: Running) -> Iterator[str]:
        """What each page is, whatever the kernel switches in it; empty for one that could not be read."""
        return (self._digest(page, running) for page in range(-(-self._pages.size // PAGE)))

    def _digest(self, page: int, running: Running) -> str:
        low, high = page * PAGE, min(page * PAGE + PAGE, self._pages.size)
        code = self._pages.part(low, high)
        if code is None:
            return ""
        if page in self._doubtful:
            code = self._without_visitors(low, high, bytearray(code), running)
        return digest(self._masked(page, code, entries=False))

    def drifted(self, changed: list[int], baseline: Sequence[str], running: Running) -> Iterator[Hook]:
        """Pages that are not what they were when a baseline was taken, one hook each.

        Args:
            changed: Pages that are not as in the last look, which `look` has seen.
            baseline: Digests, as `digests` gives them.
            running: Asked for explanations.
        """
        for page in sorted({*changed, *self._drifted}):
            self._drifted.pop(page, None)
            found = self._digest(page, running)
            was = baseline[page] if page < len(baseline) else ""
            if found and was and found != was:
                self._drifted[page] = found
                surface, symbol = self._name(self._pages.start + page * PAGE)
                yield Hook(surface=surface, symbol=f"page {symbol}", expected=f"baseline {was}", actual=f"page {found}")

    def _without_visitors(self, low: int, high: int, code: bytearray, running: Running) -> bytes:
        """A page as it was before anybody was let in."""
        for visitor in self._verdict(low, high, running)[1].visitors:
            at = visitor.at - low
            size = min(visitor.size, high - visitor.at)
            untouched = NOP5 if visitor.size == len(NOP5) else self._reference.should(visitor.at, visitor.at + size)
            code[at : at + size] = untouched[:size]
        return bytes(code)

    def _masked(self, page: int, code: bytes, *, entries: bool) -> bytes:
        """A page without the bytes that the kernel switches as it runs.

        Args:
            page: Its number.
            code: Its bytes.
            entries: Whether the beginnings of functions are left out too. Without an image they are not all known, so
                that a digest must not depend on them.
        """
        masked = bytearray(code)
        low, high = max(page * PAGE - REACH, 0), page * PAGE + len(code)
        places = list(switched(self._reference.sites, low, high))
        if entries:
            places += [(at, len(NOP5)) for at in offsets_within(self._reference.sites.entries, low, high)]
        for at, size in places:
            first, last = max(at - page * PAGE, 0), min(at + size - page * PAGE, len(code))
            if first < last:
                masked[first:last] = bytes(last - first)
        return bytes(masked)

    def _drift(self, stretch: Stretch, verdict: Verdict) -> Iterator[Hook]:
        """What was patched only after the first look, although the kernel patches it at boot or never."""
        astray = {place // PAGE for run in verdict.unexplained for place in run}
        for page in range(-(-stretch.start // PAGE), -(-stretch.end // PAGE)):
            before = self._pages.before.get(page)
            if before is None or page in astray:
                continue
            now = stretch.now(page * PAGE, len(before))
            explained = [(each.at, each.at + each.size) for each in verdict.visitors]
            for first, last in differences(
                self._masked(page, before, entries=True), self._masked(page, now, entries=True)
            ):
                at, end = page * PAGE + first, page * PAGE + last
                pristine = stretch.now(at, end - at) == self._reference.should(at, end)
                if pristine or any(a < end and at < b for a, b in explained):
                    continue
                surface, symbol = self._name(stretch.address + at)
                shown = min(end - at, _SHOWN)
                was = before[first : first + shown].hex(" ")
                self._doubtful.add(page)
                yield Hook(surface=surface, symbol=symbol, expected=was, actual=stretch.now(at, shown).hex(" "))

    def _hooks(self, stretch: Stretch, verdict: Verdict) -> Iterator[Hook]:
        for at, end in _near(verdict.unexplained):
            surface, symbol = self._name(stretch.address + at)
            size = min(end - at, _SHOWN)
            yield Hook(
                surface=surface,
                symbol=symbol,
                expected=stretch.should(at, size).hex(" "),
                actual=stretch.now(at, size).hex(" "),
            )
        yield from self._drift(stretch, verdict)
        for visitor in verdict.visitors:
            surface, symbol = self._name(stretch.address + visitor.at)
            yield Hook(
                surface=surface,
                symbol=symbol,
                expected=self._reference.should(visitor.at, visitor.at + visitor.size).hex(" "),
                actual=stretch.now(visitor.at, visitor.size).hex(" "),
                owner="" if visitor.owner == KERNEL else visitor.owner,
                explained=True,
            )


def _without_pokes(stretch: Stretch, verdict: Verdict, running: Running) -> Verdict:
    """Leave out what the kernel is changing at this moment: a trap where it has announced a patch."""
    pokes = running.being_patched()
    if not pokes:
        return verdict
    left = []
    for at, end in verdict.unexplained:
        starts = range(max(at - _LONGEST_POKE, stretch.start), at + 1)
        if not any(stretch.address + start in pokes and stretch.now(start, 1)[0] == _TRAP for start in starts):
            left.append((at, end))
    return Verdict(tuple(left), verdict.visitors)


def _runs(pages: list[int]) -> Iterator[tuple[int, int]]:
    """Consecutive numbers as (first, behind the last), not too many at once."""
    first = last = -1
    for page in pages:
        if page == last and last - first < _MOST_PAGES:
            last += 1
            continue
        if first >= 0:
            yield first, last
        first, last = page, page + 1
    if first >= 0:
        yield first, last


def _near(runs: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for at, end in runs:
        if found and at - found[-1][1] <= _NEAR:
            found[-1] = (found[-1][0], end)
        else:
            found.append((at, end))
    return found
