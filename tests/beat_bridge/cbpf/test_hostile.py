"""No program takes the analyser down, and none is called harmless for want of looking."""

from collections.abc import Callable

import pytest

from beat_bridge.cbpf import Link, judge
from beat_bridge.cbpf.check import obstacle
from beat_bridge.cbpf.follow import WORK, follow
from beat_bridge.model.base import Verdict
from beat_bridge.model.filters import Program
from tests.beat_bridge.cbpf.assembler import assemble
from tests.beat_bridge.cbpf.hostile import (
    GENERATORS,
    UDP,
    at_random,
    converging,
    long_port_list,
    many_constants,
    word_list,
)
from tests.beat_bridge.cbpf.recorded import CLASSIC_MAGIC


@pytest.mark.parametrize("make", GENERATORS.values(), ids=list(GENERATORS))
def test_the_budget_holds(make: Callable[[], Program]) -> None:
    """Following stays within its steps, whatever the program, and the answer is the same each time."""
    program = make()
    assert obstacle(program) == ""
    assert len(program) > 4000
    assert follow(program, Link.ETHERNET).terms.work < WORK * 1.1
    judgement = judge(program)
    assert judgement == judge.__wrapped__(program)
    assert judgement.complete or judgement.verdict is not Verdict.BENIGN


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_of_middle_size(seed: int) -> None:
    """Programs of 300 instructions get an answer too, never a false benign."""
    judgement = judge(at_random(seed, 300))
    assert judgement.complete or judgement.verdict is not Verdict.BENIGN


def test_diamonds_that_come_together_are_followed_to_the_end() -> None:
    """2**1000 ways that differ in nothing are one way: benign, and complete."""
    program = converging()[:-3]
    judgement = judge((*program, *assemble("ret #1")))
    assert judgement.verdict is Verdict.BENIGN
    assert judgement.complete


def test_a_knock_behind_a_maze_is_still_found() -> None:
    """Hundreds of diamonds before the real filter do not hide it."""
    maze = "|".join(
        f"ldb [{i % 34}]|jset #{1 << i % 8}, a{i}, b{i}|a{i}: ld M[0]|add #{i + 1}|ja c{i}"
        f"|b{i}: ld M[0]|xor #{i * 7 + 3}|c{i}: st M[0]"
        for i in range(200)
    )
    knock = (
        "ldh [12]|jeq #0x800, next, no|ldb [23]|jeq #17, payload, next|jeq #1, payload, next|jeq #6, next, no"
        "|ldh [20]|jset #0x1fff, no, next|ldxb 4*([14]&0xf)|ldb [x + 26]|and #0xf0|rsh #2|add x|tax|ldh [x + 14]"
        "|jeq #0x5293, yes, no|payload: ldh [20]|jset #0x1fff, no, next|ldxb 4*([14]&0xf)|ldh [x + 22]"
        "|jeq #0x7255, yes, no|yes: ret #0xffff|no: ret #0"
    )
    judgement = judge(assemble(f"ld #0|st M[0]|{maze}|{knock}"))
    assert judgement.verdict is Verdict.MALICIOUS
    assert {(m.protocol, m.base, m.offset, m.width, m.value) for m in judgement.magic} == CLASSIC_MAGIC


def test_a_lost_demand_on_the_payload_is_not_benign() -> None:
    """Where words of the payload decide and there are too many to tell apart, the verdict is not benign."""
    judgement = judge(GENERATORS["alternatives"]())
    assert judgement.verdict is not Verdict.BENIGN


def test_a_long_list_of_ports_is_only_a_list_of_ports() -> None:
    """4,000 ports, wanted or not, and 4,000 addresses are benign, and followed to the end."""
    ports = [i * 13 % 65521 for i in range(4000)]
    addresses = [i * 2654435761 % (1 << 32) for i in range(4000)]
    for program in (
        long_port_list(),
        word_list("ldh [x + 16]", ports, found="ret #0", otherwise="ret #1"),
        word_list("ld [26]", addresses),
    ):
        judgement = judge(program)
        assert (judgement.verdict, judgement.complete) == (Verdict.BENIGN, True)


def test_a_long_list_of_payload_words_is_a_secret() -> None:
    """One of 4,000 words of 32 bits: a payload meets that once in a million times."""
    judgement = judge(word_list("ld [x + 22]", [i * 2654435761 % (1 << 32) for i in range(4000)]))
    assert (judgement.verdict, judgement.complete) == (Verdict.MALICIOUS, True)


def test_what_joining_made_up_is_not_demanded() -> None:
    """A byte is never 0x7255, whichever of several bytes it is: nothing is accepted, and nothing is called a secret."""
    judgement = judge(many_constants())
    assert judgement.verdict is Verdict.BENIGN
    assert judgement.summary == "Accepts nothing."


def test_what_joined_states_hold_is_not_taken_for_a_calculation() -> None:
    """Forty ways leave the source address behind, one a payload byte: too many to tell apart, and no secret."""
    ways = "|".join(
        f"ldh [x + 14]|jeq #{i}, next, n{i}|ld [26]|xor #{i * 977 + 1}|ja end|n{i}: ld #0" for i in range(40)
    )
    judgement = judge(
        assemble(
            f"{UDP}|ja ip|no: ret #0|ip: ld #0|{ways}|ldb [x + 22]|end: jeq #0x7255, next, drop|ret #1|drop: ret #0"
        )
    )
    assert judgement.verdict is Verdict.UNKNOWN
    assert not judgement.complete


def test_a_word_asked_for_twice_gets_the_first_answer() -> None:
    """In a ladder of comparisons the second rung for the same word is never reached."""
    program = assemble(
        "ldh [42]|jeq #1, drop, next|jeq #0x7255, drop, next|jeq #0x7255, yes, drop|yes: ret #1|drop: ret #0"
    )
    assert judge(program).summary == "Accepts nothing."
