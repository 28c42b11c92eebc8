"""Looks at a saved guest whose memory was corrupted, one run after the other, in a process of its own.

    python -m tests.beat_bridge.sensors.hypervisor.kernel.fuzz RAM IMAGE SEED RUNS

prints one JSON object for each run (`Run`). Whatever kills this process, a fault in a library among it, is found by
whoever started it; the number of the run that was begun last is in the output.

A **silent gap** is an object of the clean inventory that is in the corrupted one neither as itself nor under another
identity (a process id, a name that was overwritten), while the sensor that answers for it says that it saw everything.
Left out are netfilter hooks, kprobes and ftrace's list: all that leads to them is one pointer, without which the kernel
itself does not call them any more.
"""

import json
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from beat_bridge.detectors.cross_view import lists
from beat_bridge.detectors.scene import Scene
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.findings import FindingKind
from beat_bridge.model.inventory import Inventory, decode, encode
from beat_bridge.model.kernel import BpfLink, BpfMap, BpfProgram
from beat_bridge.sensors.hypervisor.integrity import watching
from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.looking import SENSORS, Introspection
from beat_bridge.sensors.hypervisor.memory import MemoryFault, PhysicalMemory, Region
from beat_bridge.sensors.hypervisor.memory.paging import PAGE_SIZE, AddressSpace
from beat_bridge.sensors.hypervisor.memory.raw_dump import RawDump
from beat_bridge.sensors.hypervisor.symbols.profile import load_profile

BUDGET_SECONDS = 5.0
_WORD = struct.Struct("<Q")
_KERNEL = 0xFFFF_0000_0000_0000


class Run(msgspec.Struct, frozen=True):
    """What came of one look."""

    number: int
    kind: str
    changes: tuple[tuple[int, str], ...]
    """Physical address and what was written there, in hexadecimal; the first few."""
    outcome: str
    """`whole`, `gaps` or `refused`."""
    seconds: float
    silent: tuple[str, ...] = ()
    """Objects that are gone in silence."""
    wrong: str = ""
    """What an inventory must never be, and was."""


