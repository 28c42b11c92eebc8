"""Programs for tests: written in bpf_asm's notation, and drawn at random."""

import re
from collections.abc import Mapping

from hypothesis import strategies as st

from beat_bridge.cbpf import opcodes
from beat_bridge.cbpf.check import obstacle
from beat_bridge.model.filters import Instruction, Program

_WIDTHS = {"": 0x00, "h": 0x08, "b": 0x10}
_ARITHMETIC = {name: code for code, name in opcodes.ARITHMETIC.items()}
_COMPARISONS = {name: code for code, name in opcodes.COMPARISONS.items()}
_ANCILLARY = {name: opcodes.ANCILLARY_OFFSET + offset for offset, name in opcodes.ANCILLARY.items()}
_LABEL = re.compile(r"(\w+):\s*")
_BASES = {"net": opcodes.NETWORK_OFFSET, "link": opcodes.LINK_OFFSET}


def assemble(text: str) -> Program:
    """A program from bpf_asm's notation: a label before a line, `next` for the line after a jump, `;` for comments.

    Lines may be parted by line breaks or by `|`.
    """
    lines: list[str] = []
    labels: dict[str, int] = {}
    for written in re.split(r"[\n|]", text):
        line = written.split(";")[0].strip()
        while match := _LABEL.match(line):
            labels[match[1]] = len(lines)
            line = line[match.end() :]
        if line:
            lines.append(line)
    return tuple(_instruction(index, line, labels) for index, line in enumerate(lines))


def _instruction(index: int, line: str, labels: Mapping[str, int]) -> Instruction:  # noqa: PLR0911 - one return for each kind of instruction
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    plain = {"tax": opcodes.TAX, "txa": opcodes.TXA, "neg": opcodes.NEG}
    if name in plain:
        return Instruction(plain[name], 0, 0, 0)
    if name == "ret":
        return Instruction(opcodes.RET_A, 0, 0, 0) if rest == "a" else Instruction(opcodes.RET_K, 0, 0, _number(rest))
    if name in ("st", "stx"):
        return Instruction(opcodes.ST if name == "st" else opcodes.STX, 0, 0, int(rest[2:-1]))
    if name in _ARITHMETIC:
        operand = opcodes.FROM_X if rest == "x" else 0
        return Instruction(opcodes.ALU | _ARITHMETIC[name] | operand, 0, 0, 0 if operand else _number(rest))
    if name == "ja":
        return Instruction(opcodes.JA, 0, 0, _target(rest, labels, index))
    if name in _COMPARISONS:
        operand_text, yes, no = (part.strip() for part in rest.split(","))
        operand = opcodes.FROM_X if operand_text == "x" else 0
        k = 0 if operand else _number(operand_text)
        return Instruction(
            opcodes.JMP | _COMPARISONS[name] | operand, _target(yes, labels, index), _target(no, labels, index), k
        )
    return _load(name, rest)


def _load(name: str, rest: str) -> Instruction:  # noqa: PLR0911 - one return for each kind of load
    if name == "ldxb" and rest.startswith("4*"):
        return Instruction(opcodes.LDX_MSH, 0, 0, _place(rest[4 : rest.index("]")]))
    is_x = name.startswith("ldx")
    if rest.startswith("M["):
        return Instruction(opcodes.LDX_MEM if is_x else opcodes.LD_MEM, 0, 0, int(rest[2:-1]))
    if rest == "#len":
        return Instruction(opcodes.LDX_LEN if is_x else opcodes.LD_LEN, 0, 0, 0)
    if rest.startswith("#") and rest[1:] in _ANCILLARY:
        return Instruction(0x20, 0, 0, _ANCILLARY[rest[1:]])
    if rest.startswith("#"):
        return Instruction(opcodes.LDX_IMM if is_x else opcodes.LD_IMM, 0, 0, _number(rest))
    width = _WIDTHS[name[2:]]
    inside = rest[1:-1].strip()
    if inside.startswith("x"):
        return Instruction(0x40 | width, 0, 0, _place(inside[1:].lstrip(" +")))
    return Instruction(0x20 | width, 0, 0, _place(inside))


def _place(text: str) -> int:
    base, plus, offset = text.partition("+")
    if plus:
        return _BASES[base.strip()] + int(offset, 0) & opcodes.WORD
    return int(text or "0", 0) & opcodes.WORD


def _number(text: str) -> int:
    return int(text.lstrip("#"), 0) & opcodes.WORD


def _target(label: str, labels: Mapping[str, int], index: int) -> int:
    return 0 if label == "next" else labels[label] - index - 1


# -- at random

