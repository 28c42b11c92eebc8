"""Meaning decides: however a demand is spelled, the verdict and the magic stay the same."""

from collections.abc import Callable
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.cbpf import judge
from beat_bridge.cbpf.check import obstacle
from beat_bridge.cbpf.evaluate import Packet, run
from beat_bridge.model.base import Verdict
from tests.beat_bridge.cbpf.assembler import assemble

WORD = 0xFFFFFFFF
LOADS = {1: "ldb", 2: "ldh", 4: "ld"}
Comparison = Callable[[st.DrawFn, "Case"], str]


class Case:
    """Compare `width` bytes at x + `offset` with `value`: go to `yes` or `no`. Labels are unique."""

    numbers = count()

    def __init__(self, offset: int, width: int, value: int) -> None:
        self.offset, self.width, self.value = offset, width, value
        self.n = next(self.numbers)

    @property
    def load(self) -> str:
        """The plain load."""
        return f"{LOADS[self.width]} [x + {self.offset}]"


def plain(_draw: st.DrawFn, case: Case) -> str:
    """Load and compare."""
    return f"{case.load}|jeq #{case.value}, yes, no"


def arithmetic(draw: st.DrawFn, case: Case) -> str:
    """Invertible steps on the loaded word, and the constant they lead to."""
    lines, value = [case.load], case.value
    for _ in range(draw(st.integers(1, 5))):
        name = draw(st.sampled_from(["xor", "add", "sub", "neg", "mul"]))
        k = draw(st.integers(1, WORD))
        if name == "neg":
            lines.append("neg")
            value = -value & WORD
            continue
        k |= name == "mul"
        lines.append(f"{name} #{k}")
        value = {"xor": value ^ k, "add": value + k, "sub": value - k, "mul": value * k}[name] & WORD
    return "|".join([*lines, f"jeq #{value}, yes, no"])


def byte_by_byte(draw: st.DrawFn, case: Case) -> str:
    """One comparison for each byte, in any order."""
    lines = []
    for i in draw(st.permutations(range(case.width))):
        byte = case.value >> 8 * (case.width - 1 - i) & 0xFF
        lines += [f"ldb [x + {case.offset + i}]", f"jeq #{byte}, next, no"]
    return "|".join([*lines, "ja yes"])


def bit_by_bit(_draw: st.DrawFn, case: Case) -> str:
    """One test for each bit."""
    lines = [case.load]
    lines += [f"jset #{1 << i}, {'next, no' if case.value >> i & 1 else 'no, next'}" for i in range(8 * case.width)]
    return "|".join([*lines, "ja yes"])


def by_masks(draw: st.DrawFn, case: Case) -> str:
    """Two halves, cut at any bit, one of them shifted."""
    cut = draw(st.integers(1, 8 * case.width - 1))
    low = (1 << cut) - 1
    return (
        f"{case.load}|and #{low}|jeq #{case.value & low}, next, no"
        f"|{case.load}|rsh #{cut}|jeq #{case.value >> cut}, yes, no"
    )


def by_range(_draw: st.DrawFn, case: Case) -> str:
    """Not greater and not smaller."""
    return f"{case.load}|jgt #{case.value}, no, next|jge #{case.value}, yes, no"


def through_x(draw: st.DrawFn, case: Case) -> str:
    """Compared with X, directly or as a difference."""
    end = draw(st.sampled_from(["jeq x, yes, no", "sub x|jeq #0, yes, no", "xor x|jset #0xffffffff, no, yes"]))
    return f"{case.load}|tax|ld #{case.value}|{end}"


def through_scratch(draw: st.DrawFn, case: Case) -> str:
    """Parked in scratch memory on the way."""
    cell, k = draw(st.integers(2, 15)), draw(st.integers(0, WORD))
    return f"{case.load}|xor #{k}|st M[{cell}]|ld #0|ld M[{cell}]|jeq #{case.value ^ k}, yes, no"


def accumulated(_draw: st.DrawFn, case: Case) -> str:
    """Differences of all bytes, or-ed together: constant-time comparison."""
    lines = ["ld #0", "st M[1]", "stx M[0]"]
    for i in range(case.width):
        byte = case.value >> 8 * (case.width - 1 - i) & 0xFF
        lines += ["ldx M[0]", f"ldb [x + {case.offset + i}]", f"xor #{byte}", "ldx M[1]", "or x", "st M[1]"]
    return "|".join([*lines, "jeq #0, yes, no"])


def counted(_draw: st.DrawFn, case: Case) -> str:
    """A counter of the bytes that match, compared at the end."""
    lines = ["ld #0", "st M[1]"]
    for i in range(case.width):
        byte = case.value >> 8 * (case.width - 1 - i) & 0xFF
        over = f"over{case.n}_{i}"
        lines += [f"ldb [x + {case.offset + i}]", f"jeq #{byte}, next, {over}", "ld M[1]", "add #1", "st M[1]"]
        lines.append(f"{over}:")
    return "|".join([*lines[:-1], f"{lines[-1]} ld M[1]", f"jeq #{case.width}, yes, no"])


