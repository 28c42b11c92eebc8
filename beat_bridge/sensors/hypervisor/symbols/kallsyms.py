"""The kernel's own symbol table, as scripts/kallsyms.c lays it out in .rodata.

The table has no header; it is found by its token table, whose digits stand for themselves and which token_index
repeats. From there everything else is found and must agree: the markers with the names, the addresses with their order.

Three arrangements are in use (found by trying, not by version):

    until 6.1   offsets relative_base num_syms names markers token_table token_index
    6.2, 6.3    offsets relative_base num_syms names markers seqs_of_names token_table token_index
    since 6.4   num_syms names markers token_table token_index offsets relative_base seqs_of_names

Until 6.14, x86-64 stores absolute values (per-CPU offsets) as they are and addresses negated (CONFIG_KALLSYMS_
ABSOLUTE_PERCPU); since then every entry is an unsigned distance from the base.
"""

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from beat_bridge.errors import DoorwatchError

MAX_SYMBOLS = 1 << 21
_DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
_MARKER_EVERY = 256
_TOKENS = 256
_MAX_TOKEN_TABLE = 1 << 15
_MAX_HITS = 256
"""Places tried before giving up. In Debian's kernels the first three places decide; an attacker may strew thousands."""
_MAX_NAMES = 32 << 20
"""Bytes of compressed names; Debian's have 2 MiB."""
_KERNEL_BASE = 0xFFFF_FFFF_8000_0000
_TOP = 1 << 64


@dataclass(frozen=True, slots=True)
class Kallsyms:
    """A decoded table, in the kernel's order: ascending addresses."""

    addresses: "array[int]"
    """uint64, one for each symbol."""
    names: list[str]
    """Each begins with its type letter, as nm(1) prints it: `Tvfs_read`."""
    base: int
    """kallsyms_relative_base: `_text`, moved by the KASLR slide where the table was read from a running guest."""


@dataclass(frozen=True, slots=True)
class _Tokens:
    start: int
    end: int
    """Behind token_index."""
    words: list[str]


@dataclass(frozen=True, slots=True)
class _Names:
    start: int
    """Of kallsyms_num_syms."""
    compressed: list[bytes]


def decode(data: bytes, source: str) -> Kallsyms:
    """Find and decode the table.

    Args:
        data: Read-only data of a kernel, from its image or from RAM; eight-aligned as in the kernel.
        source: Where it came from, for the error line.

    Raises:
        DoorwatchError: There is no table in a known arrangement.
    """
    for tokens in _token_tables(data):
        for names in _name_tables(data, tokens):
            found = _addresses(data, tokens, names)
            if found is not None:
                base, addresses = found
                return Kallsyms(addresses, _expand(names.compressed, tokens.words), base)
    raise DoorwatchError(f"{source}: no kallsyms table in it: built without CONFIG_KALLSYMS, or arranged in a new way")


def _token_tables(data: bytes) -> Iterator[_Tokens]:
    """Every place where 256 strings are followed by their own index.

    Token 48 is the digit 0. Token 1 begins 47 strings above it; where token 0 begins only the index can tell, since
    what stands in front of the table need not end with a zero.
    """
    hit = -1
    for _ in range(_MAX_HITS):
        hit = data.find(_DIGITS, hit + 1)
        if hit < 0:
            return
        second = hit
        for _ in range(ord("0") - 1):
            second = data.rfind(b"\0", 0, max(second - 1, 0)) + 1
        rest = data[second : second + _MAX_TOKEN_TABLE].split(b"\0", _TOKENS)[: _TOKENS - 1]
        index_at = _aligned(second + sum(map(len, rest)) + len(rest))
        if second <= 0 or len(rest) < _TOKENS - 1 or index_at + 2 * _TOKENS > len(data):
            continue
        (first_size,) = struct.unpack_from("<H", data, index_at + 2)
        start = second - first_size
        words = [data[start : second - 1], *rest]
        if start >= 0 and data[index_at : index_at + 2 * _TOKENS] == _index_of(words):
            yield _Tokens(start, index_at + 2 * _TOKENS, [word.decode("latin-1") for word in words])


def _index_of(words: list[bytes]) -> bytes:
    index, at = array("H"), 0
    for word in words:
        index.append(at & 0xFFFF)
        at += len(word) + 1
    return index.tobytes()


def _name_tables(data: bytes, tokens: _Tokens) -> Iterator[_Names]:
    """Going up from the token table: a count below 2^24 in eight aligned bytes, names behind it, then their markers.

    Compressed names never hold five zeros in a row (a name's length is never zero), so few places are tried.
    """
    at = tokens.start
    for _ in range(_MAX_HITS):
        at = data.rfind(b"\0\0\0\0\0", 0, at)
        if at < 0:
            return
        place = at - 3
        if place >= 0 and not place % 8:
            names = _names(data, place, tokens.start)
            if names is not None:
                yield names
        at += 4  # the next hit may share four zeros with this one


def _names(data: bytes, place: int, limit: int) -> _Names | None:
    (count,) = struct.unpack_from("<I", data, place)
    if not 0 < count <= MAX_SYMBOLS:
        return None
    at = first = place + 8
    compressed: list[bytes] = []
    markers = array("I")
    for begun in range(0, count, _MARKER_EVERY):
        markers.append(at - first)
        if at >= limit or (
            begun == _MARKER_EVERY and data.find(markers.tobytes(), at, min(limit, at + _MAX_NAMES)) < 0
        ):
            return None  # the second: a cheap farewell to what is no table
        for _ in range(min(_MARKER_EVERY, count - begun)):
            size = data[at]
            at += 1
            if size & 0x80:  # since 5.18 a long name's length takes two bytes, seven bits first
                size = size & 0x7F | data[at] << 7
                at += 1
            compressed.append(data[at : at + size])
            at += size
            if at > limit:
                return None
    at = _aligned(at)
    return _Names(place, compressed) if data.startswith(markers.tobytes(), at) else None


def _addresses(data: bytes, tokens: _Tokens, names: _Names) -> tuple[int, "array[int]"] | None:
    """Base and addresses, from behind the token index or from in front of the names."""
    count = len(names.compressed)
    size = _aligned(4 * count)
    for offsets, base_at in ((tokens.end, tokens.end + size), (names.start - 8 - size, names.start - 8)):
        if offsets < 0 or base_at + 8 > len(data):
            continue
        (base,) = struct.unpack_from("<Q", data, base_at)
        if base >= _KERNEL_BASE:
            addresses = _resolve(array("i", data[offsets : offsets + 4 * count]), base)
            if addresses is not None:
                return base, addresses
    return None


def _resolve(offsets: "array[int]", base: int) -> "array[int] | None":
    """Apply the encoding in use; None where the addresses it gives do not ascend.

    A kernel has symbols at its base and above. In the older encoding those are negative; in the newer nothing is.
    """
    if min(offsets) < 0:
        resolved = [offset if offset >= 0 else base - 1 - offset for offset in offsets]
    else:
        resolved = [base + offset for offset in offsets]
    return array("Q", resolved) if resolved[-1] < _TOP and sorted(resolved) == resolved else None


def _expand(compressed: list[bytes], words: list[str]) -> list[str]:
    word = words.__getitem__
    return ["".join(map(word, name)) for name in compressed]


def _aligned(at: int) -> int:
    return at + 7 & ~7