BYTES = (0, 1, 2, 4, 5, 8, 0x0F, 0x10, 0x40, 0x45, 0x50, 0x7F, 0x80, 0xFE, 0xFF)
"""Few values, so that comparisons are often met."""
WORDS = (*BYTES, 3, 7, 31, 0x100, 0x101, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)
PACKET_BYTES = 24


@st.composite
def programs(draw: st.DrawFn, max_size: int = 24) -> Program:
    """Programs that the kernel attaches, with every opcode, and loads that mostly lie in a small packet."""
    size = draw(st.integers(2, max_size))
    written: set[int] = set()
    body = [_any_instruction(draw, size - index - 2, written) for index in range(size - 1)]
    body.append(draw(st.sampled_from([Instruction(opcodes.RET_K, 0, 0, 0xFFFF), Instruction(opcodes.RET_A, 0, 0, 0)])))
    program = tuple(body)
    if obstacle(program):  # a jump went around the store that a later load needs
        program = tuple(
            Instruction(opcodes.LD_LEN, 0, 0, 0) if item.code in (opcodes.LD_MEM, opcodes.LDX_MEM) else item
            for item in program
        )
    return program


def _any_instruction(draw: st.DrawFn, room: int, written: set[int]) -> Instruction:
    kind = draw(st.sampled_from(["load", "load", "alu", "alu", "alu", "jump", "jump", "jump", "move", "store", "ret"]))
    if kind == "jump" and room > 0:
        return _any_jump(draw, room)
    if kind == "alu":
        return _any_arithmetic(draw)
    if kind == "move":
        return Instruction(draw(st.sampled_from([opcodes.TAX, opcodes.TXA])), 0, 0, 0)
    if kind == "store":
        cell = draw(st.integers(0, 2))
        written.add(cell)
        return Instruction(draw(st.sampled_from([opcodes.ST, opcodes.STX])), 0, 0, cell)
    if kind == "ret" and draw(st.integers(0, 3)) == 0:
        return Instruction(opcodes.RET_K, 0, 0, draw(st.sampled_from([0, 0xFFFF])))
    return _any_load(draw, written)


def _any_load(draw: st.DrawFn, written: set[int]) -> Instruction:
    place = draw(st.integers(0, PACKET_BYTES))
    choices = [Instruction(code, 0, 0, place) for code in (*opcodes.LD_ABS, *opcodes.LD_ABS, opcodes.LDX_MSH)]
    choices += [Instruction(code, 0, 0, place // 3) for code in opcodes.LD_IND]
    choices += [Instruction(code, 0, 0, draw(st.sampled_from(WORDS))) for code in (opcodes.LD_IMM, opcodes.LDX_IMM)]
    choices += [Instruction(code, 0, 0, 0) for code in (opcodes.LD_LEN, opcodes.LDX_LEN)]
    choices.append(Instruction(0x20, 0, 0, _ANCILLARY["xor_x"]))
    choices += [Instruction(code, 0, 0, cell) for code in (opcodes.LD_MEM, opcodes.LDX_MEM) for cell in sorted(written)]
    return draw(st.sampled_from(choices))


def _any_arithmetic(draw: st.DrawFn) -> Instruction:
    operation = draw(st.sampled_from([*opcodes.ARITHMETIC, opcodes.NEG & 0xF0]))
    if operation == opcodes.NEG & 0xF0:
        return Instruction(opcodes.NEG, 0, 0, 0)
    if draw(st.booleans()):
        return Instruction(opcodes.ALU | operation | opcodes.FROM_X, 0, 0, 0)
    name = opcodes.ARITHMETIC[operation]
    k = draw(st.integers(0, 31)) if name in ("lsh", "rsh") else draw(st.sampled_from(WORDS))
    return Instruction(opcodes.ALU | operation, 0, 0, k or 3 if name in ("div", "mod") else k)


def _any_jump(draw: st.DrawFn, room: int) -> Instruction:
    yes, no = draw(st.integers(0, min(room, 255))), draw(st.integers(0, min(room, 255)))
    if draw(st.integers(0, 9)) == 0:
        return Instruction(opcodes.JA, 0, 0, yes)
    code = opcodes.JMP | draw(st.sampled_from(list(opcodes.COMPARISONS)))
    if draw(st.integers(0, 4)) == 0:
        return Instruction(code | opcodes.FROM_X, yes, no, 0)
    return Instruction(code, yes, no, draw(st.sampled_from(WORDS)))


def packets() -> st.SearchStrategy[bytes]:
    """Small packets of few different bytes."""
    return st.lists(st.sampled_from(BYTES), max_size=PACKET_BYTES + 4).map(bytes)
