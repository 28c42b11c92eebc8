"""Makes symbolic words from symbolic words, one method for each instruction.

Nodes are shared: equal nodes are the same object, whichever instructions built them, so that differently spelled
programs meet in the same terms.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from beat_bridge.cbpf.nodes import (
    JOINED,
    OPAQUE,
    WORD,
    Bits,
    Byte,
    Metadata,
    Node,
    Opaque,
    Operation,
    Part,
    Sum,
    Value,
    children,
    ones_of,
)

MAX_DEPTH = 48
"""Of nested nodes; what is built deeper becomes `Opaque`."""
MAX_PARTS = 64
"""Parts of a Bits, addends of a Sum, sources of an Opaque."""
N = TypeVar("N", bound=Node)


class Terms:
    """Makes and shares the nodes of one analysis, and counts the work of doing so."""

    def __init__(self) -> None:
        self.work = 0
        """Steps taken, about a microsecond each."""
        self._count = 0
        self._made: dict[object, Node] = {}
        self._sources: dict[Node, frozenset[Node]] = {}

    # -- leaves

    def byte(self, base: Node | None, offset: int) -> Byte:
        """One byte of the packet."""
        return self._share(("byte", base, offset), lambda: Byte(base, offset))

    def metadata(self, name: str) -> Metadata:
        """One word of what the kernel knows besides."""
        return self._share(("metadata", name), lambda: Metadata(name))

    def load(self, base: Node | None, offset: int, width: int) -> Node:
        """`width` bytes of the packet in network byte order."""
        if width == 1:
            return self.byte(base, offset)
        key = ("load", base, offset, width)
        if key not in self._made:
            parts: dict[tuple[Node, int], int] = {
                (self.byte(base, offset + i), 8 * (width - 1 - i)): 0xFF << 8 * (width - 1 - i) for i in range(width)
            }
            made = self._bits(parts, 0)
            assert isinstance(made, Node)  # noqa: S101 - bytes are never constants
            self._made[key] = made
        return self._made[key]

    def room(self, base: Node) -> Node:
        """How many bytes the packet has from `base` on, 0 where `base` lies beyond its end."""
        return self._operation("room", base, 0, WORD)

    def loadable(self, place: Value, width: int) -> Node:
        """1 where the packet has `width` bytes at `place`, else 0."""
        return self._operation("loadable", place, width, 1)

    def opaque(self, values: Iterable[Value]) -> Opaque:
        """A function of the same bytes as these values, of which no more is known."""
        nodes = [value for value in values if isinstance(value, Node)]
        sources = frozenset(source for node in nodes for source in self.sources(node))
        opacity = max((node.opacity for node in nodes), default=0)
        return self._numbered(Opaque(sources, WORD, max(OPAQUE, opacity)))

    def either(self, left: Value, right: Value) -> Opaque:
        """One of two values, according to the way taken."""
        sources = self.sources(left) | self.sources(right)
        return self._numbered(Opaque(sources, _filled(ones_of(left) | ones_of(right)), JOINED))

    # -- bitwise

    def xor(self, left: Value, right: Value) -> Value:
        """Left ^ right."""
        if isinstance(left, int) and isinstance(right, int):
            return left ^ right
        parts, flip = _parts(left)
        other, other_flip = _parts(right)
        combined = {(source, shift): mask for source, shift, mask in parts}
        for source, shift, mask in other:
            combined[source, shift] = combined.get((source, shift), 0) ^ mask
        return self._bits(combined, flip ^ other_flip)

    def and_(self, left: Value, right: Value) -> Value:
        """Left & right."""
        if isinstance(left, int):
            left, right = right, left
        if isinstance(left, int):
            return left & int(right)  # type: ignore[arg-type] # both are integers here: they were swapped
        if isinstance(right, int):
            if left.ones & ~right == 0:
                return left
            parts, flip = _parts(left)
            return self._bits({(source, shift): mask & right for source, shift, mask in parts}, flip & right)
        if left is right:
            return left
        if left.ones & right.ones == 0:
            return 0
        return self._operation("and", *_ordered(left, right), left.ones & right.ones)

    def or_(self, left: Value, right: Value) -> Value:
        """Left | right."""
        if isinstance(left, int):
            left, right = right, left
        if isinstance(right, int):
            return self.xor(self.and_(left, ~right & WORD), right)
        assert isinstance(left, Node)  # noqa: S101 - a constant would stand on the right
        if left is right:
            return left
        if left.ones & right.ones == 0:
            return self.xor(left, right)
        return self._operation("or", *_ordered(left, right), left.ones | right.ones)

    def lsh(self, left: Value, right: Value) -> Value:
        """Left << (right & 31)."""
        if not isinstance(right, int):
            return self._operation("lsh", left, right, WORD)
        distance = right & 31
        if isinstance(left, int):
            return left << distance & WORD
        parts, flip = _parts(left)
        shifted = {(source, shift + distance): mask << distance & WORD for source, shift, mask in parts}
        return self._bits(shifted, flip << distance & WORD)

    def rsh(self, left: Value, right: Value) -> Value:
        """Left >> (right & 31)."""
        if not isinstance(right, int):
            return self._operation("rsh", left, right, left if isinstance(left, int) else _filled(left.ones))
        distance = right & 31
        if isinstance(left, int):
            return left >> distance
        parts, flip = _parts(left)
        return self._bits(
            {(source, shift - distance): mask >> distance for source, shift, mask in parts}, flip >> distance
        )

    # -- arithmetic, modulo 2**32

    def add(self, left: Value, right: Value) -> Value:
        """Left + right."""
        if isinstance(left, int) and isinstance(right, int):
            return left + right & WORD
        if ones_of(left) & ones_of(right) == 0:
            return self.xor(left, right)
        constant, addends = _addends(self, left)
        other_constant, other = _addends(self, right)
        return self._sum(constant + other_constant, (*addends, *other))

    def sub(self, left: Value, right: Value) -> Value:
        """Left - right."""
        return self.add(left, self.neg(right))

    def neg(self, value: Value) -> Value:
        """-value."""
        return self.mul(value, WORD)

    def mul(self, left: Value, right: Value) -> Value:
        """Left * right."""
        if isinstance(left, int):
            left, right = right, left
        if isinstance(left, int):
            return left * int(right) & WORD  # type: ignore[arg-type] # both are integers here: they were swapped
        if not isinstance(right, int):
            return self._operation("mul", *_ordered(left, right), _filled(min(left.ones * right.ones, WORD)))
        if right & (right - 1) == 0:
            return self.lsh(left, right.bit_length() - 1) if right else 0
        constant, addends = _addends(self, left)
        return self._sum(constant * right, tuple((node, coefficient * right) for node, coefficient in addends))

    def div(self, left: Value, right: Value) -> Value:
        """Left / right, where right is not 0."""
        if isinstance(right, int):
            if isinstance(left, int):
                return left // right
            if right & (right - 1) == 0:
                return self.rsh(left, right.bit_length() - 1)
            if left.ones < right:
                return 0
            return self._operation("div", left, right, _filled(left.ones // right))
        return self._operation("div", left, right, _filled(ones_of(left)))

    def mod(self, left: Value, right: Value) -> Value:
        """Left % right, where right is not 0."""
        if isinstance(right, int):
            if isinstance(left, int):
                return left % right
            if right & (right - 1) == 0:
                return self.and_(left, right - 1)
            if left.ones < right:
                return left
            return self._operation("mod", left, right, _filled(right - 1))
        return self._operation("mod", left, right, _filled(ones_of(left)))

    def difference(self, left: Value, right: Value) -> Value:
        """0 exactly where left == right."""
        if isinstance(left, Sum) or isinstance(right, Sum):
            return self.sub(left, right)
        return self.xor(left, right)

    def greater(self, left: Value, right: Value) -> Value:
        """1 where left > right, unsigned, else 0."""
        if isinstance(left, int) and isinstance(right, int):
            return int(left > right)
        if left is right:
            return 0
        return self._operation("gt", left, right, 1)

    # -- looking inside

    def sources(self, value: Value) -> frozenset[Node]:
        """The bytes and metadata a value is a function of, at most MAX_PARTS of them; not those that place a byte."""
        if isinstance(value, int):
            return frozenset()
        if value not in self._sources:
            if isinstance(value, Bits) and len(value.parts) <= 4 and all(type(part[0]) is Byte for part in value.parts):
                self.work += 1 + len(value.parts)  # a word as it is loaded: nearly all are
                return self._sources.setdefault(value, frozenset(part[0] for part in value.parts))
            found: set[Node] = set()
            seen: set[Node] = set()
            waiting: list[Node] = [value]
            while waiting and len(found) < MAX_PARTS:
                node = waiting.pop()
                if node in seen:
                    continue
                seen.add(node)
                if isinstance(node, Byte | Metadata):
                    found.add(node)
                elif isinstance(node, Opaque):
                    found |= node.sources
                else:
                    waiting += children(node)
            self.work += len(seen)
            self._sources[value] = frozenset(found)
        return self._sources[value]

    # -- making

    def _share(self, key: object, make: Callable[[], N]) -> N:
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._numbered(make())
        return found  # type: ignore[return-value] # a key names its class

    def _bits(self, parts: Mapping[tuple[Node, int], int], flip: int) -> Value:
        kept = tuple((source, shift, mask) for (source, shift), mask in parts.items() if mask)
        self.work += 2 * len(kept)
        if not kept:
            return flip
        if len(kept) == 1:
            source, shift, mask = kept[0]
            if not shift and not flip and mask == source.ones:
                return source
        elif len(kept) > MAX_PARTS:
            return self.opaque(source for source, _, _ in kept)
        key = (frozenset(kept), flip)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._numbered(self._bounded(Bits(kept, flip)))
        return found

    def _operation(self, operator: str, left: Value, right: Value, ones: int) -> Node:
        self.work += 1
        return self._share(
            (operator, left, right), lambda: self._bounded(Operation(operator, left, right, ones & WORD))
        )

    def _sum(self, constant: int, addends: Iterable[tuple[Node, int]]) -> Value:
        coefficients: dict[Node, int] = {}
        for node, coefficient in addends:
            coefficients[node] = coefficients.get(node, 0) + coefficient & WORD
        kept = {node: coefficient for node, coefficient in coefficients.items() if coefficient}
        self.work += 4 * len(kept)
        constant &= WORD
        if len(kept) > 1:
            by_bits = _sum_by_bits(kept)
            if by_bits:
                parts, flip, shift_of_value = by_bits
                return self.add(self._bits(parts, flip), constant + shift_of_value & WORD)
        if len(kept) == 1:
            node, coefficient = next(iter(kept.items()))
            if coefficient & (coefficient - 1) == 0:
                shifted = self.lsh(node, coefficient.bit_length() - 1)
                if ones_of(shifted) & constant == 0:
                    return self.xor(shifted, constant)
                if isinstance(shifted, Node):
                    kept = {shifted: 1}
        if not kept:
            return constant
        if len(kept) > MAX_PARTS:
            return self.opaque(kept)
        key = ("sum", constant, frozenset(kept.items()))
        return self._share(key, lambda: self._bounded(Sum(constant, tuple(kept.items()))))

    def _numbered(self, node: N) -> N:
        self._count += 1
        node.number = self._count
        return node

    def _bounded(self, node: Node) -> Node:
        return node if node.depth <= MAX_DEPTH else self.opaque((node,))


def split_offset(terms: Terms, value: Node) -> tuple[Node, int]:
    """A value as (node, constant) with value = node + constant, so that X + 22 and X are places from one base."""
    constant, addends = _addends(terms, value)
    if not constant:
        return value, 0
    base = terms.add(value, -constant & WORD) if isinstance(value, Sum) else addends[0][0]
    return (base, constant) if isinstance(base, Node) else (value, 0)


def _parts(value: Value) -> tuple[tuple[Part, ...], int]:
    if isinstance(value, int):
        return (), value
    if isinstance(value, Bits):
        return value.parts, value.flip
    return ((value, 0, value.ones),), 0


def _addends(terms: Terms, value: Value) -> tuple[int, tuple[tuple[Node, int], ...]]:
    """A value as a constant and (node, coefficient) pairs."""
    if isinstance(value, int):
        return value, ()
    if isinstance(value, Sum):
        return value.constant, value.addends
    if isinstance(value, Bits) and value.flip:
        without = terms.xor(value, value.flip)
        if isinstance(without, Node) and without.ones & value.flip == 0:
            return value.flip, ((without, 1),)
    return 0, ((value, 1),)


def _ordered(left: Node, right: Node) -> tuple[Node, Node]:
    """One order for the operands of a commutative operator."""
    return (left, right) if left.number <= right.number else (right, left)


def _filled(largest: int) -> int:
    """All bits up to the highest of `largest`."""
    return (1 << largest.bit_length()) - 1


def _sum_by_bits(
    coefficients: Mapping[Node, int],
) -> tuple[dict[tuple[Node, int], int], int, int] | None:
    """A sum over bits that never carries, as Bits and a constant: x + k - 2*(x & k) is x ^ k.

    Each bit of each source has one coefficient. Where all are plus or minus distinct powers of two, the sum is those
    bits put into those positions, the negative ones inverted, minus the constant that inverting adds.
    """
    by_bit: dict[tuple[Node, int], int] = {}
    for node, coefficient in coefficients.items():
        if isinstance(node, Bits) and not (node.disjoint and node.flip == 0):
            return None
        for source, shift, mask in _parts(node)[0]:
            for position in range(32):
                if mask >> position & 1:
                    bit = (source, position - shift)
                    by_bit[bit] = by_bit.get(bit, 0) + (coefficient << position) & WORD
    parts: dict[tuple[Node, int], int] = {}
    taken = flip = 0
    for (source, position), coefficient in by_bit.items():
        if not coefficient:
            continue
        magnitude = coefficient if coefficient & (coefficient - 1) == 0 else -coefficient & WORD
        if magnitude & (magnitude - 1) or taken & magnitude:
            return None
        taken |= magnitude
        flip |= magnitude if magnitude != coefficient else 0
        shift = magnitude.bit_length() - 1 - position
        parts[source, shift] = parts.get((source, shift), 0) | magnitude
    return parts, flip, -flip & WORD
