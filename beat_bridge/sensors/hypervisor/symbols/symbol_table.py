"""All symbols of a kernel, kept as a few flat blocks that load at once and are searched in place."""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KernelSymbol:
    """One symbol."""

    name: str
    letter: str
    """As nm(1): T and t text, D and d data, A absolute, ...; capitals are global."""
    address: int
    size: int
    """Bytes up to the next symbol, which is all that kallsyms tells."""


class SymbolTable:
    """Symbols at the addresses they were linked to, ascending.

    Names are searched as bytes: one find over 3 MB takes a fraction of a millisecond, where a dictionary of 150,000
    strings takes 50 ms and 30 MB to make for the hundred that are ever asked for.
    """

    def __init__(self, addresses: "array[int]", names: bytes) -> None:
        """Keep a table.

        Args:
            addresses: uint64, ascending.
            names: For each, a line break, its type letter and its name; one more line break at the end.
        """
        self.addresses = addresses
        self.names = names
        self._starts: array[int] | None = None
        self._found: dict[str, tuple[int, ...]] = {}

    @classmethod
    def of(cls, addresses: "array[int]", names: list[str]) -> "SymbolTable":
        """From names that begin with their type letter."""
        return cls(addresses, "\n".join(["", *names, ""]).encode("utf-8", "surrogateescape"))

    def __len__(self) -> int:
        return len(self.addresses)

    def places(self, name: str) -> tuple[int, ...]:
        """Where in the table a name is, ascending: static functions may share one."""
        known = self._found.get(name)
        if known is None:
            known = self._found[name] = tuple(self._search(name))
        return known

    def _search(self, name: str) -> Iterator[int]:
        if not name or "\n" in name:
            return
        wanted = name.encode("utf-8", "surrogateescape") + b"\n"
        at = self.names.find(wanted)
        while at >= 0:
            if at >= 2 and self.names[at - 2] == 0x0A:
                yield bisect_right(self._offsets(), at) - 1
            at = self.names.find(wanted, at + 1)

    def _offsets(self) -> "array[int]":
        """Where each line begins, behind its line break."""
        if self._starts is None:
            starts, at = array("I"), 1
            for line in self.names[1:-1].split(b"\n"):
                starts.append(at)
                at += len(line) + 1
            self._starts = starts
        return self._starts

    def at(self, place: int) -> KernelSymbol:
        """The symbol in one place of the table."""
        starts = self._offsets()
        line = self.names[starts[place] : self.names.index(b"\n", starts[place])].decode("utf-8", "surrogateescape")
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