class Corrupted:
    """A saved guest's RAM, of which some pages are others."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory
        self.pages: dict[int, bytearray] = {}
        """Physical address of a page to what is read there instead."""
        self.lost: set[int] = set()
        """Pages that cannot be read."""
        self.changes: list[tuple[int, str]] = []

    def restore(self) -> None:
        """Undo every change."""
        self.pages.clear()
        self.lost.clear()
        self.changes.clear()

    def write(self, address: int, data: bytes) -> None:
        """Change bytes within a page."""
        page, offset = address & -PAGE_SIZE, address % PAGE_SIZE
        data = data[: PAGE_SIZE - offset]
        self.changes.append((address, data[:16].hex()))
        if page not in self.pages:
            self.pages[page] = bytearray(self._memory.read(page, PAGE_SIZE))
        self.pages[page][offset : offset + len(data)] = data

    def read(self, address: int, size: int) -> bytes:
        """As PhysicalMemory."""
        data = self._memory.read(address, size)
        touched = [at for at in range(address & -PAGE_SIZE, address + size, PAGE_SIZE) if at in self.pages]
        if self.lost and not self.lost.isdisjoint(range(address & -PAGE_SIZE, address + size, PAGE_SIZE)):
            raise MemoryFault(f"{address:#x} cannot be read")
        if not touched:
            return data
        changed = bytearray(data)
        for page in touched:
            start, end = max(page, address), min(page + PAGE_SIZE, address + size)
            changed[start - address : end - address] = self.pages[page][start - page : end - page]
        return bytes(changed)

    def regions(self) -> Sequence[Region]:
        """As PhysicalMemory."""
        return self._memory.regions()

    def populated(self) -> Sequence[Region]:
        """As PhysicalMemory."""
        return self._memory.populated()

    def refresh(self) -> None:
        """As PhysicalMemory."""

    def pause(self) -> None:
        """As PhysicalMemory."""

    def resume(self) -> None:
        """As PhysicalMemory."""

    def close(self) -> None:
        """As PhysicalMemory."""
        self._memory.close()


class Fuzz:
    """Corrupts what a clean look reads."""

    def __init__(self, memory: PhysicalMemory, image: Path) -> None:
        self._memory = Corrupted(memory)
        self._introspection = Introspection(self._memory, load_profile(image, memory), budget_seconds=BUDGET_SECONDS)
        self._reads = self._recorded()
        self._pages = sorted({at & -PAGE_SIZE for at, _ in self._reads})
        space = view(self._introspection._prog).space
        self._tables = sorted(space._tables)
        contents = [self._memory.read(at & -PAGE_SIZE, PAGE_SIZE) for at in self._pages]
        words = {word for content in contents for (word,) in _WORD.iter_unpack(content) if word > _KERNEL}
        self._pointers = sorted(words)
        self._clean = self._introspection.look()
        self._kinds: tuple[Callable[[random.Random], None], ...] = (
            self._flip,
            self._smash,
            self._smash,
            self._circle,
            self._count,
            self._zero,
            self._swap,
            self._lose,
            self._table,
        )

    def _recorded(self) -> list[tuple[int, int]]:
        """Physical address and size of each structure that a clean look reads."""
        space = view(self._introspection._prog).space
        found: dict[tuple[int, int], None] = {}

        def read(address: int, size: int) -> bytes:
            data = AddressSpace.read(space, address, size)
            found[space.translate(address), size] = None
            return data

        space.read = read  # type: ignore[method-assign] # for one look
        try:
            self._introspection.look()
        finally:
            del space.read
        return list(found)

    def run(self, seed: int, number: int) -> Run:
        """Corrupt, look, and restore."""
        chance = random.Random(f"{seed} {number}")  # noqa: S311 - the same ones each time
        corrupt = chance.choice(self._kinds)
        for _ in range(chance.choice((1, 1, 1, 2, 5, 20, 100))):
            corrupt(chance)
        begun = time.monotonic()
        silent: list[str] = []
        wrong = ""
        try:
            seen = self._introspection.look()
        except DoorwatchError as error:
            outcome = "refused"
            wrong = "more than one line" if "\n" in str(error) else ""
        else:
            outcome = "gaps" if _gaps(seen) - _gaps(self._clean) else "whole"
            wrong = _wrong(seen)
            silent += self._silent(seen)
        took = time.monotonic() - begun
        changes = tuple(self._memory.changes[:8])
        self._memory.restore()
        return Run(number, corrupt.__name__.strip("_"), changes, outcome, round(took, 3), tuple(silent), wrong)

    def _silent(self, seen: Inventory) -> Iterator[str]:
        coverage = {each.sensor: each for each in seen.coverage}
        now = dict(_identities(seen))
        # a program in use that its table lacks is a finding: the tables are then not believed
        told = any(finding.kind is FindingKind.BPF_OBJECT_MISMATCH for finding in lists.find(Scene(seen)))
        for sensors, before in _identities(self._clean):
            if any(coverage[sensor].status is not CoverageStatus.COMPLETE for sensor in sensors):
                continue
            if told and sensors == ("bpf_objects",):
                continue
            lost, gained = before - now[sensors], now[sensors] - before
            if lost.total() > gained.total():
                yield from sorted(lost.elements())

    def _place(self, chance: random.Random, size: int) -> int:
        """Somewhere within a structure that is read, aligned."""
        at, length = chance.choice(self._reads)
        return at + chance.randrange(max(length // size, 1)) * size

    def _flip(self, chance: random.Random) -> None:
        at = self._place(chance, 1)
        (byte,) = self._memory.read(at, 1)
        self._memory.write(at, bytes([byte ^ 1 << chance.randrange(8)]))

    def _smash(self, chance: random.Random) -> None:
        wild = (chance.getrandbits(64), 0, 1, (1 << 64) - 1, chance.getrandbits(16), chance.getrandbits(47))
        value = chance.choice((*wild, *(chance.choice(self._pointers) for _ in range(6))))
        self._memory.write(self._place(chance, 8), _WORD.pack(value))

    def _circle(self, chance: random.Random) -> None:
        """A link leads to a neighbour of where it leads, or to the pointer that lies beside it."""
        at = self._place(chance, 8)
        beside = at + chance.choice((-16, -8, 8, 16))
        if at // PAGE_SIZE == beside // PAGE_SIZE:
            self._memory.write(at, self._memory.read(beside, 8))

    def _count(self, chance: random.Random) -> None:
        size = chance.choice((1, 2, 4))
        value = chance.choice((0, 1, (1 << 8 * size) - 1, 1 << 8 * size - 1, chance.getrandbits(8 * size)))
        self._memory.write(self._place(chance, size), value.to_bytes(size, "little"))

    def _zero(self, chance: random.Random) -> None:
        self._memory.write(chance.choice(self._pages), bytes(PAGE_SIZE))

    def _swap(self, chance: random.Random) -> None:
        one, other = chance.choice(self._pages), chance.choice(self._pages)
        contents = self._memory.read(one, PAGE_SIZE), self._memory.read(other, PAGE_SIZE)
        self._memory.write(other, contents[0])
        self._memory.write(one, contents[1])

    def _lose(self, chance: random.Random) -> None:
        page = chance.choice(self._pages)
        self._memory.lost.add(page)
        self._memory.changes.append((page, "lost"))

    def _table(self, chance: random.Random) -> None:
        """An entry of a page table."""
        at = chance.choice(self._tables) + 8 * chance.randrange(512)
        (entry,) = _WORD.unpack(self._memory.read(at, 8))
        self._memory.write(at, _WORD.pack(entry ^ 1 << chance.randrange(52)))


def _identities(seen: Inventory) -> Iterator[tuple[tuple[str, ...], Counter[str]]]:
    """What there is, by the sensors that answer for it."""
    yield ("processes",), Counter(f"process {each.pid}" for each in seen.processes)
    yield ("packet_sockets", "socket_filters"), Counter(f"socket {each.inode}" for each in seen.sockets)
    yield ("modules",), Counter(f"module {each.name}" for each in seen.modules)
    objects: list[BpfProgram | BpfMap | BpfLink] = [*seen.bpf_programs, *seen.bpf_maps, *seen.bpf_links]
    yield ("bpf_objects",), Counter(f"{type(each).__name__} {each.id}" for each in objects)
    hooks = [each for each in seen.hooks if each.surface not in ("netfilter", "kprobe", "ftrace")]
    yield ("kernel_hooks", *watching.SENSORS), Counter(f"{each.surface} {each.symbol}" for each in hooks)


def _gaps(seen: Inventory) -> set[str]:
    return {each.sensor for each in seen.gaps}


def _wrong(seen: Inventory) -> str:
    """What an inventory must never be."""
    if decode(encode(seen), "a look at a corrupted guest") != seen:
        return "it does not travel"
    if [each.sensor for each in seen.coverage if each.sensor in SENSORS] != list(SENSORS):
        return "not every sensor gives its account"
    internal = next((each for each in seen.coverage if "internal error" in each.detail), None)
    if internal is not None:
        return f"{internal.sensor}: {internal.detail}"
    return next((f"{each.sensor}: no honest account" for each in seen.coverage if not _is_honest(each)), "")


def _is_honest(account: Coverage) -> bool:
    whole = account.status is CoverageStatus.COMPLETE
    return whole == (account.reason is None) == (not account.detail) and "\n" not in account.detail


def main(ram: str, image: str, seed: str, runs: str) -> None:
    """See the module."""
    memory = RawDump(Path(ram))
    fuzz = Fuzz(memory, Path(image))
    sys.stdout.write(json.dumps({"reads": len(fuzz._reads), "pages": len(fuzz._pages)}) + "\n")
    for number in range(int(runs)):
        sys.stdout.write(msgspec.json.encode(fuzz.run(int(seed), number)).decode() + "\n")
        sys.stdout.flush()
    memory.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
