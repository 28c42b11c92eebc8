"""BTF, the type information a kernel carries (Documentation/bpf/btf.rst, include/uapi/linux/btf.h).

One pass over the records finds where each begins and how it is named; what a record says is read when it is asked for.
A kernel has about 100,000 types, of which a look needs some hundreds.
"""

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from beat_bridge.errors import DoorwatchError

MAGIC = 0xEB9F
MAX_TYPES = 1 << 24
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_PAIR = struct.Struct("<II")
_TRIPLE = struct.Struct("<III")
_SIGNED_ENUMERATOR = struct.Struct("<Ii")
_MAX_NAME = 4096


class Kind(IntEnum):
    """BTF_KIND_*."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


_WORDS = (
    *((-1, 0), (1, 0), (0, 0), (3, 0), (0, 3), (0, 3), (0, 2), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 2)),
    *((1, 0), (0, 3), (0, 0), (1, 0), (0, 0), (0, 3)),
    *((-1, 0),) * 12,
)
"""By kind: 32-bit words behind `struct btf_type`, and words of each of its vlen items; -1 where no kind is."""
_ENUMERATIONS = frozenset((Kind.ENUM, Kind.ENUM64))


class BtfError(DoorwatchError):
    """Type information that breaks the format's rules."""


@dataclass(frozen=True, slots=True)
class Record:
    """`struct btf_type` without its items."""

    kind: Kind
    name: str
    """Empty where it has none."""
    size: int
    """Bytes, for kinds that have a size; else the id of the type referred to (`Record.type`)."""
    count: int
    """vlen: number of members, enumerators or parameters."""
    flag: bool
    """kind_flag: struct or union with bit fields, signed enumeration, union forward."""
    items: int
    """Offset in the data of what follows."""

    @property
    def type(self) -> int:
        """The type referred to: the same field as `size`, under the name other kinds have for it."""
        return self.size


@dataclass(frozen=True, slots=True)
class Member:
    """`struct btf_member`."""

    name: str
    type: int
    bit_offset: int
    bit_size: int
    """0 where it is no bit field."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """`struct btf_param`; type 0 at the end stands for "..."."""

    name: str
    type: int


@dataclass(frozen=True, slots=True)
class Integer:
    """What follows BTF_KIND_INT."""

    signed: bool
    char: bool
    boolean: bool
    bit_offset: int
    bits: int


@dataclass(frozen=True, slots=True)
class Index:
    """Where everything is: what the one pass found, and what a cache keeps."""

    offsets: "array[int]"
    """uint32: of each type's record in the data; the first is of id 1, or of the base's last id plus 1."""
    named: "array[int]"
    """uint64, ascending: offset of the name in the strings, then, in the low 32 bits, the id of a type so named."""
    constants: "array[int]"
    """The same for the names of enumerators; the id is the enumeration's."""


