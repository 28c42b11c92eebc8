"""A guest's RAM inside the QEMU process that runs it, read through /proc/PID/mem.

It needs no change to the guest's definition, but the right to trace the process (same user and CAP_SYS_PTRACE, as
ptrace(2), "Ptrace access mode checking" has it). The open file stays with this process's memory: when it ends, reads
fault, and no other process that gets its number is ever read.
"""

import os
import re
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory.descriptor_memory import DescriptorMemory
from beat_bridge.sensors.hypervisor.memory.layout import Extent, Layout, checked
from beat_bridge.sensors.hypervisor.memory.pausing import Pauser, Uncontrolled

_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw", re.MULTILINE)
_MAX_MAPS = 16 << 20
"""Bytes of /proc/PID/maps; a QEMU has some hundred lines of it."""


class ProcessMemory(DescriptorMemory):
    """RAM that lies in one mapping of a process."""

    def __init__(self, pid: int, layout: Layout, pauser: Pauser | None = None) -> None:
        """Open the process's memory and find the guest's RAM in it.

        Args:
            pid: QEMU.
            layout: Where RAM lies for the guest, with offsets from the beginning of the mapping.
            pauser: Who can stop the guest.

        Raises:
            DoorwatchError: There is no such process, we may not read it, or no one mapping has the size of the RAM.
        """
        name = f"process {pid}"
        try:
            descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DoorwatchError(
                f"{name}: cannot read its memory: {error.strerror}: run as its user with CAP_SYS_PTRACE, or as root"
            ) from error
        try:
            base = _ram_mapping(pid, max(extent.offset + extent.size for extent in layout))
        except DoorwatchError:
            os.close(descriptor)
            raise
        moved = (Extent(extent.start, extent.size, base + extent.offset) for extent in layout)
        super().__init__(descriptor, name, checked(moved, name), pauser or Uncontrolled(name))


def _ram_mapping(pid: int, size: int) -> int:
    """Address of the only writable mapping that has the RAM's size.

    QEMU leaves guard pages around RAM, so its neighbours never run together with it in /proc/PID/maps.
    """
    try:
        with Path(f"/proc/{pid}/maps").open() as stream:
            text = stream.read(_MAX_MAPS)
    except OSError as error:
        raise DoorwatchError(f"process {pid}: cannot read its mappings: {error.strerror}") from error
    bounds = [(int(start, 16), int(end, 16)) for start, end in _MAPPING.findall(text)]
    found = [start for start, end in bounds if end - start == size]
    if len(found) != 1:
        raise DoorwatchError(
            f"process {pid}: {len(found) or 'no'} writable mappings of {size >> 20} MiB: "
            f"the guest's RAM is not in one piece of this size: is this its QEMU, and is the size right?"
        )
    return found[0]
