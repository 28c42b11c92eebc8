"""What a process has open: its descriptor table (fs/file.c)."""

import struct
from collections.abc import Iterator

from drgn import FaultError, Program

from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.kernel.records import record

MOST_DESCRIPTORS = 1 << 20
"""The kernel's own sysctl_nr_open, unless raised."""
_SMALL = 256
"""Places that are always looked at, whatever the bitmap says: /proc/PID/fd does not ask it either."""


def descriptors_of(prog: Program, files: int) -> Iterator[tuple[int, int]]:
    """The open descriptors of a table.

    Args:
        prog: The guest.
        files: ``struct files_struct *``

    Yields:
        (descriptor, ``struct file *``), ascending.

    Raises:
        FaultError: The table cannot be read, or claims to be larger than any is.
    """
    (table,) = record(prog, "struct files_struct", "fdt").read(files)
    size, entries, bitmap = record(prog, "struct fdtable", "max_fds", "fd", "open_fds").read(table)
    if size > MOST_DESCRIPTORS or size % 64:
        raise FaultError(f"a descriptor table says it has {size:,} places", table)
    words = struct.unpack(f"<{size // 64}Q", view(prog).read(bitmap, size // 8))
    # a large table is read only as far as a descriptor is open: it keeps the size it once had
    used = max(max((number + 1 for number, word in enumerate(words) if word), default=0) * 64, min(size, _SMALL))
    for descriptor, file in enumerate(struct.unpack(f"<{used}Q", view(prog).read(entries, used * 8) if used else b"")):
        if file:
            yield descriptor, file
