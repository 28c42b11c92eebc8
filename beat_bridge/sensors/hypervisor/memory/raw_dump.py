"""A guest's RAM as it once was, byte by byte: `pmemsave`, a copy of a RAM file."""

import os
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory.descriptor_memory import DescriptorMemory
from beat_bridge.sensors.hypervisor.memory.layout import Layout, fitting, flat
from beat_bridge.sensors.hypervisor.memory.opening import open_regular
from beat_bridge.sensors.hypervisor.memory.pausing import Still


class RawDump(DescriptorMemory):
    """A dump without headers."""

    def __init__(self, path: Path, layout: Layout | None = None) -> None:
        """Open the file.

        Args:
            path: The dump.
            layout: Where its bytes lay for the guest; without it, each byte's offset is its address, as pmemsave
                leaves it.

        Raises:
            DoorwatchError: It cannot be opened, is empty, or is too short for the layout.
        """
        descriptor, size = open_regular(path, "memory dump")
        try:
            layout = fitting(layout or flat(size), size, f"{path}: this memory dump")
        except DoorwatchError:
            os.close(descriptor)
            raise
        super().__init__(descriptor, str(path), layout, Still())
