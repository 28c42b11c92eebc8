"""A section of a kernel's or module's file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageSection:
    """Its bytes, and where they belong."""

    address: int
    """Of the first byte."""
    data: bytes

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        return self.address + len(self.data)

    def part(self, start: int, end: int) -> "ImageSection":
        """The stretch from one address to another; empty where that is not within it."""
        if not self.address <= start <= end <= self.end:
            return ImageSection(start, b"")
        return ImageSection(start, self.data[start - self.address : end - self.address])
