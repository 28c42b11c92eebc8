"""Code made up for a test, and a kernel that answers as it is told."""

import struct
from dataclasses import dataclass, field
from typing import Any

from beat_bridge.sensors.hypervisor.integrity.running import Probe
from beat_bridge.sensors.hypervisor.integrity.sites import Sites
from beat_bridge.sensors.hypervisor.integrity.stretch import REACH, Stretch
from beat_bridge.sensors.hypervisor.integrity.verifying import Verdict, verify
from beat_bridge.sensors.hypervisor.kernel.whose import Code

BASE = 0xFFFF_FFFF_8100_0000
"""Address of the first byte of code."""
SIZE = 1024
THUNKS = BASE + 0x1000
"""`__x86_indirect_thunk_array`"""


@dataclass
class Answers:
    """What `Running` says."""

    symbols: dict[str, int] = field(default_factory=dict)
    words: dict[int, int] = field(default_factory=dict)
    functions: frozenset[int] = frozenset()
    """Addresses at which functions of the kernel begin."""
    owners: dict[int, str] = field(default_factory=dict)
    """Addresses of code that somebody else owns."""
    tracers: dict[int, str] = field(default_factory=dict)
    registered: dict[int, Probe] = field(default_factory=dict)

    def symbol(self, name: str) -> int | None:
        """As Running."""
        return self.symbols.get(name)

    def word(self, address: int) -> int | None:
        """As Running."""
        return self.words.get(address)

    def target(self, address: int) -> Code | None:
        """As Running."""
        if address in self.functions:
            return Code("function", frozenset({"function"}), "kernel")
        return Code("code", frozenset(), self.owners[address]) if address in self.owners else None

    def tracer(self, address: int) -> str | None:
        """As Running."""
        return self.tracers.get(address)

    def probes(self) -> dict[int, Probe]:
        """As Running."""
        return self.registered


def branch(opcode: int, at: int, target: int) -> bytes:
    """A call (0xe8) or jmp (0xe9).

    Args:
        opcode: One byte.
        at: Its place in the code.
        target: An address.
    """
    return bytes((opcode,)) + struct.pack("<i", target - BASE - at - 5)


def judged(image: dict[int, bytes], live: dict[int, bytes], sites: Sites, answers: Answers | None = None) -> Verdict:
    """What is said of code that differs from its image only in some places.

    Args:
        image: Bytes by place; the rest is 0x11.
        live: The same of the guest; the rest is as the image.
        sites: Where the image says that it is patched.
        answers: The kernel's.
    """
    should, now = bytearray(b"\x11" * SIZE), bytearray(b"\x11" * SIZE)
    for at, code in image.items():
        should[at : at + len(code)] = code
        now[at : at + len(code)] = code
    for at, code in live.items():
        now[at : at + len(code)] = code
    running: Any = answers or Answers()
    return verify(Stretch(BASE, 0, bytes(now), should, SIZE - REACH), sites, running)
