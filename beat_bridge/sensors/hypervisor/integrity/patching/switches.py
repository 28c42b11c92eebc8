"""Jump labels and static calls: branches that are rewritten while the kernel runs.

arch/x86/kernel/jump_label.c, arch/x86/kernel/static_call.c.
"""

import struct

from beat_bridge.sensors.hypervisor.integrity.nops import NOP5, NOPS
from beat_bridge.sensors.hypervisor.integrity.patching.branches import (
    BRANCH,
    CALL,
    CONDITIONAL,
    JUMP,
    RETURN,
    RETURN_THUNKS,
    target_at,
)
from beat_bridge.sensors.hypervisor.integrity.running import Running
from beat_bridge.sensors.hypervisor.integrity.sites import Sites, StaticCall
from beat_bridge.sensors.hypervisor.integrity.stretch import Stretch
from beat_bridge.sensors.hypervisor.integrity.visitor import Visitor
from beat_bridge.sensors.hypervisor.kernel.whose import KERNEL

_SHORT_JUMP = 0xEB
_ZERO = (bytes.fromhex("2e2e2e31c0"), bytes.fromhex("66664831c0"))
"""xor5rax: a function that returns 0, inlined."""
_DISTANCE = struct.Struct("<i")


def accept_jump_labels(stretch: Stretch, sites: Sites) -> None:
    """A static branch is a nop, or a jump to its own target; as long as the image's."""
    for label in stretch.sites(sites.jump_labels):
        at = label.at
        if not stretch.differs(at, BRANCH):
            continue
        size = 2 if stretch.should(at, 1)[0] in (_SHORT_JUMP, NOPS[2][0]) else BRANCH
        now = stretch.now(at, size)
        if now in (NOPS[size], jump(label.target - at, size)):
            stretch.accept(at, size)


def jump(distance: int, size: int) -> bytes:
    """A jump.

    Args:
        distance: From its first byte to its target.
        size: 2, or 5 bytes.
    """
    if size == BRANCH:
        return bytes((JUMP,)) + _DISTANCE.pack(distance - size)
    return bytes((_SHORT_JUMP, distance - size & 0xFF))


def accept_static_calls(stretch: Stretch, sites: Sites, running: Running) -> list[Visitor]:
    """A static call leads to the function that its key names now, or is nothing where that is nothing.

    Returns:
        Who is called outside of the kernel.
    """
    visitors: list[Visitor] = []
    for each in (sites.static_calls, sites.trampolines):
        for call in stretch.sites(each):
            opcode = 2 if stretch.should(call.at, 1)[0] == CONDITIONAL else 1
            if stretch.differs(call.at, opcode + 4):
                visitors += _called(stretch, call, opcode, running)
    return visitors


def _called(stretch: Stretch, call: StaticCall, opcode: int, running: Running) -> list[Visitor]:
    """Accept one static call, if it is in a state of its kind."""
    at = call.at
    now = stretch.now(at, opcode + 4)
    if opcode == 1 and (_returns(stretch, at, running) if call.tail else now in (NOP5, *_ZERO)):
        stretch.accept(at, BRANCH)
        return []
    branch = stretch.should(at, opcode) if opcode == 2 else bytes((JUMP if call.tail else CALL,))
    if not now.startswith(branch):
        return []
    target = target_at(stretch.address + at, now, opcode)
    if running.word(call.key) != target:  # struct static_call_key begins with the function
        return []
    code = running.target(target)
    if code is None:
        return []
    stretch.accept(at, opcode + 4)
    return [] if code.owner == KERNEL else [Visitor(at, opcode + 4, code.owner)]


def _returns(stretch: Stretch, at: int, running: Running) -> bool:
    """Whether a jump has become a return: plain, or through a thunk."""
    now = stretch.now(at, BRANCH)
    if now == RETURN:
        return True
    return now[0] == JUMP and target_at(stretch.address + at, now) in {running.symbol(name) for name in RETURN_THUNKS}
