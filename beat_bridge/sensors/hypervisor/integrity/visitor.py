"""Somebody whom the kernel's own means have let into its code."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Visitor:
    """A patch that leads to somebody."""

    at: int
    """Bytes from the beginning of the whole code."""
    size: int
    """Bytes patched."""
    owner: str
    """`kernel`, a module, or a BPF program's name; empty where nobody's."""
