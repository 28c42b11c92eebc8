"""The interrupt descriptor table: where the processor goes on exceptions, interrupts and int 0x80."""

import struct
from collections.abc import Iterator

from drgn import Program

from beat_bridge.sensors.hypervisor.kernel.program import symbol, view

_GATE = struct.Struct("<HHHHII")
"""struct gate_struct (arch/x86/include/asm/desc_defs.h): offset low, segment, bits, offset middle, high, reserved."""
_VECTORS = 256
_PRESENT = 1 << 15


def gates(prog: Program) -> Iterator[tuple[int, int]]:
    """The gates of `idt_table` that are in use.

    Yields:
        (vector, address of the handler)
    """
    raw = view(prog).read(symbol(prog, "idt_table"), _GATE.size * _VECTORS)
    for vector, (low, _segment, bits, middle, high, _) in enumerate(_GATE.iter_unpack(raw)):
        if bits & _PRESENT:
            yield vector, low | middle << 16 | high << 32
