"""The code of one function, compared with the image it was loaded from."""

import struct
from collections.abc import Iterator

from drgn import Program

from beat_bridge.model.kernel import Hook
from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.kernel.records import once
from beat_bridge.sensors.hypervisor.kernel.whose import Code, Whose
from beat_bridge.sensors.hypervisor.symbols.relocations import relocate

_MOST_CODE = 256 << 10
_BRANCH = 5
"""Bytes of a call or jmp with a 32-bit distance."""
_NOP = bytes.fromhex("0f1f440000")
_ENDBR, _SEALED = bytes.fromhex("f30f1efa"), bytes.fromhex("660f1f00")
"""endbr64, and what it becomes in functions that nobody calls through a pointer (seal_endbr)."""
_RETURN = bytes.fromhex("c3cccccccc")
_OPCODES = b"\xe8\xe9"
"""call, jmp"""
_TRACERS = frozenset({"ftrace_caller", "ftrace_regs_caller"})
_RETURN_THUNKS = frozenset(
    {
        "__x86_return_thunk",
        "its_return_thunk",
        "retbleed_return_thunk",
        "srso_alias_return_thunk",
        "srso_return_thunk",
    }
)
_STRIDE = 256
_SHOWN = 16
"""Bytes told of one change."""


def changes(prog: Program, whose: Whose, function: str, surface: str) -> Iterator[Hook]:
    """Bytes of a function that are not the image's, where the kernel has not patched them itself.

    The kernel replaces calls to __fentry__ (no tracing: a nop), landing marks that nobody needs, and jumps to its
    return thunk (no mitigation: a plain return; or another thunk).

    Args:
        prog: The guest.
        whose: Names targets.
        function: Its symbol.
        surface: Of the hooks that are told.

    Raises:
        FaultError: The code cannot be read.
        LookupError: The profile was made without an image, or has no such function.
    """
    profile = view(prog).profile
    start = profile.address(function)
    image = _image(prog, function)
    live = view(prog).read(start, len(image))
    place = _next_difference(image, live, 0)
    while place < len(image):
        sealed = _sealed_at(image, live, place)
        if sealed:
            place = _next_difference(image, live, sealed)
            continue
        branch = _branch_around(whose, start, image, place)
        if branch is None:
            end = place + 1
            while end < len(image) and image[end] != live[end]:
                end += 1
            shown = slice(place, min(end, place + _SHOWN))
            yield Hook(
                surface=surface,
                symbol=f"{function}+{place:#x}",
                expected=image[shown].hex(" "),
                actual=live[shown].hex(" "),
            )
            place = _next_difference(image, live, end)
            continue
        site, expected = branch
        now = live[site : site + _BRANCH]
        if not _is_patched(whose, start + site, expected, now):
            yield _changed_branch(whose, surface, (function, start, site), expected, now)
        place = _next_difference(image, live, site + _BRANCH)


def _next_difference(image: bytes, live: bytes, place: int) -> int:
    """The first place from here on where two stretches differ; their length where they do not."""
    while place < len(image):
        end = place + _STRIDE
        if image[place:end] != live[place:end]:
            return next(at for at in range(place, min(end, len(image))) if image[at] != live[at])
        place = end
    return len(image)


def _image(prog: Program, function: str) -> bytes:
    """A function's code as the image has it, moved to where this boot has it; worked out once."""
    return once(prog, ("image", function), lambda: _moved(prog, function))


def _moved(prog: Program, function: str) -> bytes:
    profile = view(prog).profile
    build = profile.build
    if not build.text or build.relocations is None:
        raise LookupError("code can be compared with the kernel's image only: give the image")
    start = profile.address(function)
    whole = profile.symbol_at(start)
    at = start - profile.text_start
    code = build.text[at : at + min(whole.size if whole else 0, _MOST_CODE)]
    return relocate(code, start - profile.kernel_offset, build.relocations, profile.kernel_offset)


def _sealed_at(image: bytes, live: bytes, place: int) -> int:
    """The end of the landing mark around a byte, where the kernel has taken it away; 0 where that is not the case."""
    for site in range(max(place - len(_ENDBR) + 1, 0), place + 1):
        end = site + len(_ENDBR)
        if image[site:end] == _ENDBR and live[site:end] == _SEALED:
            return end
    return 0


def _branch_around(whose: Whose, start: int, image: bytes, place: int) -> tuple[int, Code] | None:
    """The call or jump in the image that a byte belongs to, and its target: always the beginning of a function."""
    for site in range(place, max(place - _BRANCH, -1), -1):
        target = _target(start + site, image[site : site + _BRANCH])
        if target is not None:
            code = whose.code(target)
            if code.aliases:
                return site, code
    return None


def _target(address: int, branch: bytes) -> int | None:
    """Where a direct call or jmp leads; None for any other instruction."""
    if len(branch) < _BRANCH or branch[0] not in _OPCODES:
        return None
    return int(address + _BRANCH + struct.unpack_from("<i", branch, 1)[0])


def _is_patched(whose: Whose, address: int, expected: Code, now: bytes) -> bool:
    """Whether the kernel itself may have written these bytes in place of a branch."""
    target = _target(address, now)
    names = frozenset[str]() if target is None else whose.code(target).aliases
    if "__fentry__" in expected.aliases:
        return now == _NOP or not _TRACERS.isdisjoint(names)
    return "__x86_return_thunk" in expected.aliases and (now == _RETURN or not _RETURN_THUNKS.isdisjoint(names))


def _changed_branch(whose: Whose, surface: str, place: tuple[str, int, int], expected: Code, now: bytes) -> Hook:
    function, start, site = place
    target = _target(start + site, now)
    code = None if target is None else whose.code(target)
    return Hook(
        surface=surface,
        symbol=f"{function}+{site:#x}",
        expected=expected.name,
        actual=now.hex(" ") if code is None else code.name,
        owner="" if code is None else code.owner,
    )