def xor_by_arithmetic(draw: st.DrawFn, case: Case) -> str:
    """X + k - 2 * (x & k), which is x ^ k."""
    k = draw(st.integers(1, (1 << 8 * case.width) - 1))
    return (
        f"stx M[0]|{case.load}|st M[1]|and #{k}|mul #2|st M[2]|ld M[1]|add #{k}|ldx M[2]|sub x"
        f"|jeq #{case.value ^ k}, yes, no"
    )


def inverted(_draw: st.DrawFn, case: Case) -> str:
    """The complement, by negation and by xor."""
    return (
        f"{case.load}|neg|sub #1|xor #{WORD}|jeq #{case.value}, next, no"
        f"|{case.load}|xor #{WORD}|jeq #{case.value ^ WORD}, yes, no"
    )


def by_division(draw: st.DrawFn, case: Case) -> str:
    """Quotient and remainder."""
    k = draw(st.integers(2, 255))
    return f"{case.load}|div #{k}|jeq #{case.value // k}, next, no|{case.load}|mod #{k}|jeq #{case.value % k}, yes, no"


COMPARISONS: list[Comparison] = [
    plain, arithmetic, byte_by_byte, bit_by_bit, by_masks, by_range, through_x, through_scratch, accumulated, counted,
    xor_by_arithmetic, inverted,
]  # fmt: skip
IHL = [
    "ldxb 4*([14]&0xf)",
    "ldb [14]|and #15|mul #4|tax",
    "ldb [14]|lsh #28|rsh #26|tax",
    "ldb [14]|mod #16|lsh #2|add #5|sub #5|tax",
    "ldb [net + 0]|and #0xf|lsh #2|tax",
]
JUNK = [
    "",
    "ldb [15]|jset #4, ja{n}, jb{n}|ja{n}: ld #1|jb{n}: ld #2",
    "ld #len|jgt #20, jc{n}, jc{n}|jc{n}: ld #0",
    "ldb [22]|st M[9]|ldb [22]|jgt #255, no, next",
    "ld [26]|xor #0x1234|jeq #77, jd{n}, jd{n}|jd{n}: ld #9",
]


@st.composite
def knocks(draw: st.DrawFn) -> tuple[str, int, int, int, str]:
    """A filter on UDP that wakes on a word of the payload: (text, offset, width, value, how it compares)."""
    width = draw(st.sampled_from([2, 4]))
    value = draw(st.integers(0x0101, (1 << 8 * width) - 1))
    offset = draw(st.integers(8, 40))
    comparison = draw(st.sampled_from(COMPARISONS))
    case = Case(14 + offset, width, value)
    junk = [draw(st.sampled_from(JUNK)).format(n=f"{case.n}_{i}") for i in range(3)]
    body = "|".join(
        part
        for part in (
            "ldh [12]|jeq #0x800, next, no",
            junk[0],
            "ldb [23]|jeq #17, next, no",
            junk[1],
            "ldh [20]|jset #0x1fff, no, next",
            junk[2],
            draw(st.sampled_from(IHL)),
            comparison(draw, case),
        )
        if part
    )
    return f"{body}|yes: ret #0xffff|no: ret #0", offset, width, value, comparison.__name__


@settings(max_examples=250, deadline=None)
@given(knocks())
def test_a_secret_is_found_however_it_is_spelled(knock: tuple[str, int, int, int, str]) -> None:
    """Any spelling of a demanded payload word gives a malicious verdict and the same magic."""
    text, offset, width, value, how = knock
    program = assemble(text)
    assert obstacle(program) == ""
    packet = bytearray(14 + 20 + 60)
    packet[12:15] = b"\x08\x00\x45"
    packet[23] = 17
    packet[34 + offset : 34 + offset + width] = value.to_bytes(width, "big")
    assert run(program, Packet(data=bytes(packet))) == 0xFFFF, "the spelling itself is wrong"
    packet[34 + offset] ^= 1
    assert run(program, Packet(data=bytes(packet))) == 0, "the spelling itself is wrong"
    judgement = judge(program)
    found = {(m.protocol, m.base, m.offset, m.width, m.value, m.mask) for m in judgement.magic}
    assert judgement.verdict in (Verdict.MALICIOUS, Verdict.SUSPICIOUS)
    assert found == {("udp", "header", offset, width, value, None)}, how
    assert judgement.complete


@settings(max_examples=150, deadline=None)
@given(knocks())
def test_spelling_does_not_change_the_judgement(knock: tuple[str, int, int, int, str]) -> None:
    """A differently spelled program gets the verdict of the plain one."""
    text, offset, width, value, _ = knock
    base = assemble(
        "ldh [12]|jeq #0x800, next, no|ldb [23]|jeq #17, next, no|ldh [20]|jset #0x1fff, no, next|ldxb 4*([14]&0xf)"
        f"|{LOADS[width]} [x + {14 + offset}]|jeq #{value}, yes, no|yes: ret #1|no: ret #0"
    )
    plainly, spelled = judge(base), judge(assemble(text))
    assert (plainly.verdict, plainly.magic, plainly.reasons) == (spelled.verdict, spelled.magic, spelled.reasons)
