"""What the kernel refuses to attach (bpf_check_classic and check_load_and_stores in net/core/filter.c)."""

from beat_bridge.cbpf import opcodes
from beat_bridge.model.filters import Instruction, Program


def obstacle(program: Program) -> str:
    """Why the kernel would refuse this program, naming the instruction; empty where it would take it."""
    if not program:
        return "the program is empty"
    if len(program) > opcodes.MAX_INSTRUCTIONS:
        return f"the program has {len(program)} instructions, more than the kernel's {opcodes.MAX_INSTRUCTIONS}"
    for index, instruction in enumerate(program):
        reason = _instruction_obstacle(index, instruction, len(program))
        if reason:
            return f"instruction {index}: {reason}"
    if program[-1].code not in (opcodes.RET_K, opcodes.RET_A):
        return f"instruction {len(program) - 1}: a program must end in ret"
    return _scratch_obstacle(program)


def _instruction_obstacle(index: int, instruction: Instruction, length: int) -> str:  # noqa: PLR0911 - one return for each kind of mistake
    code, k = instruction.code, instruction.k
    if code not in opcodes.VALID:
        return f"unknown opcode {code:#06x}"
    kind, operation = code & 7, code & 0xF0
    if kind == opcodes.ALU and not code & opcodes.FROM_X:
        if operation in (0x30, 0x90) and k == 0:
            return "division by the constant 0"
        if operation in (0x60, 0x70) and k >= 32:
            return f"a shift by {k} bits: a word has 32"
    if (code in (opcodes.LD_MEM, opcodes.LDX_MEM) or kind in (opcodes.ST, opcodes.STX)) and k >= opcodes.SCRATCH_CELLS:
        return f"scratch cell M[{k}]: there are {opcodes.SCRATCH_CELLS}"
    if code in opcodes.LD_ABS and k >= opcodes.ANCILLARY_OFFSET and opcodes.ancillary_name(k) is None:
        return f"a load from {k:#x}, which is no ancillary field"
    if code == opcodes.JA and k >= length - index - 1:
        return f"a jump by {k}, past the end"
    if kind == opcodes.JMP and code != opcodes.JA and max(instruction.jt, instruction.jf) >= length - index - 1:
        return f"a jump by {max(instruction.jt, instruction.jf)}, past the end"
    return ""


def _scratch_obstacle(program: Program) -> str:
    """Scratch memory may be read only where every way to the read has written it."""
    everything = (1 << opcodes.SCRATCH_CELLS) - 1
    on_arrival = [everything] * len(program)
    written = 0
    for index, instruction in enumerate(program):
        written &= on_arrival[index]
        code = instruction.code
        if code & 7 in (opcodes.ST, opcodes.STX):
            written |= 1 << instruction.k
        elif code in (opcodes.LD_MEM, opcodes.LDX_MEM):
            if not written >> instruction.k & 1:
                return f"instruction {index}: scratch cell M[{instruction.k}] is read before it is written"
        elif code & 7 == opcodes.JMP:
            jumps = (instruction.k,) if code == opcodes.JA else (instruction.jt, instruction.jf)
            for jump in jumps:
                on_arrival[index + 1 + jump] &= written
            written = everything
    return ""
