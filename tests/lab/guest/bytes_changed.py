"""Single bytes of a guest's kernel changed from outside, at random, while it stands still."""

import os
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from tests.lab.guest.monitor import paused
from tests.lab.guest.outside import Outside
from tests.lab.guest.qemu import Guest


class ChangedByte(NamedTuple):
    """A byte that is not what it was."""

    function: str
    """As /proc/kallsyms names what it lies in; of several names the first."""
    address: int
    """Virtual."""
    start: int
    """Of the function."""


@contextmanager
def stopped(guest: Guest) -> Iterator["Stopped"]:
    """The guest stands still meanwhile; every byte is put back before it goes on."""
    lines = (line.split() for line in guest.get("/proc/kallsyms").decode().splitlines())
    symbols = sorted((int(fields[0], 16), fields[2]) for fields in lines if len(fields) == 3)
    with Outside(guest) as outside, guest.ram_file.open("r+b", buffering=0) as ram, paused(guest.monitor_path):
        yield Stopped(outside, ram.fileno(), symbols)


class Stopped:
    """A guest that stands still."""

    def __init__(self, outside: Outside, descriptor: int, symbols: Sequence[tuple[int, str]]) -> None:
        self._outside = outside
        self._descriptor = descriptor
        start, end = outside.symbols["_text"], outside.symbols["_etext"]
        self._symbols = symbols  # all of them: static functions may share a name
        self._starts = sorted({at for at, _ in symbols if start <= at < end})
        self._range = start, end

    @contextmanager
    def changed(self, address: int, data: bytes) -> Iterator[None]:
        """Other bytes at an address, within one page."""
        with self.changed_at(self._outside.offset(address), data):
            yield

    @contextmanager
    def changed_at(self, offset: int, data: bytes) -> Iterator[None]:
        """Other bytes at an offset of the RAM file."""
        before = os.pread(self._descriptor, len(data), offset)
        os.pwrite(self._descriptor, data, offset)
        try:
            yield
        finally:
            os.pwrite(self._descriptor, before, offset)

    def page_table_entry(self, address: int) -> tuple[int, int]:
        """The page table entry of an address of the kernel's: its offset in the RAM file, and itself."""
        offset, entry, _ = self._outside.mapping(address)
        return offset, entry

    def places(self, count: int, seed: int) -> Sequence[ChangedByte]:
        """Bytes of code chosen at random, each with the function that it lies in."""
        chosen = random.Random(seed)  # noqa: S311 - which bytes are tried is no secret
        names: dict[int, str] = {}
        for at, name in self._symbols:
            names.setdefault(at, name)
        found = []
        for _ in range(count):
            address = chosen.randrange(*self._range)
            start = self._starts[bisect_right(self._starts, address) - 1]
            found.append(ChangedByte(names[start], address, start))
        return found

    def names(self, address: int) -> list[str]:
        """Everything that /proc/kallsyms has at an address."""
        return [name for at, name in self._symbols if at == address]

    def flipped(self, place: ChangedByte, seed: int) -> bytes:
        """Another byte for a place."""
        (before,) = self._outside.read(place.address, 1)
        return bytes(((before + 1 + seed % 255) % 256,))
