"""A memory image of unknown kind: which backend reads it, and how the guest's RAM lies in it.

An ELF dump says where each piece lay. A raw file says nothing: up to 2 GiB its offsets are addresses; beyond that, a
dump of the address space keeps the hole below 4 GiB and a hypervisor's RAM file has none. Which it is shows in what can
be read with each: the guest's own structures lead to places above the hole.
"""

from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value
from beat_bridge.model.inventory import Inventory
from beat_bridge.sensors.hypervisor.memory import PhysicalMemory
from beat_bridge.sensors.hypervisor.memory.elf_dump import ElfDump
from beat_bridge.sensors.hypervisor.memory.layout import flat, i440fx, q35
from beat_bridge.sensors.hypervisor.memory.raw_dump import RawDump
from beat_bridge.sensors.hypervisor.sight import Sight

_UNMISTAKABLE = (b"\x7fELF", b"KDUMP   ", b"makedump", b"EMiL", b"QEVM", b"LibvirtQemudSave")
"""Beginnings that `ElfDump` reads, or refuses by name."""
_LAYOUTS = (flat, q35, i440fx)

OpenMemory = Callable[[], PhysicalMemory]


def readings(path: Path) -> tuple[OpenMemory, ...]:
    """The ways in which an image may be read, the likeliest first.

    Raises:
        DoorwatchError: It cannot be opened.
    """
    try:
        with path.open("rb") as stream:
            beginning = stream.read(16)
        size = path.stat().st_size
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot open this memory image: {error.strerror}") from error
    if beginning.startswith(_UNMISTAKABLE):
        return (partial(ElfDump, path),)
    if size == 0:
        raise DoorwatchError(f"{path}: this memory image is empty")
    layouts = dict.fromkeys(layout(size) for layout in _LAYOUTS)
    return tuple(partial(RawDump, path, layout) for layout in layouts)


class Image(Value, frozen=True, kw_only=True):
    """A memory image that was looked at."""

    inventory: Inventory
    imaged_at: datetime | None = None
    """When it was taken, by the guest's own clock; None where that cannot be read."""


def look_at(path: Path, open_sight: Callable[[OpenMemory], Sight]) -> Image:
    """One look at an image, in the reading in which the least is unreadable.

    Args:
        path: The image.
        open_sight: How to look through a memory.

    Raises:
        DoorwatchError: It cannot be opened, or in no reading is there a Linux kernel; the line is that of the
            likeliest.
    """
    found: list[Image] = []
    refused: DoorwatchError | None = None
    for way in readings(path):
        try:
            with closing(open_sight(way)) as sight:
                found.append(Image(inventory=sight.look(), imaged_at=_clock(sight)))
        except DoorwatchError as error:
            refused = refused or error
        else:
            if not _unreadable(found[-1]):
                break
    if not found:
        if refused is not None and str(path) in str(refused):
            raise refused
        raise DoorwatchError(f"{path}: {refused or 'there is no way to read this memory image'}")
    return min(found, key=_unreadable)


def _unreadable(image: Image) -> int:
    """Objects that a look knew of and could not read."""
    return sum(entry.missed for entry in image.inventory.coverage)


def _clock(sight: Sight) -> datetime | None:
    try:
        return sight.clock()
    except DoorwatchError:
        return None
