"""Every kind of patch site: each state that the kernel may write is accepted, and no other."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.sensors.hypervisor.integrity.nops import NOP5, NOPS, fillings
from beat_bridge.sensors.hypervisor.integrity.patching.branches import RETURN_THUNKS, Retpoline, retpoline_states
from beat_bridge.sensors.hypervisor.integrity.running import Probe
from beat_bridge.sensors.hypervisor.integrity.sites import (
    Alternative,
    JumpLabel,
    Paravirt,
    RuntimeConstant,
    Sites,
    StaticCall,
)
from beat_bridge.sensors.hypervisor.integrity.visitor import Visitor
from tests.beat_bridge.sensors.hypervisor.integrity.parts import BASE, THUNKS, Answers, branch, judged

AT = 300
THUNK = BASE + 0x800
OTHER_THUNK = BASE + 0x900
FUNCTION = BASE + 0x2000
ANOTHER = BASE + 0x3000
KEY = BASE + 0x10_0000
RETURNS = Answers(symbols={"__x86_return_thunk": THUNK, "srso_return_thunk": OTHER_THUNK})


def _places(*places: int) -> "array[int]":
    return array("I", places)


@pytest.mark.parametrize(
    ("now", "good"),
    [
        ("c3cccccccc", True),
        ("c3cccccc90", False),
        ("c390cccccc", False),
        ("c2cccccccc", False),
        ("c3cccccc11", False),
        (branch(0xE9, AT, OTHER_THUNK).hex(), True),
        (branch(0xE8, AT, OTHER_THUNK).hex(), False),
        (branch(0xE9, AT, FUNCTION).hex(), False),
        (branch(0xE9, AT, OTHER_THUNK + 1).hex(), False),
    ],
)
def test_a_return_is_plain_or_through_a_thunk(now: str, good: bool) -> None:
    """A jump to the return thunk may be a return with traps, byte for byte, or a jump to another return thunk."""
    site = {AT: branch(0xE9, AT, THUNK)}
    verdict = judged(site, {AT: bytes.fromhex(now)}, Sites(returns=_places(AT)), RETURNS)
    assert (not verdict.unexplained) is good


def test_a_return_that_is_no_site_stays_what_it_was() -> None:
    """The same bytes where the image names no patch site are told."""
    verdict = judged({AT: branch(0xE9, AT, THUNK)}, {AT: bytes.fromhex("c3cccccccc")}, Sites(), RETURNS)
    assert verdict.unexplained == ((AT, AT + 5),)


def test_each_return_thunk_is_known() -> None:
    """Every thunk that arch/x86/kernel/cpu/bugs.c may set is accepted where the kernel has it."""
    for name in RETURN_THUNKS:
        answers = Answers(symbols={name: OTHER_THUNK})
        live = {AT: branch(0xE9, AT, OTHER_THUNK)}
        assert not judged({AT: branch(0xE9, AT, THUNK)}, live, Sites(returns=_places(AT)), answers).unexplained


@pytest.mark.parametrize(
    ("register", "image", "states", "wrong"),
    [
        (0, "e8", ["ffd00f1f00", "0faee8ffd0", "ffd0909090"], ["ffd10f1f00", "ffe00f1f00", "ffd00f1f01"]),
        (9, "e8", ["41ffd16690"], ["41ffd26690", "ffd10f1f00"]),
        (2, "e9", ["ffe2cc6690", "0faee8ffe2"], ["ffd2cc6690", "ffe2cc6691", "ffe1cc6690"]),
        (8, "e9", ["41ffe0cc90"], ["41ffe0cccc", "41ffe1cc90"]),
    ],
)
def test_an_indirect_branch_keeps_its_register(register: int, image: str, states: list[str], wrong: list[str]) -> None:
    """A call or jump to a retpoline may be the branch through that register itself, never through another."""
    site = {AT: branch(int(image, 16), AT, THUNKS + 32 * register)}
    answers = Answers(symbols={"__x86_indirect_thunk_array": THUNKS})
    sites = Sites(retpolines=_places(AT))
    for state in states:
        assert not judged(site, {AT: bytes.fromhex(state)}, sites, answers).unexplained
    for state in wrong:
        assert judged(site, {AT: bytes.fromhex(state)}, sites, answers).unexplained


def test_a_conditional_tail_call_jumps_over_its_branch() -> None:
    """`jne thunk_rcx` becomes `je` over `jmp *%rcx`: the condition inverted, six bytes in all."""
    states = retpoline_states(Retpoline(bytes.fromhex("0f85"), 1, 6))
    assert bytes.fromhex("7404ffe1cc90") in states
    assert not any(state.startswith(b"\x75") for state in states)
    assert {len(state) for state in states} == {6}


def test_a_lock_and_a_landing_mark_have_one_other_state() -> None:
    """A lock prefix may be a segment prefix, endbr64 a nop; anything else is told."""
    image = {AT: b"\xf0", 320: bytes.fromhex("f30f1efa")}
    sites = Sites(locks=_places(AT), seals=_places(320))
    assert not judged(image, {AT: b"\x3e", 320: bytes.fromhex("660f1f00")}, sites).unexplained
    assert not judged(image, {320: bytes.fromhex("660f1f00")}, sites).unexplained  # several processors: locks stay
    assert judged(image, {AT: b"\x90"}, sites).unexplained == ((AT, AT + 1),)
    assert judged(image, {320: bytes.fromhex("90909090")}, sites).unexplained


@pytest.mark.parametrize("image", ["0f1f440000", branch(0xE9, AT, BASE + 400).hex(), "6690", "eb62"])
def test_a_jump_label_goes_nowhere_but_to_its_target(image: str) -> None:
    """A static branch is a nop or a jump to its own target, in the image's length; a jump elsewhere is told."""
    sites = Sites(jump_labels=[JumpLabel(AT, 400)])
    size = len(image) // 2
    jump = branch(0xE9, AT, BASE + 400) if size == 5 else bytes((0xEB, 98))
    elsewhere = branch(0xE9, AT, BASE + 404) if size == 5 else bytes((0xEB, 99))
    for state in (NOPS[size], jump):
        assert not judged({AT: bytes.fromhex(image)}, {AT: state}, sites).unexplained
    assert judged({AT: bytes.fromhex(image)}, {AT: elsewhere}, sites).unexplained


