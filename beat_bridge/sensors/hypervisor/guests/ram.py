"""Where a guest's RAM lies on this machine, and opening it there."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory import PhysicalMemory
from beat_bridge.sensors.hypervisor.memory.layout import Layout
from beat_bridge.sensors.hypervisor.memory.libvmi_memory import Driver, LibvmiMemory
from beat_bridge.sensors.hypervisor.memory.pausing import Pauser
from beat_bridge.sensors.hypervisor.memory.process_memory import ProcessMemory
from beat_bridge.sensors.hypervisor.memory.ram_file import RamFile

_SHARED = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw-s [0-9a-f]+ \S+ (\d+) +(/.*)$", re.MULTILINE)
_MAX_MAPS = 16 << 20
_MAX_DESCRIPTORS = 1 << 16
_DELETED = " (deleted)"


class Backend(StrEnum):
    """How RAM is read; the values of `backend` in the configuration."""

    AUTO = "auto"
    """The RAM file where the guest has one that can be opened, else QEMU's memory."""
    RAM_FILE = "ram_file"
    PROCESS = "process"
    LIBVMI = "libvmi"


@dataclass(frozen=True, slots=True)
class Ram:
    """What a hypervisor tells of a guest's RAM."""

    guest: str
    """As error lines name it."""
    layout: Layout
    shared: bool
    """Whether what the guest writes arrives in a file (share=on)."""
    file: Path | None
    """That file's name, if it has one."""
    pid: int
    """QEMU; 0 where nobody tells."""
    advice: str
    """What makes it readable: a change of the guest's definition."""

    @property
    def size(self) -> int:
        """Bytes of the file or mapping that the layout needs."""
        return max(extent.offset + extent.size for extent in self.layout)


def open_ram(ram: Ram, backend: Backend, pauser: Pauser) -> PhysicalMemory:
    """Open a guest's RAM.

    Raises:
        DoorwatchError: It cannot be; the line says what to change.
    """
    ways = [Backend.RAM_FILE, Backend.PROCESS] if backend is Backend.AUTO else [backend]
    obstacles = []
    for way in ways:
        try:
            return _open(ram, way, pauser)
        except DoorwatchError as error:
            obstacles.append(str(error))
    raise DoorwatchError(f"{ram.guest}: its RAM cannot be read ({'; '.join(obstacles)}): {ram.advice}")


def _open(ram: Ram, way: Backend, pauser: Pauser) -> PhysicalMemory:
    if way is Backend.PROCESS:
        if not ram.pid:
            raise DoorwatchError("its QEMU's process id is not known here")
        return ProcessMemory(ram.pid, ram.layout, pauser)
    path = ram_file(ram)
    if way is Backend.LIBVMI:
        return LibvmiMemory(str(path), Driver.FILE, ram.layout, pauser)
    return RamFile(path, ram.layout, pauser)


def ram_file(ram: Ram) -> Path:
    """A name under which the file that QEMU has mapped now can be opened.

    QEMU's own mappings go before what the guest's definition says: a file of that name may by now be another one's, or
    have been deleted, and a memfd never had a name.

    Raises:
        DoorwatchError: There is no such file, or not for us.
    """
    if not ram.shared:
        raise DoorwatchError("it is not in a shared file")
    try:
        mapped = _mapped(ram.pid, ram.size) if ram.pid else None
    except OSError:  # no right to look at QEMU: its word for the name must do
        mapped = None
    if mapped is None:
        if ram.file is None:
            raise DoorwatchError("its file has no name, and QEMU's descriptors cannot be seen")
        return ram.file
    inode, name = mapped
    named = Path(name.removesuffix(_DELETED))
    if _is(named, inode, ram.size):
        return named
    for descriptor in _descriptors(ram.pid):
        if _is(descriptor, inode, ram.size):
            return descriptor
    raise DoorwatchError(f"{name}: this file is not there any more, and QEMU keeps no descriptor of it")


def _mapped(pid: int, size: int) -> tuple[int, str] | None:
    """Inode and name of the only file of that size that QEMU shares; None where there is none, or several."""
    with Path(f"/proc/{pid}/maps").open(errors="surrogateescape") as stream:
        text = stream.read(_MAX_MAPS)
    found = {
        (int(inode), name) for start, end, inode, name in _SHARED.findall(text) if int(end, 16) - int(start, 16) == size
    }
    return found.pop() if len(found) == 1 else None


def _is(path: Path, inode: int, size: int) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_ino == inode and status.st_size >= size


def _descriptors(pid: int) -> Iterator[Path]:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for number, entry in enumerate(entries):
                if number == _MAX_DESCRIPTORS:
                    return
                yield Path(entry.path)
    except OSError:
        return
