"""A guest's RAM as an ELF core: QEMU's `dump-guest-memory`, `virsh dump --memory-only`, `/proc/vmcore` copied."""

import os
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor import elf
from beat_bridge.sensors.hypervisor.memory.descriptor_memory import DescriptorMemory
from beat_bridge.sensors.hypervisor.memory.layout import Extent, Layout, checked, fitting
from beat_bridge.sensors.hypervisor.memory.opening import open_regular
from beat_bridge.sensors.hypervisor.memory.pausing import Still

_OTHERS = {
    b"KDUMP   ": "a kdump-compressed dump",
    b"makedump": "a makedumpfile stream",
    b"EMiL": "a LiME dump",
    b"QEVM": "a QEMU snapshot, not a memory dump",
    b"LibvirtQemudSave": "a libvirt save file, not a memory dump",
}


class ElfDump(DescriptorMemory):
    """A dump whose program headers say where each piece lay."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            DoorwatchError: It cannot be opened, is of another format, or is truncated.
        """
        descriptor, size = open_regular(path, "memory dump")
        try:
            layout = fitting(_layout(descriptor, size, str(path)), size, f"{path}: this memory dump")
        except DoorwatchError:
            os.close(descriptor)
            raise
        super().__init__(descriptor, str(path), layout, Still())


def _layout(descriptor: int, size: int, source: str) -> Layout:
    beginning = os.pread(descriptor, elf.HEADER_SIZE, 0)
    for magic, what in _OTHERS.items():
        if beginning.startswith(magic):
            raise DoorwatchError(f"{source}: {what}: dump the guest's memory as ELF (dump-guest-memory, format elf)")
    header = elf.read_header(beginning, source)
    if header.type != elf.TYPE_CORE or header.machine != elf.MACHINE_X86_64:
        raise DoorwatchError(f"{source}: an ELF file, but no core dump of an x86-64 machine")
    whole_section = header.sections_at <= size - elf.SECTION_SIZE
    first_section = os.pread(descriptor, elf.SECTION_SIZE, header.sections_at) if whole_section else b""
    count = elf.extended_segment_count(header, first_section)
    if header.segments_at + count * elf.SEGMENT_SIZE > size:
        raise DoorwatchError(f"{source}: truncated: its table of {count} segments is not all there")
    table = os.pread(descriptor, count * elf.SEGMENT_SIZE, header.segments_at)
    return checked(
        (
            Extent(segment.physical, segment.file_size, segment.offset)
            for segment in elf.read_segments(table)
            if segment.type == elf.PT_LOAD and segment.file_size
        ),
        source,
    )