def test_a_static_call_follows_its_key() -> None:
    """A static call leads where its key says, or is nothing; where key and code disagree, it is told."""
    image = {AT: branch(0xE8, AT, FUNCTION)}
    sites = Sites(static_calls=[StaticCall(AT, KEY, tail=False)])
    answers = Answers(words={KEY: ANOTHER}, functions=frozenset({ANOTHER, FUNCTION + 64}))
    for state in (branch(0xE8, AT, ANOTHER), NOP5, bytes.fromhex("2e2e2e31c0")):
        assert not judged(image, {AT: state}, sites, answers).unexplained
    for state in (branch(0xE8, AT, FUNCTION + 64), branch(0xE9, AT, ANOTHER), bytes.fromhex("c3cccccccc")):
        assert judged(image, {AT: state}, sites, answers).unexplained


def test_a_static_call_into_nobodys_code_is_told() -> None:
    """A key that leads to no function of the kernel and to nobody's code explains nothing."""
    image, state = {AT: branch(0xE8, AT, FUNCTION)}, {AT: branch(0xE8, AT, ANOTHER)}
    sites = Sites(static_calls=[StaticCall(AT, KEY, tail=False)])
    assert judged(image, state, sites, Answers(words={KEY: ANOTHER})).unexplained
    owned = judged(image, state, sites, Answers(words={KEY: ANOTHER}, owners={ANOTHER: "kvm"}))
    assert (owned.unexplained, owned.visitors) == ((), (Visitor(AT, 5, "kvm"),))


def test_a_trampoline_jumps_or_returns() -> None:
    """The trampoline of a static call jumps where the key says, or returns; it is never a nop or a call."""
    image = {AT: branch(0xE9, AT, FUNCTION)}
    sites = Sites(trampolines=[StaticCall(AT, KEY, tail=True)])
    answers = Answers(words={KEY: ANOTHER}, functions=frozenset({ANOTHER}))
    for state in (branch(0xE9, AT, ANOTHER), bytes.fromhex("c3cccccccc")):
        assert not judged(image, {AT: state}, sites, answers).unexplained
    for state in (branch(0xE8, AT, ANOTHER), NOP5):
        assert judged(image, {AT: state}, sites, answers).unexplained


def test_a_function_begins_with_a_nop_or_a_tracer() -> None:
    """At a function's beginning stands a nop, or a call of a tracer, told with its owner; another call is told."""
    image, sites = {AT: branch(0xE8, AT, FUNCTION)}, Sites(entries=_places(AT))
    answers = Answers(tracers={ANOTHER: "bpf_trampoline_1"})
    assert not judged(image, {AT: NOP5}, sites).unexplained
    traced = judged(image, {AT: branch(0xE8, AT, ANOTHER)}, sites, answers)
    assert (traced.unexplained, traced.visitors) == ((), (Visitor(AT, 5, "bpf_trampoline_1"),))
    assert judged(image, {AT: branch(0xE8, AT, ANOTHER + 1)}, sites, answers).unexplained


def test_a_probe_is_explained_where_it_is_registered() -> None:
    """A trap stands where a kprobe is registered and nowhere else; an optimised one jumps to its own detour only."""
    answers = Answers(registered={BASE + AT: Probe("a_module", ANOTHER)})
    assert judged({}, {AT: b"\xcc"}, Sites(), answers).visitors == (Visitor(AT, 1, "a_module"),)
    assert judged({}, {AT + 1: b"\xcc"}, Sites(), answers).unexplained == ((AT + 1, AT + 2),)
    jumps = judged({}, {AT: branch(0xE9, AT, ANOTHER)}, Sites(), answers)
    assert (jumps.unexplained, jumps.visitors) == ((), (Visitor(AT, 5, "a_module"),))
    assert judged({}, {AT: branch(0xE9, AT, FUNCTION)}, Sites(), answers).unexplained
    nobodys = Answers(registered={BASE + AT: Probe("", 0)})
    assert judged({}, {AT: b"\xcc"}, Sites(), nobodys).unexplained


