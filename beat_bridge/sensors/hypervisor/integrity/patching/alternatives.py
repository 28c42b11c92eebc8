"""Alternatives: instructions chosen by what the processor can do.

arch/x86/kernel/alternative.c, apply_alternatives().

Replacements are moved to where they are used, which changes their distances; what they leave free, and what originals
have to spare, is filled with nops.
"""

import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby

from beat_bridge.sensors.hypervisor.integrity.nops import NOPS, fillings, nop_at
from beat_bridge.sensors.hypervisor.integrity.patching.branches import (
    BRANCH,
    CALL,
    CONDITIONAL,
    JUMP,
    LOCK,
    NO_LOCK,
    RETURN,
    retpoline,
    retpoline_states,
)
from beat_bridge.sensors.hypervisor.integrity.running import Running
from beat_bridge.sensors.hypervisor.integrity.sites import Alternative, Sites, offsets_within
from beat_bridge.sensors.hypervisor.integrity.stretch import Stretch

_DISTANCE = struct.Struct("<i")
_SHORT_JUMP = 0xEB
_NOP = b"\x90"
_TRAP = b"\xcc\xcc\xcc"
_CHANGING = frozenset({*(nop[0] for nop in NOPS if nop), JUMP})
"""What the first byte of code may be if another may take its place."""
_LEADS = re.compile(rb"[\x05\x0d\x15\x1d\x25\x2d\x35\x3d\x80-\x8f\xe8\xe9]")
"""Before a distance stands one of these bytes. Most replacements have none: thousands of places are one question."""
_INDIRECT_CALL, _INDIRECT = bytes.fromhex("ff15"), 6
"""`call *pv_ops(%rip)`, and its length."""


def accept_alternatives(stretch: Stretch, sites: Sites, running: Running) -> None:
    """Code may be the original with better nops, or any of its replacements."""
    for at, entries in groupby(stretch.sites(sites.alternatives), key=lambda each: each.at):
        group = list(entries)
        size = max(each.size for each in group)
        if not stretch.differs(at, size):
            continue
        live = stretch.now(at, size)
        locked = _locked(live, at, sites)
        for code, moved in _candidates(stretch, at, size, group, running):
            if fits(live, code, moved) or (locked and fits(locked, code, moved)):
                stretch.accept(at, size)
                break


def _candidates(
    stretch: Stretch, at: int, size: int, group: list[Alternative], running: Running
) -> Iterator[tuple[bytes, int]]:
    """What may stand in a place: code, and by how much its distances grow."""
    original = stretch.should(at, size)
    yield original, 0
    for each in group:
        rest = original[each.size :]
        replacement = _branches_patched(stretch, each, running)
        yield replacement + _NOP * (each.size - len(replacement)) + rest, each.moved
        direct = _direct(stretch.address + at, original[: each.size], each, running)
        if direct is not None:
            yield direct + _NOP * (each.size - len(direct)) + rest, 0


def _direct(address: int, original: bytes, each: Alternative, running: Running) -> bytes | None:
    """The direct call that an indirect one through a pointer becomes: alt_replace_call(), since Linux 6.8."""
    if not original.startswith(_INDIRECT_CALL) or each.replacement[:1] != bytes((CALL,)) or len(original) != _INDIRECT:
        return None
    pointer = address + _INDIRECT + _DISTANCE.unpack_from(original, len(_INDIRECT_CALL))[0]
    target = running.word(pointer)
    if target is None or running.target(target) is None:
        return None
    if target == running.symbol("nop_func"):
        return b""
    distance = target - address - BRANCH
    return bytes((CALL,)) + _DISTANCE.pack(distance) if -(1 << 31) <= distance < 1 << 31 else None


