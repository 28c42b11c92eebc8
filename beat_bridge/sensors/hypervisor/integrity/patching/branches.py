"""Returns, indirect branches, landing marks and lock prefixes: patched once, when the processor is known.

arch/x86/kernel/alternative.c: apply_returns(), apply_retpolines(), apply_seal_endbr(), alternatives_smp_unlock().
"""

import struct
from dataclasses import dataclass
from functools import cache

from beat_bridge.sensors.hypervisor.integrity.nops import fillings
from beat_bridge.sensors.hypervisor.integrity.running import Running
from beat_bridge.sensors.hypervisor.integrity.sites import Sites
from beat_bridge.sensors.hypervisor.integrity.stretch import Stretch

CALL, JUMP, CONDITIONAL = 0xE8, 0xE9, 0x0F
BRANCH = 5
"""Bytes of a call or jmp with a 32-bit distance."""
RETURN = bytes.fromhex("c3cccccccc")
RETURN_THUNKS = (
    "__x86_return_thunk",
    "call_depth_return_thunk",
    "its_return_thunk",
    "retbleed_return_thunk",
    "srso_alias_return_thunk",
    "srso_return_thunk",
)
_REGISTERS = 16
THUNKS = ("thunk", "call_thunk", "jump_thunk", "its_thunk")
"""Families of __x86_indirect_*_REGISTER."""
_THUNK_SIZE = 32
"""RETPOLINE_THUNK_SIZE"""
_SEGMENT = 0x2E
"""The prefix by which objtool makes room for lfence."""
_MARK = bytes.fromhex("f30f1efa")
_SEALED = (bytes.fromhex("660f1f00"), bytes.fromhex("0f1f40d6"))
"""gen_endbr_poison(), before and since Linux 6.15."""
LOCK, NO_LOCK = 0xF0, 0x3E
_DISTANCE = struct.Struct("<i")
_LFENCE = bytes.fromhex("0faee8")


def target_at(address: int, branch: bytes, opcode_size: int = 1) -> int:
    """Where a branch with a 32-bit distance leads.

    Args:
        address: Of the branch.
        branch: Its bytes.
        opcode_size: Bytes before the distance.
    """
    return int(address + opcode_size + 4 + _DISTANCE.unpack_from(branch, opcode_size)[0])


def accept_returns(stretch: Stretch, sites: Sites, running: Running) -> None:
    """`jmp __x86_return_thunk` may be a return, or a jump to another return thunk."""
    live, expected, start = stretch.live, stretch.expected, stretch.start
    others: list[int] = []
    for place in stretch.places(sites.returns):
        at = place - start
        if live[at : at + BRANCH] == RETURN:
            expected[at : at + BRANCH] = RETURN
        elif live[at : at + BRANCH] != expected[at : at + BRANCH]:
            others.append(place)
    if others:
        thunks = {running.symbol(name) for name in RETURN_THUNKS}
        for at in others:
            now = stretch.now(at, BRANCH)
            if now[0] == JUMP and target_at(stretch.address + at, now) in thunks:
                stretch.accept(at, BRANCH)


def accept_retpolines(stretch: Stretch, sites: Sites, running: Running) -> None:
    """A call or jump to a retpoline may be the indirect branch itself, with or without lfence, or another thunk's."""
    first = running.symbol("__x86_indirect_thunk_array")
    if first is None:
        return
    for at in stretch.places(sites.retpolines):
        if not stretch.differs(at, 7):
            continue
        image = stretch.should(at, 7)
        found = retpoline(image, stretch.address + at, first)
        if found is None:
            continue
        now, opcode = stretch.now(at, found.size), found.size - 4
        if now in retpoline_states(found) or (
            now[:opcode] == image[:opcode]
            and target_at(stretch.address + at, now, opcode) in _thunks(running, found.register)
        ):
            stretch.accept(at, found.size)


@dataclass(frozen=True, slots=True)
class Retpoline:
    """An indirect branch as the compiler made it."""

    operation: bytes
    """Opcode: call, jmp, or jcc in two bytes."""
    register: int
    """Number of the register that holds the target."""
    size: int
    """Bytes."""


def retpoline(code: bytes, address: int, first: int) -> Retpoline | None:
    """The retpoline at the beginning of some code; None where there is none.

    Args:
        code: At least 7 bytes, or up to the end.
        address: Of the first.
        first: `__x86_indirect_thunk_array`.
    """
    prefix = 1 if code[0] == _SEGMENT else 0
    opcode = prefix + (2 if code[prefix] == CONDITIONAL else 1)
    if len(code) < opcode + 4:
        return None
    register, rest = divmod(target_at(address, code, opcode) - first, _THUNK_SIZE)
    if rest or not 0 <= register < _REGISTERS:
        return None
    return Retpoline(code[prefix:opcode], register, opcode + 4)


def _thunks(running: Running, register: int) -> set[int]:
    """The retpolines of one register."""
    found = set()
    for family in THUNKS:
        first = running.symbol(f"__x86_indirect_{family}_array")
        if first is not None:
            found.add(first + _THUNK_SIZE * register)
    return found


@cache
def retpoline_states(branch: Retpoline) -> frozenset[bytes]:
    """What patch_retpoline() may write."""
    operation, size = branch.operation, branch.size
    found: set[bytes] = set()
    for fence in (b"", _LFENCE):
        jumps = operation[0] != CALL
        code = fence + _indirect(jumps=jumps, register=branch.register)
        if operation[0] == CONDITIONAL:
            code = bytes((0x70 | operation[1] & 0xF ^ 1, size - 2)) + code
        if len(code) > size:
            continue
        if jumps and len(code) < size:
            code += b"\xcc"
        found |= {code + rest for rest in fillings(size - len(code))}
    return frozenset(found)


def _indirect(*, jumps: bool, register: int) -> bytes:
    prefix = b"\x41" if register >= 8 else b""
    return prefix + bytes((0xFF, 0xC0 | (0x20 if jumps else 0x10) | register & 7))


def accept_seals(stretch: Stretch, sites: Sites) -> None:
    """`endbr64` of a function that nobody calls through a pointer may be a nop."""
    live, expected, start = stretch.live, stretch.expected, stretch.start
    for place in stretch.places(sites.seals):
        at = place - start
        if live[at : at + 4] in _SEALED and expected[at : at + 4] == _MARK:
            expected[at : at + 4] = live[at : at + 4]


def accept_locks(stretch: Stretch, sites: Sites) -> None:
    """A lock prefix may be a segment prefix without effect, on a machine with one processor."""
    live, expected, start = stretch.live, stretch.expected, stretch.start
    for place in stretch.places(sites.locks):
        at = place - start
        if live[at] == NO_LOCK and expected[at] == LOCK:
            expected[at] = NO_LOCK
