"""Which registers and scratch cells a program may still read, where its ways meet, and which are lost."""

from dataclasses import dataclass

from beat_bridge.cbpf import opcodes
from beat_bridge.model.filters import Instruction, Program

A, X = 1 << 16, 1 << 17
"""Bits of a live set; bit n below them is scratch cell M[n]."""


@dataclass(frozen=True)
class Liveness:
    """What is known of each instruction before it is followed."""

    live: tuple[int, ...]
    """The registers and cells whose value on arrival can still matter."""
    meets: tuple[bool, ...]
    """More than one way leads here."""
    hopeful: tuple[bool, ...]
    """Some way from here may accept; what comes to any other place is dropped, and need not be followed."""


def analyse(program: Program) -> Liveness:
    """One backward pass: a classic program has no loops."""
    size = len(program)
    live = [0] * (size + 1)
    arrivals = [0] * (size + 1)
    hopeful = [False] * (size + 1)
    for index in range(size - 1, -1, -1):
        instruction = program[index]
        if instruction.code & 7 == opcodes.JMP:
            if instruction.code == opcodes.JA:
                targets = {index + 1 + instruction.k}
            else:
                targets = {index + 1 + instruction.jt, index + 1 + instruction.jf}
            after = 0
            for target in targets:
                hopeful[index] |= hopeful[target]
                after |= live[target]
                arrivals[target] += 1
        elif instruction.code & 7 == opcodes.RET:
            after = 0
            hopeful[index] = instruction.code == opcodes.RET_A or instruction.k != 0
        else:
            after = live[index + 1]
            hopeful[index] = hopeful[index + 1]
            arrivals[index + 1] += 1
        read, written = _uses(instruction)
        live[index] = after & ~written | read
    return Liveness(tuple(live[:size]), tuple(count > 1 for count in arrivals[:size]), tuple(hopeful[:size]))


def _uses(instruction: Instruction) -> tuple[int, int]:  # noqa: PLR0911 - one return for each kind of instruction
    """What an instruction reads and what it overwrites."""
    code, k = instruction.code, instruction.k
    kind = code & 7
    cell = 1 << (k & 15)
    if kind == opcodes.LD:
        if code in opcodes.LD_IND:
            return X, A
        if code == opcodes.LD_MEM:
            return cell, A
        name = opcodes.ancillary_name(k) if code in opcodes.LD_ABS else None
        return (A | X if name in ("xor_x", "nla", "nlan") else 0), A
    if kind == opcodes.LDX:
        return (cell if code == opcodes.LDX_MEM else 0), X
    if kind in (opcodes.ST, opcodes.STX):
        return (A if kind == opcodes.ST else X), cell
    if kind in (opcodes.ALU, opcodes.JMP):
        reads_a = 0 if code == opcodes.JA else A
        return reads_a | (X if code & opcodes.FROM_X and code not in (opcodes.JA, opcodes.NEG) else 0), 0
    if kind == opcodes.RET:
        return (A if code == opcodes.RET_A else 0), 0
    return (A, X) if code == opcodes.TAX else (X, A)
