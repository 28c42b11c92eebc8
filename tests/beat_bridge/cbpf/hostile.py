"""Programs made to exhaust an analyser: 4,096 instructions, exponentially many ways, deep or wide expressions."""

import random
from collections.abc import Callable, Mapping, Sequence

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


UDP = "ldh [12]|jeq #0x800, next, no|ldb [23]|jeq #17, next, no|ldxb 4*([14]&0xf)"


def word_list(load: str, words: Sequence[int], found: str = "ret #0xffff", otherwise: str = "ret #0") -> Program:
    """UDP packets in which a word is on a list, as long as it may be: 200 comparisons lead to one answer."""
    lines = [UDP.replace("17, next, no", "17, ip, next|no: ret #0|ip: ld #0"), load]
    for start in range(0, len(words), 200):
        lines += [f"jeq #{word}, y{start}, next" for word in words[start : start + 200]]
        lines.append(f"ja n{start}|y{start}: {found}")
        lines.append(f"n{start}: {load}")
    return assemble("|".join([*lines, otherwise]))


def long_port_list() -> Program:
    """4,000 ports."""
    return word_list("ldh [x + 16]", [i * 13 % 65521 for i in range(4000)])


def address_and_port() -> Program:
    """A thousand pairs of an address and a port."""
    return _repeat(
        lambda i: (
            f"ld [26]|jeq #{i * 2654435761 % (1 << 32)}, next, o{i}|ldh [x + 16]|jeq #{i * 7 % 65521}, next, o{i}"
            f"|ret #1|o{i}: ld #0"
        ),
        start="ldxb 4*([14]&0xf)",
    )


def many_constants() -> Program:
    """The same byte compared with everything, and something else left behind each time."""
    return _repeat(
        lambda i: (
            f"ldb [42]|jeq #{i % 256}, a{i}, next|ldb [43]|jeq #{i * 7 % 256}, next, b{i}|a{i}: ldx #{i}|b{i}: tax"
        )
    )


def nested_ranges() -> Program:
    """A word narrowed by ever tighter ranges that come together again."""
    return _repeat(
        lambda i: (
            f"ldh [42]|jgt #{i * 7 % 65536}, next, b{i}|jgt #{(60000 - i * 7) % 65536}, b{i}, c{i}|b{i}: ld #{i}"
            f"|c{i}: tax"
        )
    )


def comparisons_with_x() -> Program:
    """Words of the packet compared with each other, the larger kept."""
    return _repeat(
        lambda i: f"ld [{14 + i % 90}]|ldx M[{i % 16}]|jgt x, next, b{i}|st M[{i % 16}]|b{i}: tax",
        start="|".join(["ld #0", *(f"st M[{cell}]" for cell in range(16))]),
    )


def rotations() -> Program:
    """A word rotated, and mixed with a constant, hundreds of times."""
    return _repeat(
        lambda _: "st M[0]|lsh #7|st M[1]|ld M[0]|rsh #25|ldx M[1]|or x|xor #0x9e3779b9",
        start="ld [42]",
    )


def xor_shifts() -> Program:
    """A generator of random numbers, seeded with payload."""
    return _repeat(lambda _: "st M[0]|lsh #13|ldx M[0]|xor x|st M[0]|rsh #17|ldx M[0]|xor x", start="ld [42]")


def odd_factors() -> Program:
    """4,000 multiplications and additions: a permutation of the words."""
    return _repeat(lambda i: f"xor #{i * 2654435761 % (1 << 32)}|add #{i + 7}|mul #{2 * i + 3}", start="ld [42]")


def divisions() -> Program:
    """Each scratch cell divided by another."""
    return _repeat(
        lambda i: f"ldx M[{i % 16}]|div x|add #77|st M[{(i + 3) % 16}]",
        start="|".join(["ld [42]", *(f"st M[{cell}]" for cell in range(16))]),
    )


def rare_calculations() -> Program:
    """A thousand calculations whose results must be tried out to know how rare they are."""
    return _repeat(
        lambda i: (
            f"ld [{42 + i % 8}]|tax|ld #{i + 1000}|div x|mul x|xor x|st M[1]|lsh x|ldx M[1]|mul x|jeq #{i}, next, b{i}"
            f"|ret #1|b{i}: ld #0"
        ),
        start="ldb [23]|jeq #17, next, no",
    )


def roving_loads() -> Program:
    """Each load's place depends on all the loads before, and so does the way."""
    return _repeat(lambda i: f"ldb [x + {i % 7}]|jset #{1 << i % 8}, a{i}, next|add x|a{i}: tax", start="ldx #0")


def loads_of_loads() -> Program:
    """Each load's place is the byte loaded before, and the last byte is demanded."""
    return _repeat(
        lambda i: f"ldb [x + {i % 100}]|tax",
        start="ldx #0",
        tail="ldb [x + 1]|jeq #0x72, next, no|ret #0xffff|no: ret #0",
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
    for make in (
        *(diverging, converging, powers, sums, mixtures, chains, ladders, counters, alternatives, address_and_port),
        *(many_constants, nested_ranges, comparisons_with_x, rotations, xor_shifts, odd_factors, divisions),
        *(rare_calculations, roving_loads, loads_of_loads, long_port_list),
    )
} | {f"at random, {seed}": lambda seed=seed: at_random(seed) for seed in range(6)}
