"""The instructions that do nothing, as the kernel writes them (arch/x86/include/asm/nops.h)."""

from functools import cache

NOPS = (
    b"",
    bytes.fromhex("90"),
    bytes.fromhex("6690"),
    bytes.fromhex("0f1f00"),
    bytes.fromhex("0f1f4000"),
    bytes.fromhex("0f1f440000"),
    bytes.fromhex("660f1f440000"),
    bytes.fromhex("0f1f8000000000"),
    bytes.fromhex("0f1f840000000000"),
    bytes.fromhex("2e0f1f840000000000"),
    bytes.fromhex("662e0f1f840000000000"),
    bytes.fromhex("66662e0f1f840000000000"),
)
"""By length in bytes."""
NOP5 = NOPS[5]
_ASSEMBLERS = bytes.fromhex("660f1f840000000000")
"""Nine bytes as gas aligns with them."""
_BEGINNINGS = frozenset(nop[0] for nop in NOPS if nop)
_SHORT_JUMP, _NEAR_JUMP = 0xEB, 0xE9
_TRAP = b"\xcc"


@cache
def _greedy(size: int, longest: int) -> bytes:
    """As add_nops() fills: the longest first."""
    whole, rest = divmod(size, longest)
    return NOPS[longest] * whole + NOPS[rest]


def fillings(size: int) -> frozenset[bytes]:
    """Everything the kernel writes where nothing is to be done.

    Nops of at most 8 bytes up to Linux 6.5, of at most 11 since; or, since 6.4, a jump over traps.

    Args:
        size: Bytes to be filled.
    """
    return _fillings(size)


@cache
def _fillings(size: int) -> frozenset[bytes]:
    found = {b"\x90" * size, _greedy(size, 8), _greedy(size, 11)}
    if 2 <= size < 130:
        found.add(bytes((_SHORT_JUMP, size - 2)) + _TRAP * (size - 2))
    if size >= 5:
        found.add(bytes((_NEAR_JUMP,)) + (size - 5).to_bytes(4, "little") + _TRAP * (size - 5))
    return frozenset(found)


def nop_at(code: bytes, at: int) -> int:
    """The length of the nop that begins here; 0 where none does."""
    if code[at] not in _BEGINNINGS:
        return 0
    if code.startswith(_ASSEMBLERS, at):
        return len(_ASSEMBLERS)
    for size in range(11, 0, -1):
        if code.startswith(NOPS[size], at):
            return size
    return 0
