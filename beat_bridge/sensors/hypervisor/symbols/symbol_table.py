"""All symbols of a kernel, kept as a few flat blocks that load at once and are searched in place."""

import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class KernelSymbol:
    """One symbol."""

    name: str
    letter: str
    """As nm(1): T and t text, D and d data, A absolute, ...; capitals are global."""
    address: int
    size: int
    """Bytes up to the next symbol, which is all that kallsyms tells."""


@dataclass(frozen=True, slots=True)
class SymbolTable:
    """Symbols at the addresses they were linked to, ascending.

    Flat blocks rather than a dictionary: 150,000 strings take 50 ms and 30 MB to make, for the hundred that are asked
    for.
    """

    addresses: "array[int]"
    """uint64, ascending."""
    names: bytes
    """For each symbol its type letter and its name, each ended by a line break."""
    starts: "array[int]"
    """uint32: where each begins in `names`."""
    hashes: "array[int]"
    """uint64, ascending: CRC-32 of a name, then, in the low 32 bits, its place."""

    @classmethod
    def of(cls, addresses: "array[int]", names: list[str]) -> "SymbolTable":
        """From addresses, and names that begin with their type letter."""
        lines = [name.encode("utf-8", "surrogateescape") for name in names]
        ends = array("I", accumulate(len(line) + 1 for line in lines))
        hashes = sorted(zlib.crc32(line[1:]) << 32 | place for place, line in enumerate(lines))
        return cls(addresses, b"\n".join([*lines, b""]), array("I", [0, *ends[:-1]]), array("Q", hashes))

    def __len__(self) -> int:
        return len(self.addresses)

    def places(self, name: str) -> Iterator[int]:
        """Where in the table a name is, ascending: static functions may share one."""
        wanted = name.encode("utf-8", "surrogateescape")
        key = zlib.crc32(wanted) << 32
        at = bisect_left(self.hashes, key)
        while at < len(self.hashes) and self.hashes[at] >> 32 == key >> 32:
            place = self.hashes[at] & 0xFFFF_FFFF
            if self._line(place)[1:] == wanted:
                yield place
            at += 1

    def find(self, name: str) -> int | None:
        """The address of a name; of several, the lowest."""
        place = next(self.places(name), None)
        return None if place is None else self.addresses[place]

    def _line(self, place: int) -> bytes:
        end = self.starts[place + 1] if place + 1 < len(self.starts) else len(self.names)
        return self.names[self.starts[place] : end - 1]

    def at(self, place: int) -> KernelSymbol:
        """The symbol in one place of the table."""
        line = self._line(place).decode("utf-8", "surrogateescape")
        address = self.addresses[place]
        after = bisect_right(self.addresses, address, place)
        size = self.addresses[after] - address if after < len(self.addresses) else 0
        return KernelSymbol(line[1:], line[:1], address, size)

    def before(self, address: int) -> int | None:
        """The place of the first symbol at the highest address that is not above this one."""
        place = bisect_right(self.addresses, address) - 1
        if place < 0:
            return None
        while place and self.addresses[place - 1] == self.addresses[place]:
            place -= 1
        return place
