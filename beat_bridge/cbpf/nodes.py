"""Symbolic 32-bit words: what a register holds, as a function of the packet.

A value is an `int` where it is known, else a node.

    Node
    ├── Byte        one byte of the packet, at a fixed place or at a computed one
    ├── Metadata    what the kernel knows besides the bytes: the length, the VLAN tag, ...
    ├── Bits        exclusive or of shifted and masked nodes, then of a constant: loads, masks, shifts, xor
    ├── Sum         constant + sum of coefficient x node, modulo 2**32: add, sub, neg, mul by a constant
    ├── Operation   what neither of the two can hold (div, mod, products and shifts of two unknowns, ...)
    └── Opaque      a function of these bytes that was not followed
"""

WORD = 0xFFFFFFFF
OPAQUE, JOINED = 1, 2
"""See `Opaque`."""


class Node:
    """A word that depends on the packet."""

    __slots__ = ("depth", "number", "ones", "opacity")

    def __init__(self, ones: int, depth: int, opacity: int = 0) -> None:
        self.opacity = opacity
        """Of the most opaque of the nodes it is made of: 0, OPAQUE or JOINED."""
        self.ones = ones
        """Every bit that can be one: no value is larger than this."""
        self.depth = depth
        self.number = 0
        """Of its `Terms`, in the order of making: where an order is needed, this one is the same in every run."""


Value = int | Node


class Byte(Node):
    """The packet's byte at `base` + `offset`; `base` is None for a fixed place. Offsets are signed."""

    __slots__ = ("base", "offset")

    def __init__(self, base: Node | None, offset: int) -> None:
        super().__init__(0xFF, base.depth + 1 if base else 0, base.opacity if base else 0)
        self.base = base
        self.offset = offset


class Metadata(Node):
    """A word the kernel keeps beside the packet, by its bpf_asm name (`len`, `vlan_tci`)."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__(WORD, 0)
        self.name = name


Part = tuple[Node, int, int]
"""(source, left shift, mask of the shifted word)."""


class Bits(Node):
    """XOR over parts of (source << shift) & mask, then XOR `flip`. A negative shift goes right."""

    __slots__ = ("disjoint", "flip", "parts")

    def __init__(self, parts: tuple[Part, ...], flip: int) -> None:
        ones = overlap = 0
        for _, _, mask in parts:
            overlap |= ones & mask
            ones |= mask
        super().__init__(ones | flip, 1 + max(part[0].depth for part in parts), max(part[0].opacity for part in parts))
        self.parts = parts
        self.flip = flip
        self.disjoint = not overlap
        """Every bit of the word comes from one bit of one source."""


class Sum(Node):
    """constant + sum of coefficient * node, modulo 2**32."""

    __slots__ = ("addends", "constant")

    def __init__(self, constant: int, addends: tuple[tuple[Node, int], ...]) -> None:
        largest = constant + sum(node.ones * coefficient for node, coefficient in addends)
        ones = (1 << largest.bit_length()) - 1 if largest <= WORD else WORD
        super().__init__(ones, 1 + max(node.depth for node, _ in addends), max(node.opacity for node, _ in addends))
        self.constant = constant
        self.addends = addends


class Operation(Node):
    """left `operator` right. Besides the instruction set's: `gt` (0 or 1), and `room`, see `Terms.room`."""

    __slots__ = ("left", "operator", "right")

    def __init__(self, operator: str, left: Value, right: Value, ones: int) -> None:
        super().__init__(ones, 1 + max(depth_of(left), depth_of(right)), max(opacity_of(left), opacity_of(right)))
        self.operator = operator
        self.left = left
        self.right = right


class Opaque(Node):
    """A function of these sources that was not followed; every one of them is another function."""

    __slots__ = ("sources",)

    def __init__(self, sources: frozenset[Node], ones: int, opacity: int) -> None:
        """Make one.

        Args:
            sources: The bytes and metadata it depends on.
            ones: Every bit that can be one.
            opacity: OPAQUE; JOINED for one function on some ways through the program and another on others.
        """
        super().__init__(ones, 0, opacity)
        self.sources = sources


def ones_of(value: Value) -> int:
    """Every bit of a value that can be one."""
    return value if isinstance(value, int) else value.ones


def depth_of(value: Value) -> int:
    """Nesting; 0 for a constant."""
    return 0 if isinstance(value, int) else value.depth


def opacity_of(value: Value) -> int:
    """See `Node.opacity`; 0 for a constant."""
    return 0 if isinstance(value, int) else value.opacity


def children(node: Node) -> list[Node]:
    """The nodes a node is made of; a byte's base is not among them."""
    if isinstance(node, Bits):
        return [part[0] for part in node.parts]
    if isinstance(node, Sum):
        return [addend[0] for addend in node.addends]
    if isinstance(node, Operation):
        return [value for value in (node.left, node.right) if isinstance(value, Node)]
    return []
