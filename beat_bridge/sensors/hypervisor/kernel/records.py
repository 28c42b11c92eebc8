"""Several members of a C structure, read at one stroke: where they lie comes from the kernel's BTF.

A drgn object reads guest memory anew for every member. The structures that exist by the thousand (tasks, files,
directory entries, sockets) are read through these records instead: one read, one unpacking.
"""

import re
import struct
from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

from drgn import FaultError, Object, Program, Type, TypeKind, offsetof, sizeof

from beat_bridge.sensors.hypervisor.kernel.program import view

_STEP = re.compile(r"(\w+)|\[(\d+)\]")
_UNSIGNED = {1: "B", 2: "H", 4: "I", 8: "Q"}
_LONGEST_TEXT = 4096
_T = TypeVar("_T")


class Record:
    """Some members of one structure, in the order they were asked for."""

    def __init__(self, prog: Program, type_name: str, *members: str) -> None:
        """Find the members.

        Args:
            prog: Knows the types.
            type_name: `struct task_struct`.
            members: Paths within it: `pid`, `signal`, `pid_links[1].next`. Numbers, pointers, enumerations, and arrays
                of char (which are read as the text up to the first NUL).

        Raises:
            LookupError, AttributeError: This kernel has no such type, or the type no such member.
        """
        self._prog = prog
        whole = Object(prog, type_name, address=0)
        places = [_place(whole, path) for path in members]
        self._start = min(int(place.address_ or 0) for place in places)
        order = sorted(range(len(places)), key=lambda number: int(places[number].address_ or 0))
        self._texts = [number for number in order if places[number].type_.kind is TypeKind.ARRAY]
        codes, end = ["<"], self._start
        for number in order:
            place = places[number]
            codes.append(f"{int(place.address_ or 0) - end}x{_code(place)}")
            end = int(place.address_ or 0) + sizeof(place)
        self._struct = struct.Struct("".join(codes))
        self._order = [order.index(number) for number in range(len(places))]
        self._in_order = self._order == list(range(len(places)))
        self._read = view(prog).read

    def read(self, address: int) -> tuple[Any, ...]:
        """The members' values in the order they were asked for: int, or bytes for texts.

        Raises:
            FaultError: The structure cannot be read.
        """
        if address < 0x1000:
            raise FaultError("a null pointer", address)
        raw = self._struct.unpack(self._read(address + self._start, self._struct.size))
        values = raw if self._in_order else tuple(raw[place] for place in self._order)
        if self._texts:
            kept = list(values)
            for number in self._texts:
                kept[number] = kept[number].split(b"\0", 1)[0]
            return tuple(kept)
        return values


def _place(whole: Object, path: str) -> Object:
    steps = _STEP.findall(path)
    return reduce(lambda at, step: at.member_(step[0]) if step[0] else at[int(step[1])], steps, whole)


def _code(place: Object) -> str:
    kind, size = _plain(place.type_), sizeof(place)
    if place.bit_field_size_ is not None:
        raise LookupError(f"a bit field cannot be read in a record: {place.type_}")
    if kind.kind is TypeKind.ARRAY and size <= _LONGEST_TEXT:
        return f"{size}s"
    if kind.kind not in {TypeKind.INT, TypeKind.BOOL, TypeKind.ENUM, TypeKind.POINTER} or size not in _UNSIGNED:
        raise LookupError(f"not a number, pointer or text: {place.type_}")
    is_signed = kind.kind is TypeKind.INT and kind.is_signed
    return _UNSIGNED[size].lower() if is_signed else _UNSIGNED[size]


def _plain(kind: Type) -> Type:
    while kind.kind is TypeKind.TYPEDEF:
        kind = kind.type
    return kind


def record(prog: Program, type_name: str, *members: str) -> Record:
    """A record of this program, made once."""
    return once(prog, ("record", type_name, members), lambda: Record(prog, type_name, *members))


def offset_of(prog: Program, type_name: str, member: str) -> int:
    """Bytes from the beginning of a structure to one of its members.

    Raises:
        LookupError: This kernel has no such type, or the type no such member.
    """
    return once(prog, ("offset", type_name, member), lambda: int(offsetof(prog.type(type_name), member)))


def size_of(prog: Program, type_name: str) -> int:
    """Bytes of a structure.

    Raises:
        LookupError: This kernel has no such type.
    """
    return once(prog, ("size", type_name), lambda: int(sizeof(prog.type(type_name))))


def enumerators(prog: Program, type_name: str, prefix: str) -> dict[int, str]:
    """The values of an enumeration, named in small letters without their prefix."""
    return once(
        prog,
        ("enumerators", type_name),
        lambda: {
            value: name.removeprefix(prefix).lower()
            for name, value, *_ in prog.type(type_name).enumerators or ()
            if name.startswith(prefix)
        },
    )


def once(prog: Program, key: tuple[Any, ...], work_out: Callable[[], _T]) -> _T:
    """What never changes while a program lives, worked out when it is first asked for; failures too."""
    known = prog.cache.get(key)
    if known is None:
        try:
            known = work_out()
        except LookupError as error:
            known = error
        prog.cache[key] = known
    if isinstance(known, LookupError):
        raise known
    found: _T = known
    return found
