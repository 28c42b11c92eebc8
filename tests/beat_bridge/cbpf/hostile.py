"""Programs made to exhaust an analyser: 4,096 instructions, exponentially many ways, deep or wide expressions."""

import random
from collections.abc import Callable, Mapping

from beat_bridge.cbpf import opcodes
from beat_bridge.model.filters import Instruction, Program
from tests.beat_bridge.cbpf.assembler import assemble

SIZE = opcodes.MAX_INSTRUCTIONS
_TAIL = "jeq #0x7255, next, no|ret #0xffff|no: ret #0"


def _repeat(block: Callable[[int], str], start: str = "ld #0|st M[0]", tail: str = _TAIL) -> Program:
    """Start, then as many numbered blocks as fit, then the tail."""
    room = SIZE - len(start.split("|")) - len(tail.split("|"))
    count = room // len(block(0).split("|"))
    return assemble("|".join([start, *(block(i) for i in range(count)), tail]))


def diverging() -> Program:
    """Each diamond leaves another value behind: 2**500 values of one scratch cell."""
    return _repeat(
        lambda i: (
            f"ldb [{i % 200}]|jset #{1 << i % 8}, a{i}, b{i}|a{i}: ld M[0]|add #{i + 1}|ja c{i}|b{i}: ld M[0]"
            f"|xor #{i * 7 + 3}|c{i}: st M[0]"
        )
    )


def converging() -> Program:
    """2,000 diamonds that all come together again."""
    return _repeat(lambda i: f"ldb [{i % 250}]|jset #{1 << i % 8}, a{i}, b{i}|a{i}: ldx #1|b{i}: tax")


def powers() -> Program:
    """A value multiplied with itself again and again: a tree of 2**1000 leaves."""
    return _repeat(lambda _: "tax|mul x|add #3", start="ld [42]")


def sums() -> Program:
    """A sum over hundreds of bytes."""
    return _repeat(lambda i: f"ldb [{i}]|ldx M[0]|add x|st M[0]")


def mixtures() -> Program:
    """Exclusive or of hundreds of words, shifted each time."""
    return _repeat(lambda i: f"ld [{i * 3}]|ldx M[0]|xor x|lsh #1|st M[0]")


def chains() -> Program:
    """Each load's place is the value of the load before."""
    return _repeat(lambda _: "ldb [x + 3]|tax", start="ldx #0")


def ladders() -> Program:
    """Comparisons of everything with everything, without consequence."""
    return _repeat(
        lambda i: (
            f"ldb [{i % 300}]|jeq #{i % 256}, t{i}, next|ldh [{i % 200}]|jgt #{i * 13 % 65536}, next, u{i}"
            f"|u{i}: t{i}: ld #{i % 9}"
        )
    )


def counters() -> Program:
    """All sixteen scratch cells count something else."""
    start = "|".join(["ld #0", *(f"st M[{cell}]" for cell in range(16))])
    return _repeat(
        lambda i: (
            f"ldb [{i % 60 + 40}]|jset #{1 << i % 8}, next, s{i}|ld M[{i % 16}]|add #1|st M[{i % 16}]|s{i}: ldx #1"
        ),
        start=start,
        tail=f"ld M[3]|{_TAIL}",
    )


def alternatives() -> Program:
    """A list of a thousand payload words, each with a port of its own."""
    return _repeat(
        lambda i: f"ldh [{36}]|jeq #{i}, next, o{i}|ld [42]|jeq #{i * 40503 + 99}, f{i}, o{i}|f{i}: ret #1|o{i}: ld #0",
        start="ldh [12]|ldb [23]",
    )


def at_random(seed: int, size: int = SIZE) -> Program:
    """Any instructions with short jumps."""
    draw = random.Random(seed)  # noqa: S311 - no secret is drawn
    body = [Instruction(opcodes.ST, 0, 0, cell) for cell in range(16)]
    while len(body) < size - 1:
        room = size - 2 - len(body)
        kind = draw.random()
        jumps = (min(room, draw.randrange(6)), min(room, draw.randrange(6)))
        if kind < 0.3:
            comparison = draw.choice(list(opcodes.COMPARISONS)) | (opcodes.FROM_X if draw.random() < 0.2 else 0)
            body.append(Instruction(opcodes.JMP | comparison, *jumps, draw.choice([0, 1, 5, 0x45, 0x7255, 0xFFFF])))
        elif kind < 0.6:
            body.append(Instruction(draw.choice(list(opcodes.LD_ABS)), 0, 0, draw.randrange(80)))
        elif kind < 0.65:
            body.append(Instruction(draw.choice(list(opcodes.LD_IND)), 0, 0, draw.randrange(80)))
        elif kind < 0.8:
            operation = draw.choice([0x00, 0x10, 0x20, 0x40, 0x50, 0xA0]) | draw.choice([0, opcodes.FROM_X])
            body.append(Instruction(opcodes.ALU | operation, 0, 0, draw.randrange(1 << 32)))
        elif kind < 0.9:
            body.append(Instruction(draw.choice([opcodes.TAX, opcodes.TXA]), 0, 0, 0))
        else:
            code = draw.choice([opcodes.ST, opcodes.STX, opcodes.LD_MEM, opcodes.LDX_MEM])
            body.append(Instruction(code, 0, 0, draw.randrange(16)))
    return (*body, Instruction(opcodes.RET_A, 0, 0, 0))


GENERATORS: Mapping[str, Callable[[], Program]] = {
    make.__name__: make
    for make in (diverging, converging, powers, sums, mixtures, chains, ladders, counters, alternatives)
} | {f"at random, {seed}": lambda seed=seed: at_random(seed) for seed in range(6)}
