"""Some code of the guest: as it is, and as it should be."""

from dataclasses import dataclass


@dataclass(slots=True)
class Stretch:
    """Compared byte by byte; whoever explains a difference moves `expected` to what is there."""

    address: int
    """Virtual, of the first byte."""
    live: bytes
    expected: bytearray
    """As long as `live`. The image's bytes, moved by KASLR; where a patch is explained, the patch."""

    def accept(self, at: int, size: int) -> None:
        """What stands here may stand here.

        Args:
            at: Bytes from the beginning.
            size: Bytes.
        """
        self.expected[at : at + size] = self.live[at : at + size]

    def differs(self, at: int, size: int) -> bool:
        """Whether any of these bytes is not as expected."""
        return self.live[at : at + size] != self.expected[at : at + size]


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
