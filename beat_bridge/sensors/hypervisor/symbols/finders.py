"""A profile's types, functions, per-CPU variables and symbols, as drgn asks for them.

drgn reads no BTF of its own. Each type is built when it is first asked for and then kept: members are callables, so
that `struct task_struct` does not pull in half the kernel.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from drgn import (
    FindObjectFlags,
    Object,
    Program,
    Qualifiers,
    Symbol,
    SymbolBinding,
    SymbolKind,
    Type,
    TypeEnumerator,
    TypeKind,
    TypeKindSet,
    TypeMember,
    TypeParameter,
)

from beat_bridge.sensors.hypervisor.symbols.btf import Btf, BtfError, Kind, Member, Record
from beat_bridge.sensors.hypervisor.symbols.symbol_table import KernelSymbol

if TYPE_CHECKING:
    from beat_bridge.sensors.hypervisor.symbols.profile import Profile

_DEEPEST = 64
"""Pointers to arrays of typedefs of ... nested in one type: a cycle among them would never end."""
_KINDS: dict[TypeKind, tuple[Kind, ...]] = {
    TypeKind.STRUCT: (Kind.STRUCT,),
    TypeKind.UNION: (Kind.UNION,),
    TypeKind.ENUM: (Kind.ENUM, Kind.ENUM64),
    TypeKind.TYPEDEF: (Kind.TYPEDEF,),
    TypeKind.INT: (Kind.INT,),
    TypeKind.BOOL: (Kind.INT,),
    TypeKind.FLOAT: (Kind.FLOAT,),
}
_QUALIFIERS = {
    Kind.CONST: Qualifiers.CONST,
    Kind.VOLATILE: Qualifiers.VOLATILE,
    Kind.RESTRICT: Qualifiers.RESTRICT,
}


class TypeBuilder:
    """drgn types from BTF, each made once."""

    def __init__(self, prog: Program, btf: Btf) -> None:
        self._prog = prog
        self._btf = btf
        self._made: dict[int, Type] = {0: prog.void_type()}
        self._depth = 0

    def build(self, number: int) -> Type:
        """The type of an id.

        Raises:
            BtfError: There is none, or it contains itself.
        """
        made = self._made.get(number)
        if made is None:
            if self._depth == _DEEPEST:
                raise BtfError(f"{self._btf.source}: type {number} is nested in itself")
            self._depth += 1
            try:
                made = self._made[number] = self._build(number, self._btf.record(number))
            finally:
                self._depth -= 1
        return made

    def _build(self, number: int, record: Record) -> Type:
        prog = self._prog
        match record.kind:
            case Kind.STRUCT | Kind.UNION | Kind.FWD:
                return self._compound(number, record)
            case Kind.INT | Kind.FLOAT:
                return self._number(number, record)
            case Kind.ENUM | Kind.ENUM64:
                return self._enumeration(number, record)
            case Kind.FUNC_PROTO:
                return self._function(number, record)
            case Kind.ARRAY:
                element, count = self._btf.element(number)
                return prog.array_type(self.build(element), count) if count else prog.array_type(self.build(element))
        return self._wrapped(number, record)

    def _wrapped(self, number: int, record: Record) -> Type:
        """What is another type with something around it."""
        if record.kind in (Kind.DATASEC, Kind.DECL_TAG, Kind.VOID):
            raise BtfError(f"{self._btf.source}: type {number}, a {record.kind.name}, is no type of a value")
        inner = self.build(record.type)
        if record.kind is Kind.PTR:
            return self._prog.pointer_type(inner)
        if record.kind is Kind.TYPEDEF:
            return self._prog.typedef_type(record.name, inner)
        if record.kind in _QUALIFIERS:
            return inner.qualified(inner.qualifiers | _QUALIFIERS[record.kind])
        return inner

    def _compound(self, number: int, record: Record) -> Type:
        is_union = record.kind is Kind.UNION or (record.kind is Kind.FWD and record.flag)
        make = self._prog.union_type if is_union else self._prog.struct_type
        if record.kind is Kind.FWD:
            return make(record.name or None)
        return make(record.name or None, record.size, [self._member(member) for member in self._btf.members(number)])

    def _number(self, number: int, record: Record) -> Type:
        if record.kind is Kind.FLOAT:
            return self._prog.float_type(record.name, record.size)
        integer = self._btf.integer(number)
        if integer.boolean or record.name == "_Bool":
            return self._prog.bool_type(record.name, record.size)
        return self._prog.int_type(record.name, record.size, integer.signed)

    def _enumeration(self, number: int, record: Record) -> Type:
        if not record.count:
            return self._prog.enum_type(record.name or None)
        name = f"{'s' if record.flag else 'u'}{8 * record.size}"
        values = [TypeEnumerator(*enumerator) for enumerator in self._btf.enumerators(number)]
        return self._prog.enum_type(record.name or None, self._prog.int_type(name, record.size, record.flag), values)

    def _function(self, number: int, record: Record) -> Type:
        parameters = list(self._btf.parameters(number))
        variadic = bool(parameters) and parameters[-1].type == 0
        if variadic:
            parameters.pop()
        made = [TypeParameter(self._later(p.type), p.name or None) for p in parameters]
        return self._prog.function_type(self.build(record.type), made, variadic)

    def _member(self, member: Member) -> TypeMember:
        if member.bit_size:
            return TypeMember(self._bit_field(member.type, member.bit_size), member.name or None, member.bit_offset)
        return TypeMember(self._later(member.type), member.name or None, member.bit_offset)

    def _later(self, number: int) -> Callable[[], Type]:
        return lambda: self.build(number)

    def _bit_field(self, number: int, bits: int) -> Callable[[], Object]:
        return lambda: Object(self._prog, self.build(number), bit_field_size=bits)


def register_finders(prog: Program, profile: "Profile") -> None:
    """Let a program answer from a profile: `prog.type()`, `prog[...]` and `prog.symbol()`."""
    builder = TypeBuilder(prog, profile.types)
    prog.register_type_finder("doorwatch-btf", _type_finder(builder, profile.types), enable_index=0)
    prog.register_object_finder("doorwatch-btf", _object_finder(builder, profile), enable_index=0)
    prog.register_symbol_finder("doorwatch-kallsyms", _symbol_finder(profile), enable_index=0)


def _type_finder(builder: TypeBuilder, types: Btf) -> Callable[[Program, TypeKindSet, str, str | None], Type | None]:
    def find(_prog: Program, kinds: TypeKindSet, name: str, _filename: str | None) -> Type | None:
        wanted = {kind for drgn_kind in kinds for kind in _KINDS.get(drgn_kind, ())}
        for number in types.named(name):
            if types.record(number).kind in wanted:
                made = builder.build(number)
                if made.kind in kinds:
                    return made
        return None

    return find


def _object_finder(
    builder: TypeBuilder, profile: "Profile"
) -> Callable[[Program, str, FindObjectFlags, str | None], Object | None]:
    types = profile.types

    def find(prog: Program, name: str, flags: FindObjectFlags, _filename: str | None) -> Object | None:
        if flags & FindObjectFlags.CONSTANT and (constant := types.constant(name)) is not None:
            return Object(prog, builder.build(constant[0]), value=constant[1])
        for flag, kind in ((FindObjectFlags.FUNCTION, Kind.FUNC), (FindObjectFlags.VARIABLE, Kind.VAR)):
            if flags & flag and (number := types.find(name, kind)) is not None:
                address = profile.find(name)
                if address is not None:
                    return Object(prog, builder.build(number), address=address)
        return None

    return find


def _symbol_finder(profile: "Profile") -> Callable[[Program, str | None, int | None, bool], list[Symbol]]:
    def find(_prog: Program, name: str | None, address: int | None, one: bool) -> list[Symbol]:
        if address is not None:
            nearest = profile.symbol_at(address)
            found = [nearest] if nearest is not None and name in (None, nearest.name) else []
        elif name is not None:
            found = list(profile.symbols_named(name))
        else:
            found = list(profile.all_symbols())
        return [_symbol(symbol) for symbol in (found[:1] if one else found)]

    return find


def _symbol(symbol: KernelSymbol) -> Symbol:
    binding = SymbolBinding.GLOBAL if symbol.letter.isupper() else SymbolBinding.LOCAL
    kind = SymbolKind.FUNC if symbol.letter in "tTwW" else SymbolKind.OBJECT
    return Symbol(symbol.name, symbol.address, max(symbol.size, 1), binding, kind)