class Btf:
    """The types of one kernel, or, on a base, of one module (split BTF)."""

    def __init__(self, data: bytes, source: str, base: "Btf | None" = None, index: Index | None = None) -> None:
        """Read type information.

        Args:
            data: A whole .BTF section; what follows its strings is ignored.
            source: Where it came from, for the error line.
            base: The kernel's types, for a module's.
            index: What an earlier pass over the same data found.

        Raises:
            BtfError: It breaks the format's rules; where no earlier index is given, every record has been checked.
        """
        self.data = data
        self.source = source
        self.base = base
        if len(data) < _HEADER.size:
            raise BtfError(f"{source}: {len(data)} bytes are too few for BTF")
        magic, version, _, header, types, types_size, strings, strings_size = _HEADER.unpack_from(data)
        if magic != MAGIC or version != 1 or header < _HEADER.size:
            raise BtfError(f"{source}: not little-endian BTF of version 1")
        self._types: int = header + types
        self._types_end: int = self._types + types_size
        self._strings: int = header + strings
        self._strings_end: int = self._strings + strings_size
        if max(self._types_end, self._strings_end) > len(data):
            raise BtfError(
                f"{source}: truncated: BTF of {max(self._types_end, self._strings_end)} bytes in {len(data)}"
            )
        self._first_string = base.strings_size if base else 0
        self._first_id = base.end_id if base else 1
        self.index = self._read_index() if index is None else index

    @property
    def size(self) -> int:
        """Bytes of the whole."""
        return max(self._types_end, self._strings_end)

    @property
    def strings_size(self) -> int:
        """Bytes of strings, the base's included: the first string offset of a module on top of this."""
        return self._first_string + self._strings_end - self._strings

    @property
    def end_id(self) -> int:
        """One more than the highest type id."""
        return self._first_id + len(self.index.offsets)

    def _read_index(self) -> Index:
        """Step from record to record, counting in the 32-bit words that BTF is made of."""
        whole = (self._types_end - self._types) & ~3
        words = array("I", self.data[self._types : self._types + whole])
        offsets, named, constants = array("I"), [], []
        at, end, number = 0, len(words), self._first_id
        while at + 3 <= end:
            offsets.append(self._types + 4 * at)
            name, info = words[at], words[at + 1]
            fixed, each = _WORDS[info >> 24 & 0x1F]
            if fixed < 0:
                raise BtfError(f"{self.source}: type {number} is of the unknown kind {info >> 24 & 0x1F}")
            if name:
                named.append(name << 32 | number)
            items = at + 3
            at = items + fixed + each * (info & 0xFFFF)
            if info >> 24 & 0x1F in _ENUMERATIONS:
                constants += [word << 32 | number for word in words[items:at:each]]
            number += 1
        if at != end or self._types_end - self._types != whole or number > MAX_TYPES:
            raise BtfError(f"{self.source}: truncated or damaged: its types do not end where its header says")
        return Index(offsets, array("Q", sorted(named)), array("Q", sorted(constants)))

    def string(self, offset: int) -> str:
        """The name at an offset of the strings.

        Raises:
            BtfError: There is no such offset.
        """
        if offset < self._first_string and self.base:
            return self.base.string(offset)
        start = self._strings + offset - self._first_string
        end = self.data.find(b"\0", start, min(start + _MAX_NAME, self._strings_end))
        if start >= self._strings_end or end < 0:
            raise BtfError(f"{self.source}: no name at string offset {offset}")
        return self.data[start:end].decode("utf-8", "backslashreplace")

    def record(self, number: int) -> Record:
        """One type by id.

        Raises:
            BtfError: There is no such type.
        """
        if number == 0:
            return Record(Kind.VOID, "void", 0, 0, flag=False, items=0)
        if number < self._first_id and self.base:
            return self.base.record(number)
        place = number - self._first_id
        if not 0 <= place < len(self.index.offsets):
            raise BtfError(f"{self.source}: no type has the id {number}")
        at = self.index.offsets[place]
        name, info, size = _TYPE.unpack_from(self.data, at)
        kind = Kind(info >> 24 & 0x1F)
        return Record(kind, self.string(name) if name else "", size, info & 0xFFFF, bool(info >> 31), at + 12)

    def owner(self, number: int) -> "Btf":
        """Whose data holds a type's record: the base's types are read from the base."""
        return self.base.owner(number) if self.base and number < self._first_id else self

    def members(self, number: int) -> Iterator[Member]:
        """Of a struct or union, in the order of declaration."""
        record, data = self.record(number), self.owner(number).data
        for item in range(record.count):
            name, kind, offset = _TRIPLE.unpack_from(data, record.items + 12 * item)
            bits = offset >> 24 if record.flag else 0
            yield Member(self.string(name) if name else "", kind, offset & 0xFFFFFF if record.flag else offset, bits)

    def enumerators(self, number: int) -> Iterator[tuple[str, int]]:
        """Names and values of an enumeration of either width."""
        record, data = self.record(number), self.owner(number).data
        for item in range(record.count):
            if record.kind is Kind.ENUM:
                unpack = _SIGNED_ENUMERATOR if record.flag else _PAIR
                name, value = unpack.unpack_from(data, record.items + 8 * item)
            else:
                name, low, high = _TRIPLE.unpack_from(data, record.items + 12 * item)
                value = high << 32 | low
                value -= (value >> 63 << 64) if record.flag else 0
            yield self.string(name), value

    def parameters(self, number: int) -> Iterator[Parameter]:
        """Of a function prototype."""
        record, data = self.record(number), self.owner(number).data
        for item in range(record.count):
            name, kind = _PAIR.unpack_from(data, record.items + 8 * item)
            yield Parameter(self.string(name) if name else "", kind)

    def element(self, number: int) -> tuple[int, int]:
        """An array's element type and its number of elements."""
        kind, _, count = _TRIPLE.unpack_from(self.owner(number).data, self.record(number).items)
        return kind, count

    def integer(self, number: int) -> Integer:
        """How an integer is to be read."""
        (info,) = struct.unpack_from("<I", self.owner(number).data, self.record(number).items)
        encoding = info >> 24
        return Integer(bool(encoding & 1), bool(encoding & 2), bool(encoding & 4), info >> 16 & 0xFF, info & 0xFF)

    def named(self, name: str) -> Iterator[int]:
        """The ids of all types of a name, a module's own before its base's."""
        yield from self._under(self.index.named, name)
        if self.base:
            yield from self.base.named(name)

    def find(self, name: str, *kinds: Kind) -> int | None:
        """The first type of a name and one of some kinds."""
        return next((number for number in self.named(name) if self.record(number).kind in kinds), None)

    def constant(self, name: str) -> tuple[int, int] | None:
        """The enumeration in which a constant is defined, and its value."""
        for number in self._under(self.index.constants, name):
            for enumerator, value in self.enumerators(number):
                if enumerator == name:
                    return number, value
        return self.base.constant(name) if self.base else None

    def _under(self, keys: "array[int]", name: str) -> Iterator[int]:
        for offset in self._offsets_of(name):
            at = bisect_left(keys, offset << 32)
            while at < len(keys) and keys[at] >> 32 == offset:
                yield keys[at] & 0xFFFF_FFFF
                at += 1

    def _offsets_of(self, name: str) -> Iterator[int]:
        """Where a name stands in the strings; a name may also be the tail of a longer one."""
        if not name or "\0" in name:
            return
        wanted = name.encode("utf-8", "surrogateescape") + b"\0"
        if self.base:
            yield from self.base._offsets_of(name)  # noqa: SLF001 - the same class: a module's types use the base's names
        at = self._strings
        while True:
            at = self.data.find(wanted, at, self._strings_end)
            if at < 0:
                return
            yield at - self._strings + self._first_string
            at += 1
