"""Classic BPF on a given packet: the program itself, as the kernel runs it, and the terms made from it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from beat_bridge.cbpf import opcodes
from beat_bridge.cbpf.nodes import Bits, Byte, Metadata, Node, Operation, Sum, Value
from beat_bridge.cbpf.opcodes import WORD, signed
from beat_bridge.model.base import Value as FrozenValue
from beat_bridge.model.filters import Instruction, Program


class Packet(FrozenValue, frozen=True, kw_only=True):
    """What a filter sees."""

    data: bytes
    network_offset: int = 14
    """Where the network header lies in `data` (SKF_NET_OFF)."""
    metadata: dict[str, int] = msgspec.field(default_factory=dict)
    """Ancillary fields by their bpf_asm name; what is not here reads as 0."""

    def read(self, place: int, width: int) -> int | None:
        """`width` bytes at a 32-bit place as an instruction computes it, or None outside (which ends a program with 0).

        A place that is negative as a C `int` counts from the network or the link header
        (bpf_internal_load_pointer_neg_helper in kernel/bpf/core.c).
        """
        start = signed(place)
        if start < opcodes.LINK_OFFSET:
            return None
        if start < 0:
            in_network = start >= opcodes.NETWORK_OFFSET
            start += self.network_offset - opcodes.NETWORK_OFFSET if in_network else -opcodes.LINK_OFFSET
        if start < 0 or start + width > len(self.data):
            return None
        return int.from_bytes(self.data[start : start + width], "big")

    def about(self, name: str) -> int:
        """An ancillary field, or the length."""
        return len(self.data) if name == "len" else self.metadata.get(name, 0) & WORD


# -- programs


def run(program: Program, packet: Packet) -> int:
    """What the program returns: 0 to drop the packet, else how many bytes of it to keep.

    The program must be one that the kernel would attach (`check.obstacle`).
    """
    a = x = index = 0
    cells = [0] * opcodes.SCRATCH_CELLS
    while True:
        instruction = program[index]
        code, k = instruction.code, instruction.k
        kind = code & 7
        index += 1
        result: int | None = 0
        if kind in (opcodes.LD, opcodes.LDX):
            result = _load(instruction, a, x, cells, packet)
            a, x = (a, result or 0) if kind == opcodes.LDX else (result or 0, x)
        elif kind in (opcodes.ST, opcodes.STX):
            cells[k] = a if kind == opcodes.ST else x
        elif kind == opcodes.ALU:
            result = _calculate(code, a, x if code & opcodes.FROM_X else k)
            a = result or 0
        elif kind == opcodes.JMP:
            index += _jump(instruction, a, x)
        elif kind == opcodes.MISC:
            a, x = (a, a) if code == opcodes.TAX else (x, x)
        else:
            return a if code == opcodes.RET_A else k
        if result is None:
            return 0


def _load(instruction: Instruction, a: int, x: int, cells: list[int], packet: Packet) -> int | None:
    code, k = instruction.code, instruction.k
    if code in opcodes.LD_ABS:
        name = opcodes.ancillary_name(k)
        if name == "xor_x":
            return a ^ x
        return packet.about(name) if name else packet.read(k, opcodes.LD_ABS[code])
    if code in opcodes.LD_IND:
        return packet.read(x + k & WORD, opcodes.LD_IND[code])
    if code == opcodes.LDX_MSH:
        byte = packet.read(k, 1)
        return None if byte is None else (byte & 0xF) * 4
    if code in (opcodes.LD_MEM, opcodes.LDX_MEM):
        return cells[k]
    return len(packet.data) if code in (opcodes.LD_LEN, opcodes.LDX_LEN) else k


_OPERATIONS: Mapping[str, Callable[[int, int], int]] = MappingProxyType(
    {
        "add": lambda left, right: left + right & WORD,
        "sub": lambda left, right: left - right & WORD,
        "mul": lambda left, right: left * right & WORD,
        "div": lambda left, right: left // right,
        "mod": lambda left, right: left % right,
        "and": lambda left, right: left & right,
        "or": lambda left, right: left | right,
        "xor": lambda left, right: left ^ right,
        "lsh": lambda left, right: left << (right & 31) & WORD,
        "rsh": lambda left, right: left >> (right & 31),
        "gt": lambda left, right: int(left > right),
    }
)


def _calculate(code: int, a: int, operand: int) -> int | None:
    if code == opcodes.NEG:
        return -a & WORD
    operator = opcodes.ARITHMETIC[code & 0xF0]
    if operator in ("div", "mod") and operand == 0:
        return None
    return _OPERATIONS[operator](a, operand)


def _jump(instruction: Instruction, a: int, x: int) -> int:
    if instruction.code == opcodes.JA:
        return instruction.k
    operand = x if instruction.code & opcodes.FROM_X else instruction.k
    holds = {"jeq": a == operand, "jgt": a > operand, "jge": a >= operand, "jset": a & operand != 0}
    return instruction.jt if holds[opcodes.COMPARISONS[instruction.code & 0xF0]] else instruction.jf


# -- terms


def evaluate(value: Value, packet: Packet, memory: dict[Node, int | None]) -> int | None:
    """A term's value for a packet; None where a byte of it lies outside or a part of it was not followed.

    Args:
        value: Nested at most `terms.MAX_DEPTH` deep.
        packet: The packet.
        memory: Values found so far, for this packet; kept between calls.
    """
    if isinstance(value, int):
        return value
    if value not in memory:
        memory[value] = _evaluate(value, packet, memory)
    return memory[value]


def _evaluate(node: Node, packet: Packet, memory: dict[Node, int | None]) -> int | None:  # noqa: PLR0911 - one return for each kind of node
    if isinstance(node, Byte):
        base = evaluate(node.base, packet, memory) if node.base else 0
        return None if base is None else packet.read(base + node.offset & WORD, 1)
    if isinstance(node, Metadata):
        return packet.about(node.name)
    if isinstance(node, Bits):
        result = node.flip
        for source, shift, mask in node.parts:
            word = evaluate(source, packet, memory)
            if word is None:
                return None
            result ^= (word << shift if shift >= 0 else word >> -shift) & mask
        return result
    if isinstance(node, Sum):
        total = node.constant
        for addend, coefficient in node.addends:
            word = evaluate(addend, packet, memory)
            if word is None:
                return None
            total += word * coefficient
        return total & WORD
    return _operate(node, packet, memory) if isinstance(node, Operation) else None


def _operate(node: Operation, packet: Packet, memory: dict[Node, int | None]) -> int | None:
    left, right = evaluate(node.left, packet, memory), evaluate(node.right, packet, memory)
    if left is None or right is None:
        return None
    if node.operator == "room":
        return max(0, len(packet.data) - left)
    if node.operator == "loadable":
        return int(packet.read(left, right) is not None)
    return None if right == 0 and node.operator in ("div", "mod") else _OPERATIONS[node.operator](left, right)
