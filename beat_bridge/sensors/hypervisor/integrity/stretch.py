"""Some code of the guest: as it is, and as it should be."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

REACH = 256
"""No patch is longer: the length of an alternative is one byte."""


class Site(Protocol):
    """A place where the kernel patches itself."""

    @property
    def at(self) -> int:
        """Bytes from the beginning of the whole code."""
        ...


_S = TypeVar("_S", bound=Site)


@dataclass(slots=True)
class Stretch:
    """A part of some code, compared byte by byte; whoever explains a difference moves `expected` to what is there.

    Places are counted in bytes from the beginning of the whole code, of which this is a part.
    """

    address: int
    """Virtual, of the whole code's first byte."""
    start: int
    """The place of this part's first byte."""
    live: bytes
    expected: bytearray
    """As long as `live`. The image's bytes, moved by KASLR; where a patch is explained, the patch."""
    end: int
    """Places from here on are not asked for: their patches may reach beyond this part."""

    def now(self, at: int, size: int) -> bytes:
        """What is there."""
        return self.live[at - self.start : at - self.start + size]

    def should(self, at: int, size: int) -> bytes:
        """What should be there."""
        return bytes(self.expected[at - self.start : at - self.start + size])

    def accept(self, at: int, size: int) -> None:
        """What stands here may stand here."""
        first = at - self.start
        self.expected[first : first + size] = self.live[first : first + size]

    def differs(self, at: int, size: int) -> bool:
        """Whether any of these bytes is not as expected."""
        first = at - self.start
        return self.live[first : first + size] != self.expected[first : first + size]

    def places(self, of_whole: "array[int]") -> "array[int]":
        """Those of ascending places that are asked for."""
        return of_whole[bisect_left(of_whole, self.start) : bisect_left(of_whole, self.end)]

    def sites(self, of_whole: list[_S]) -> Iterator[_S]:
        """The same of places that have more to them."""
        first = bisect_left(of_whole, self.start, key=lambda each: each.at)
        last = bisect_left(of_whole, self.end, first, key=lambda each: each.at)
        return (of_whole[number] for number in range(first, last))


_STRIDE = 256


def differences(left: bytes | bytearray, right: bytes | bytearray) -> list[tuple[int, int]]:
    """Where two equally long stretches differ.

    Returns:
        (first byte, end) of each run of differing bytes.
    """
    found: list[tuple[int, int]] = []
    if left == right:
        return found
    for block in range(0, len(left), _STRIDE):
        a, b = left[block : block + _STRIDE], right[block : block + _STRIDE]
        if a == b:
            continue
        for at, (one, other) in enumerate(zip(a, b, strict=True), block):
            if one != other:
                if found and found[-1][1] == at:
                    found[-1] = (found[-1][0], at + 1)
                else:
                    found.append((at, at + 1))
    return found
