"""What KASLR changes in a kernel's image: the table that arch/x86/tools/relocs.c appends to vmlinux.

arch/x86/boot/compressed/misc.c, handle_relocations(): read backwards from the end of the unpacked image there are runs
of 32-bit link addresses (sign-extended), each run ended by a zero: places that hold 32-bit addresses, then (until 6.14)
places that hold a 32-bit distance to a per-CPU variable, which the slide shortens, then places of 64-bit addresses.
"""

import struct
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

_SIGN = 0xFFFF_FFFF_0000_0000
_ZERO = bytes(4)


@dataclass(frozen=True, slots=True)
class Relocations:
    """Low halves of link addresses (uint32), ascending."""

    add32: "array[int]"
    """The slide is added to a 32-bit value here."""
    subtract32: "array[int]"
    """The slide is subtracted from a 32-bit value here."""
    add64: "array[int]"
    """The slide is added to a 64-bit value here."""


def read_relocations(tail: bytes, start: int, end: int) -> Relocations | None:
    """Read the table behind an ELF image.

    Args:
        tail: What follows the last byte that the ELF file describes.
        start: Link address of the kernel's first byte.
        end: Link address behind its last.

    Returns:
        None where there is no such table: a kernel that cannot be moved.
    """
    table = tail[len(tail) % 4 :]
    runs: list[array[int]] = []
    while len(runs) < 3:
        zero = _last_zero(table)
        if zero < 0:
            break
        run = array("I", table[zero + 4 :])
        if run and not start <= _SIGN | min(run) <= _SIGN | max(run) < end:
            break
        runs.append(array("I", sorted(run)))
        table = table[:zero]
    if len(runs) < 2:
        return None
    add32, *subtract32, add64 = runs
    return Relocations(add32, subtract32[0] if subtract32 else array("I"), add64)


def _last_zero(table: bytes) -> int:
    """Offset of the last 32-bit word that is zero; -1 where none is."""
    at = table.rfind(_ZERO)
    while at >= 0 and at % 4:
        at = table.rfind(_ZERO, 0, at + 3)
    return at


def relocate(content: bytes, address: int, relocations: Relocations, slide: int) -> bytes:
    """A stretch of the image as it is in a guest whose kernel was moved by `slide` bytes.

    Args:
        content: Bytes of the image.
        address: Link address of the first.
        relocations: Of the image.
        slide: KERNELOFFSET.
    """
    moved = bytearray(content)
    base = address & 0xFFFF_FFFF
    for places, sign, form, modulus in (
        (relocations.add32, 1, struct.Struct("<I"), 1 << 32),
        (relocations.subtract32, -1, struct.Struct("<I"), 1 << 32),
        (relocations.add64, 1, struct.Struct("<Q"), 1 << 64),
    ):
        mask, move = modulus - 1, sign * slide
        pack, unpack = form.pack_into, form.unpack_from
        first, last = bisect_left(places, base), bisect_right(places, base + len(moved) - form.size)
        for place in places[first:last]:
            at = place - base
            pack(moved, at, unpack(moved, at)[0] + move & mask)
    return bytes(moved)
