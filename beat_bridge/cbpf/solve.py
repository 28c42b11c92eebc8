"""Tests on symbolic words, turned inside out: `(x ^ K) - C == 0` says that x is K ^ C.

`Solver.canonical` undoes arithmetic until the test speaks of packet bits as directly as it can; `imply` reads off the
bits of packet bytes that a test fixes. Both are exact: nothing is guessed, and what cannot be undone stays as it is.
"""

from collections.abc import Callable, Mapping

from beat_bridge.cbpf import domains
from beat_bridge.cbpf.domains import WORD, Domain
from beat_bridge.cbpf.nodes import Bits, Byte, Node, Operation, Sum, Value
from beat_bridge.cbpf.terms import Terms

MAX_POINTS = 64
"""Members up to which a set is mapped member by member."""

Known = Mapping[Byte, tuple[int, int]]
"""For each byte the bits that are fixed: (mask, value)."""
Test = tuple[Node, Domain]
"""The node's value is in the domain."""


class Solver:
    """Brings tests into one form; remembers what it has seen."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._seen: dict[Test, Test] = {}

    def canonical(self, node: Node, domain: Domain) -> Test:
        """An equivalent test on the plainest node: the domain is a part of 0..node.ones."""
        test = (node, domain)
        found = self._seen.get(test)
        if found is None:
            key, members = node, domains.intersection(domain, domains.below(node.ones))
            for _ in range(MAX_POINTS):
                undone = self._undo(key, members)
                if undone is None:
                    break
                self.terms.work += 2 + len(undone[1])
                key, members = undone[0], domains.intersection(undone[1], domains.below(undone[0].ones))
            found = self._seen[test] = (key, members)
        return found

    def _undo(self, node: Node, domain: Domain) -> Test | None:
        """The same test with one operation less, or None where none can be undone."""
        if isinstance(node, Bits):
            return self._undo_bits(node, domain)
        if isinstance(node, Sum):
            return self._undo_sum(node, domain)
        if isinstance(node, Operation) and isinstance(node.left, Node) and isinstance(node.right, int):
            return _undo_division(node.operator, node.left, node.right, domain)
        if isinstance(node, Operation) and node.operator == "div" and isinstance(node.left, int):
            return _undo_divisor(node.left, node.right, domain)
        return None

    def _undo_bits(self, node: Bits, domain: Domain) -> Test | None:
        if node.flip:
            plain = self.terms.xor(node, node.flip)
            return self._through(node, domain, plain, lambda value: [value ^ node.flip])
        trailing = (node.ones & -node.ones).bit_length() - 1
        if trailing:
            step = (1 << trailing) - 1
            shrunk = domains.normalise(
                (low + step >> trailing, high >> trailing)
                for low, high in domain
                if low + step >> trailing <= high >> trailing
            )
            return _test(self.terms.rsh(node, trailing), shrunk)
        if len(node.parts) > 1:
            return None
        source, shift, mask = node.parts[0]
        if shift <= 0 and mask << -shift | (1 << -shift) - 1 == source.ones | (1 << -shift) - 1 == _filled(source.ones):
            # the upper part of the source: an interval of it is an interval of the source
            low_bits = (1 << -shift) - 1
            return source, domains.normalise((low << -shift, high << -shift | low_bits) for low, high in domain)
        if isinstance(source, Sum) and shift == 0 and mask & (mask + 1) == 0 and len(source.addends) == 1:
            return self._solve_linear(node, domain, source, mask)
        return None

    def _undo_sum(self, node: Sum, domain: Domain) -> Test | None:
        if node.constant:
            plain = self.terms.sub(node, node.constant)
            return _test(plain, domains.rotated(domain, -node.constant))
        if len(node.addends) > 1:
            # a - b == 0 and b - a == 0 are one test: keep the sign in which the first of the nodes is positive
            _, leading = min(node.addends, key=lambda addend: addend[0].number)
            return _test(self.terms.neg(node), domains.negated(domain)) if leading > WORD >> 1 else None
        inner, coefficient = node.addends[0]
        if coefficient == WORD:
            return inner, domains.negated(domain)
        return self._solve_linear(node, domain, node, WORD)

    def _solve_linear(self, node: Node, domain: Domain, total: Sum, mask: int) -> Test | None:
        """Constant + coefficient * x, modulo the mask's power of two, is in the domain: which x are?"""
        inner, coefficient = total.addends[0]
        width = mask.bit_length()
        zeros = min((coefficient & -coefficient).bit_length() - 1, width)
        kept = (1 << width - zeros) - 1
        inverse = pow(coefficient >> zeros, -1, kept + 1) if kept else 0

        def solve(value: int) -> list[int]:
            distance = value - total.constant & mask
            if distance & (1 << zeros) - 1:
                return []
            return [(distance >> zeros) * inverse & kept]

        return self._through(node, domain, self.terms.and_(inner, kept), solve)

    @staticmethod
    def _through(node: Node, domain: Domain, inner: Value, solve: Callable[[int], list[int]]) -> Test | None:
        """Map a small set, or a set whose complement is small, member by member through an inverse function."""
        if not isinstance(inner, Node):
            return None
        few = domains.points(domain, MAX_POINTS)
        if few is not None:
            return inner, domains.of_points(point for value in few for point in solve(value))
        missing = domains.points(domains.complement(domain, node.ones), MAX_POINTS)
        if missing is not None:
            image = (point for value in missing for point in solve(value) if point <= inner.ones)
            return inner, domains.complement(domains.of_points(image), inner.ones)
        return None