def test_a_paravirtual_call_becomes_direct() -> None:
    """A call through pv_ops may be a call of what pv_ops names, or nothing where that is nothing."""
    table = BASE + 0x20_0000
    sites = Sites(paravirt=[Paravirt(AT, 3, 7)])
    image = {AT: bytes.fromhex("ff1425d8000000")}
    answers = Answers(
        symbols={"pv_ops": table, "_paravirt_nop": FUNCTION},
        words={table + 24: ANOTHER},
        functions=frozenset({ANOTHER}),
    )
    assert not judged(image, {AT: branch(0xE8, AT, ANOTHER) + NOPS[2]}, sites, answers).unexplained
    assert judged(image, {AT: NOPS[7]}, sites, answers).unexplained
    assert judged(image, {AT: branch(0xE8, AT, FUNCTION) + NOPS[2]}, sites, answers).unexplained
    answers.words[table + 24] = FUNCTION
    assert not judged(image, {AT: NOPS[7]}, sites, answers).unexplained


def test_a_constant_is_its_variable() -> None:
    """A value written into code is the one that the variable holds."""
    sites = Sites(constants=[RuntimeConstant(AT, 8, "dentry_hashtable"), RuntimeConstant(320, 1, "d_hash_shift")])
    answers = Answers(
        symbols={"dentry_hashtable": KEY, "d_hash_shift": KEY + 8},
        words={KEY: 0xFFFF_8880_1234_5678, KEY + 8: 0x10_000D},
    )
    live = {AT: (0xFFFF_8880_1234_5678).to_bytes(8, "little"), 320: b"\x0d"}
    assert not judged({}, live, sites, answers).unexplained
    assert judged({}, {AT: (0xFFFF_8880_1234_5670).to_bytes(8, "little")}, sites, answers).unexplained
    assert judged({}, {320: b"\x0e"}, sites, answers).unexplained


def test_an_alternative_is_one_of_its_replacements() -> None:
    """Code may be a replacement moved to its place, filled with nops; half of one, or a wrong distance, is told."""
    replacement_at = 0x5000
    replacement = b"\xe8" + (FUNCTION - BASE - replacement_at - 5).to_bytes(4, "little", signed=True) + b"\x0f\x01\xca"
    sites = Sites(alternatives=[Alternative(AT, 12, replacement, replacement_at - AT)])
    image = {AT: b"\x90" * 12}
    there = branch(0xE8, AT, FUNCTION) + b"\x0f\x01\xca"
    for state in (
        there + NOPS[4],
        there + b"\x90" * 4,
        NOPS[8] + NOPS[4],
        NOPS[11] + NOPS[1],
        b"\xeb\x0a" + b"\xcc" * 10,
    ):
        assert not judged(image, {AT: state}, sites).unexplained, state.hex()
    for state in (
        branch(0xE8, AT, FUNCTION + 1) + b"\x0f\x01\xca" + NOPS[4],
        replacement + NOPS[4],
        there + NOPS[3] + b"\x91",
        b"\xeb\x09" + b"\xcc" * 10,
        there[:5] + NOPS[7],
    ):
        assert judged(image, {AT: state}, sites).unexplained, state.hex()


def test_an_indirect_call_in_an_alternative_becomes_direct() -> None:
    """`call *pointer(%rip)` may be a call of what the pointer names, which must be a function."""
    pointer = BASE + 0x4000
    image = {AT: b"\xff\x15" + (pointer - BASE - AT - 6).to_bytes(4, "little")}
    sites = Sites(alternatives=[Alternative(AT, 6, b"\xe8\0\0\0\0", 0x5000)])
    answers = Answers(words={pointer: ANOTHER}, functions=frozenset({ANOTHER}), symbols={"nop_func": FUNCTION})
    assert not judged(image, {AT: branch(0xE8, AT, ANOTHER) + b"\x90"}, sites, answers).unexplained
    assert judged(image, {AT: branch(0xE8, AT, ANOTHER + 2) + b"\x90"}, sites, answers).unexplained
    answers.words[pointer] = KEY
    assert judged(image, {AT: branch(0xE8, AT, KEY) + b"\x90"}, sites, answers).unexplained


@given(st.integers(1, 40), st.integers(0, 39), st.integers(1, 255))
def test_no_nop_with_one_other_byte_is_one(size: int, place: int, change: int) -> None:
    """A filling of nops with one byte changed is no filling, whatever its length."""
    for good in fillings(size):
        bad = bytearray(good)
        bad[place % size] ^= change
        assert len(good) == size
        assert bytes(bad) not in fillings(size) or bytes(bad) == b"\x90" * size


@given(st.binary(min_size=1, max_size=40), st.integers(0, 500))
def test_bytes_where_no_site_is_are_told(code: bytes, at: int) -> None:
    """Whatever is written where the image names no patch site is told, to the byte."""
    verdict = judged({}, {at: code}, Sites())
    told = {place for start, end in verdict.unexplained for place in range(start, end)}
    assert told == {at + number for number, byte in enumerate(code) if byte != 0x11}
