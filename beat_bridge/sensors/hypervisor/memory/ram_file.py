"""A guest's RAM as a file: QEMU's memory-backend-file with share=on, or memory-backend-memfd through /proc/PID/fd."""

import os
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory.descriptor_memory import DescriptorMemory
from beat_bridge.sensors.hypervisor.memory.layout import Layout, fitting, q35
from beat_bridge.sensors.hypervisor.memory.opening import open_regular
from beat_bridge.sensors.hypervisor.memory.pausing import Pauser, Uncontrolled


class RamFile(DescriptorMemory):
    """Live RAM in a shared file."""

    def __init__(self, path: Path, layout: Layout | None = None, pauser: Pauser | None = None) -> None:
        """Open the file.

        Args:
            path: The file QEMU maps.
            layout: Where its bytes lie for the guest; without it, a q35 machine of the file's size.
            pauser: Who can stop the guest.

        Raises:
            DoorwatchError: It cannot be opened, is empty, or is too short for the layout.
        """
        descriptor, size = open_regular(path, "RAM file")
        try:
            layout = fitting(layout or q35(size), size, f"{path}: this RAM file")
        except DoorwatchError:
            os.close(descriptor)
            raise
        super().__init__(descriptor, str(path), layout, pauser or Uncontrolled(str(path)))