def imply(known: Known, node: Node, mask: int, value: int) -> Known | None:
    """What is known once the bits `mask` of a node are `value`, or None where that contradicts what was known."""
    learnt: dict[Byte, tuple[int, int]] | None = None
    waiting = [(node, mask, value)]
    while waiting:
        node, mask, value = waiting.pop()
        if isinstance(node, Byte):
            old_mask, old_value = (learnt or known).get(node, (0, 0))
            if (old_value ^ value) & old_mask & mask:
                return None
            if mask & ~old_mask:
                if learnt is None:
                    learnt = dict(known)
                learnt[node] = (old_mask | mask, old_value | value & mask)
        elif isinstance(node, Bits):
            if node.disjoint:
                waiting += _bits_of_parts(node, mask, value)
        elif isinstance(node, Operation):
            waiting += _bits_of_operands(node, mask, value)
        elif isinstance(node, Sum) and mask == node.ones and value == 0 and _never_wraps(node):
            waiting += [(addend, addend.ones, 0) for addend, _ in node.addends]
    return known if learnt is None else learnt


def known_value(known: Known, node: Node, memory: dict[Node, tuple[int, int]] | None = None) -> tuple[int, int]:
    """What of a node's value follows from known bytes: (mask, value).

    Args:
        known: The bits of bytes that are fixed.
        node: Nested at most `terms.MAX_DEPTH` deep.
        memory: Of this call: nodes share their parts, so that the ways through them can be very many.
    """
    if isinstance(node, Byte):
        return known.get(node, (0, 0))
    memory = {} if memory is None else memory
    if node not in memory:
        if isinstance(node, Bits):
            memory[node] = _known_of_bits(known, node, memory)
        elif isinstance(node, Operation) and node.operator in ("and", "or"):
            memory[node] = _known_of_operation(known, node, memory)
        elif isinstance(node, Sum):
            memory[node] = _known_of_sum(known, node, memory)
        else:
            memory[node] = (~node.ones & WORD, 0)
    return memory[node]


def _known_of_bits(known: Known, node: Bits, memory: dict[Node, tuple[int, int]]) -> tuple[int, int]:
    fixed, value = WORD, node.flip
    for source, shift, mask in node.parts:
        known_source = known.get(source, (0, 0)) if isinstance(source, Byte) else known_value(known, source, memory)
        source_mask, source_value = known_source
        if shift >= 0:
            fixed &= ~mask | source_mask << shift
            value ^= source_value << shift & mask
        else:
            fixed &= ~mask | source_mask >> -shift
            value ^= source_value >> -shift & mask
    fixed &= WORD
    return fixed, value & fixed


def _known_of_operation(known: Known, node: Operation, memory: dict[Node, tuple[int, int]]) -> tuple[int, int]:
    (left_mask, left), (right_mask, right) = (
        (WORD, side) if isinstance(side, int) else known_value(known, side, memory) for side in (node.left, node.right)
    )
    if node.operator == "or":
        ones = left | right
        return left_mask & right_mask | ones, ones
    ones = left & right
    return left_mask & right_mask | left_mask & ~left | right_mask & ~right, ones


def _known_of_sum(known: Known, node: Sum, memory: dict[Node, tuple[int, int]]) -> tuple[int, int]:
    total = node.constant
    for addend, coefficient in node.addends:
        mask, value = known_value(known, addend, memory)
        if mask & addend.ones != addend.ones:
            return ~node.ones & WORD, 0
        total += coefficient * value
    return WORD, total & WORD


def _bits_of_parts(node: Bits, mask: int, value: int) -> list[tuple[Node, int, int]]:
    found = []
    for source, shift, part_mask in node.parts:
        wanted = part_mask & mask
        if wanted:
            bits = (value ^ node.flip) & wanted
            found.append(
                (source, wanted >> shift, bits >> shift) if shift >= 0 else (source, wanted << -shift, bits << -shift)
            )
    return found


def _bits_of_operands(node: Operation, mask: int, value: int) -> list[tuple[Node, int, int]]:
    """A zero of an `or` is a zero of both sides, a one of an `and` a one of both."""
    if node.operator == "or":
        fixed, bits = mask & ~value, 0
    elif node.operator == "and":
        fixed, bits = mask & value, mask & value
    else:
        return []
    return [(side, fixed & side.ones, bits) for side in (node.left, node.right) if isinstance(side, Node) and fixed]


def _never_wraps(node: Sum) -> bool:
    return node.constant == 0 and sum(addend.ones * coefficient for addend, coefficient in node.addends) <= WORD


def _undo_division(operator: str, inner: Node, divisor: int, domain: Domain) -> Test | None:
    if operator == "div":
        return inner, domains.normalise(
            (low * divisor, min(high * divisor + divisor - 1, WORD)) for low, high in domain if low * divisor <= WORD
        )
    if operator == "mod" and domains.size(domain) * (inner.ones // divisor + 1) <= MAX_POINTS:
        members = [value for low, high in domain for value in range(low, high + 1)]
        return inner, domains.of_points(value for member in members for value in range(member, inner.ones + 1, divisor))
    return None


def _undo_divisor(dividend: int, divisor: Value, domain: Domain) -> Test | None:
    """Dividend / x, with x not 0, is in the domain: the larger the quotient, the smaller x."""
    return _test(
        divisor,
        domains.normalise(
            (dividend // (high + 1) + 1, dividend // low if low else WORD) for low, high in domain if low <= dividend
        ),
    )


def _test(value: Value, domain: Domain) -> Test | None:
    return (value, domain) if isinstance(value, Node) else None


def _filled(largest: int) -> int:
    return (1 << largest.bit_length()) - 1
