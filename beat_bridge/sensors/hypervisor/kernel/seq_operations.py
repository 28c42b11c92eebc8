"""The functions behind /proc/net: a rootkit that hides connections or sockets puts its own in their place."""

import struct
from collections.abc import Iterator

from drgn import Program

from beat_bridge.model.kernel import Hook
from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.kernel.whose import Whose

SHOWN_BY = {
    "packet_seq_ops": "packet_seq_show",
    "raw6_seq_ops": "raw6_seq_show",
    "raw_seq_ops": "raw_seq_show",
    "tcp4_seq_ops": "tcp4_seq_show",
    "tcp6_seq_ops": "tcp6_seq_show",
    "udp6_seq_ops": "udp6_seq_show",
    "udp_seq_ops": "udp4_seq_show",
    "unix_seq_ops": "unix_seq_show",
}
"""``struct seq_operations`` and the function that writes its lines."""
MEMBERS = ("start", "stop", "next", "show")
_OPERATIONS = struct.Struct("<4Q")


def seq_operations(prog: Program, whose: Whose) -> Iterator[Hook]:
    """Where each operation leads; what this kernel was built without is left out.

    Raises:
        FaultError: A structure cannot be read.
    """
    for name, show in SHOWN_BY.items():
        address = view(prog).profile.find(name)
        if address is None:
            continue
        targets = _OPERATIONS.unpack(view(prog).read(address, _OPERATIONS.size))
        for member, target in zip(MEMBERS, targets, strict=True):
            code = whose.code(target)
            good = (
                show in code.aliases if member == "show" else any(each.endswith(f"_{member}") for each in code.aliases)
            )
            yield Hook(
                surface="seq_operations",
                symbol=f"{name}.{member}",
                expected=code.name if good else (show if member == "show" else f"a function *_{member}"),
                actual=code.name,
                owner="" if good else code.owner,
            )