def _branches_patched(stretch: Stretch, each: Alternative, running: Running) -> bytes:
    """A replacement with its returns and indirect branches as they are, where they may be so."""
    code = bytearray(each.replacement)
    live = stretch.now(each.at, len(code))
    for at in each.returns:
        if live[at : at + BRANCH] == RETURN:
            code[at : at + BRANCH] = RETURN
    first = running.symbol("__x86_indirect_thunk_array") if each.retpolines else None
    if first is not None:
        for at in each.retpolines:
            found = retpoline(each.replacement[at : at + 7], stretch.address + each.at + each.moved + at, first)
            if found is not None and live[at : at + found.size] in retpoline_states(found):
                code[at : at + found.size] = live[at : at + found.size]
    return bytes(code)


def _locked(live: bytes, at: int, sites: Sites) -> bytes:
    """The code with the lock prefixes that are taken away on a machine with one processor; empty where none was."""
    places = offsets_within(sites.locks, at, at + len(live))
    if not places:
        return b""
    code = bytearray(live)
    for place in places:
        if code[place - at] == NO_LOCK:
            code[place - at] = LOCK
    return b"" if code == live else bytes(code)


def fits(live: bytes, code: bytes, moved: int) -> bool:
    """Whether bytes are what becomes of code that is put into another place.

    Args:
        live: The bytes.
        code: As long as they are.
        moved: What a distance that leads out of it grows by.
    """
    if live[0] != code[0] and code[0] not in _CHANGING:
        return False
    return _fits(live, code, moved if _LEADS.search(code) else 0)


@lru_cache(4096)
def _fits(live: bytes, code: bytes, moved: int) -> bool:
    at, size = 0, len(code)
    if moved and code[0] in (CALL, JUMP):  # a distance, which must have grown
        at = _behind_jump(live, code, 0, moved) or (_behind_distance(live, code, 1, moved) if live[0] == code[0] else 0)
        if not at:
            return False
    while at < size:
        if live[at] == code[at]:
            at += 1
            continue
        following = _behind_nops(live, code, at) or _behind_jump(live, code, at, moved)
        following = following or _behind_distance(live, code, at, moved)
        if not following:
            return False
        at = following
    return True


def _behind_nops(live: bytes, code: bytes, at: int) -> int:
    """The end of the nops around a byte, where both sides do nothing; 0 where that is not so."""
    for start in range(at, max(at - 12, -1), -1):
        end = start
        while end < len(code) and (size := nop_at(code, end)):
            end += size
        while start and code[start - 1] == _NOP[0]:
            start -= 1  # noqa: PLW2901 - the run may have begun before
        if end > at and live[start:end] in fillings(end - start):
            return end
    return 0


def _behind_jump(live: bytes, code: bytes, at: int, moved: int) -> int:
    """The end of a jump that has become a short one, with nops or traps behind it."""
    if code[at] != JUMP or live[at] != _SHORT_JUMP or at + BRANCH > len(code):
        return 0
    (distance,) = _DISTANCE.unpack_from(code, at + 1)
    if distance + moved + 3 != int.from_bytes(live[at + 1 : at + 2], "little", signed=True):
        return 0
    if live[at + 2 : at + BRANCH] == _TRAP:
        return at + BRANCH
    end = at + BRANCH
    while end < len(code) and (size := nop_at(code, end)):
        end += size
    for stop in (at + BRANCH, end):
        if live[at + 2 : stop] in fillings(stop - at - 2):
            return stop
    return 0


def _behind_distance(live: bytes, code: bytes, at: int, moved: int) -> int:
    """The end of a 32-bit distance around a byte that has grown as it must."""
    for start in range(at, max(at - 4, 0), -1):
        if start + 4 > len(code) or not _is_distance(code, start):
            continue
        (before,), (now,) = _DISTANCE.unpack_from(code, start), _DISTANCE.unpack_from(live, start)
        if (before + moved - now) & 0xFFFF_FFFF == 0 and live[start - 1] == code[start - 1]:
            return start + 4
    return 0


def _is_distance(code: bytes, start: int) -> bool:
    """Whether a 32-bit distance may stand here: behind call, jmp, jcc, or a byte that asks for %rip."""
    opcode = code[start - 1]
    if opcode in (CALL, JUMP) or opcode & 0xC7 == 0x05:
        return True
    return start > 1 and code[start - 2] == CONDITIONAL and opcode & 0xF0 == 0x80
