"""The filter on a socket: `sk->sk_filter->prog`, and the classic program it was translated from."""

from struct import iter_unpack

from drgn import FaultError, Program

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.filters import FilterKind, Instruction, SocketFilter
from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.kernel.records import record

_MOST_INSTRUCTIONS = 4096
"""BPF_MAXINSNS"""
_CLASSIC = 8
"""sizeof(struct sock_filter)"""


def socket_filter(prog: Program, sk_filter: int) -> SocketFilter:
    """What a socket carries. A classic program is translated when it is attached; the kernel keeps the original.

    Args:
        prog: The guest.
        sk_filter: ``struct sk_filter *``, 0 where there is none
    """
    if not sk_filter:
        return SocketFilter(kind=FilterKind.NONE)
    try:
        (program,) = record(prog, "struct sk_filter", "prog").read(sk_filter)
        original, auxiliary = record(prog, "struct bpf_prog", "orig_prog", "aux").read(program)
        if original:
            return SocketFilter(kind=FilterKind.CLASSIC, program=_classic(prog, original))
        (number,) = record(prog, "struct bpf_prog_aux", "id").read(auxiliary)
        return SocketFilter(kind=FilterKind.EBPF, bpf_program_id=number)
    except FaultError as error:
        failed = Unavailable(reason=Reason.FAILED, detail=f"its filter: {error}")
        return SocketFilter(kind=FilterKind.UNKNOWN, unavailable=failed)


def _classic(prog: Program, original: int) -> tuple[Instruction, ...]:
    length, filters = record(prog, "struct sock_fprog_kern", "len", "filter").read(original)
    if not 0 < length <= _MOST_INSTRUCTIONS:
        raise FaultError(f"a filter says it has {length:,} instructions", original)
    raw = view(prog).read(filters, length * _CLASSIC)
    return tuple(Instruction(*fields) for fields in iter_unpack("<HBBI", raw))
