"""Instructions in the notation of the kernel's bpf_asm."""

from beat_bridge.cbpf import opcodes
from beat_bridge.model.filters import Instruction, Program

_WIDTH_SUFFIX = {4: "", 2: "h", 1: "b"}


def disassemble(program: Program) -> tuple[str, ...]:
    """One line for each instruction: `l7: ldh [x + 22]`."""
    return tuple(f"l{index}: {_text(index, instruction)}" for index, instruction in enumerate(program))


def _text(index: int, instruction: Instruction) -> str:  # noqa: PLR0911 - one return for each kind of instruction
    code, k = instruction.code, instruction.k
    if code not in opcodes.VALID:
        return f".word {code:#06x}, {instruction.jt}, {instruction.jf}, {k:#x}"
    kind = code & 7
    if kind in (opcodes.LD, opcodes.LDX):
        return _load(code, k)
    if kind in (opcodes.ST, opcodes.STX):
        return f"{'st' if kind == opcodes.ST else 'stx'} M[{k}]"
    if kind == opcodes.JMP:
        return _jump(index, instruction)
    if kind == opcodes.ALU:
        if code == opcodes.NEG:
            return "neg"
        return f"{opcodes.ARITHMETIC[code & 0xF0]} {'x' if code & opcodes.FROM_X else f'#{k:#x}'}"
    return {opcodes.RET_K: f"ret #{k:#x}", opcodes.RET_A: "ret a", opcodes.TAX: "tax", opcodes.TXA: "txa"}[code]


def _load(code: int, k: int) -> str:
    name = "ldx" if code & 7 == opcodes.LDX else "ld"
    if code in opcodes.LD_ABS:
        ancillary = opcodes.ancillary_name(k)
        width = _WIDTH_SUFFIX[opcodes.LD_ABS[code]]
        return f"ld #{ancillary}" if ancillary else f"ld{width} [{place(k)}]"
    if code in opcodes.LD_IND:
        return f"ld{_WIDTH_SUFFIX[opcodes.LD_IND[code]]} [x + {place(k)}]"
    if code == opcodes.LDX_MSH:
        return f"ldxb 4*([{place(k)}]&0xf)"
    if code in (opcodes.LD_MEM, opcodes.LDX_MEM):
        return f"{name} M[{k}]"
    if code in (opcodes.LD_LEN, opcodes.LDX_LEN):
        return f"{name} #len"
    return f"{name} #{k:#x}"


def place(k: int) -> str:
    """A packet offset, with the kernel's special areas by name."""
    offset = opcodes.signed(k)
    if offset >= 0:
        return str(offset)
    if offset >= opcodes.NETWORK_OFFSET:
        return f"net + {offset - opcodes.NETWORK_OFFSET}"
    if offset >= opcodes.LINK_OFFSET:
        return f"link + {offset - opcodes.LINK_OFFSET}"
    return f"{k:#x}"


def _jump(index: int, instruction: Instruction) -> str:
    if instruction.code == opcodes.JA:
        return f"ja l{index + 1 + instruction.k}"
    name = opcodes.COMPARISONS[instruction.code & 0xF0]
    operand = "x" if instruction.code & opcodes.FROM_X else f"#{instruction.k:#x}"
    return f"{name} {operand}, l{index + 1 + instruction.jt}, l{index + 1 + instruction.jf}"
