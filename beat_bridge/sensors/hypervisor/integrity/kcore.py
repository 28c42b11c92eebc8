"""The same code seen from inside: what `/proc/kcore` shows, beside what lies in the guest's memory.

A guest that shows its own tools other bytes than the processor executes is lying to them. Both views change while the
kernel patches itself, so what differs is asked for once more before it is told.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from drgn import FaultError, Program

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor import elf
from beat_bridge.sensors.hypervisor.integrity.stretch import differences
from beat_bridge.sensors.hypervisor.kernel.program import view

MOST_SEGMENTS = 4096
_PIECE = 1 << 17
_ATTEMPTS = 3
_MOST_TOLD = 1000


@dataclass(frozen=True, slots=True)
class Difference:
    """A range that the two views show differently."""

    address: int
    """Virtual, of the first byte."""
    inside: bytes
    """As the core file has it."""
    outside: bytes
    """As the guest's memory has it."""


def compare_with_kcore(prog: Program, kcore: Path, start: int, size: int) -> Iterator[Difference]:
    """Compare a range of kernel addresses in both views.

    Args:
        prog: The guest, from outside.
        kcore: An ELF core: the guest's `/proc/kcore`, or a copy of the segments that hold the range.
        start: First address, for example `profile.text_start`.
        size: Bytes.

    Raises:
        DoorwatchError: The file is no core, or does not hold the range.
        FaultError: The guest's memory cannot be read there.
    """
    read = _reader(kcore, start, size)
    told = 0
    for at in range(start, start + size, _PIECE):
        for found in _lasting(prog, read, at, min(_PIECE, start + size - at)):
            told += 1
            if told > _MOST_TOLD:
                raise FaultError(f"the two views differ in more than {_MOST_TOLD} places", found.address)
            yield found


def _lasting(prog: Program, read: Callable[[int, int], bytes], at: int, size: int) -> list[Difference]:
    """What differs each time that it is looked at."""
    runs: list[tuple[int, int]] = []
    inside = outside = b""
    for _ in range(_ATTEMPTS):
        view(prog).again()
        inside, outside = read(at, size), view(prog).read(at, size)
        runs = differences(inside, outside)
        if not runs:
            break
    return [Difference(at + first, inside[first:last], outside[first:last]) for first, last in runs]


def _reader(path: Path, start: int, size: int) -> Callable[[int, int], bytes]:
    """Reads by virtual address; a core of a running kernel is read anew each time."""
    try:
        with path.open("rb") as stream:
            header = elf.read_header(stream.read(elf.HEADER_SIZE), str(path))
            stream.seek(header.segments_at)
            count = min(header.segments, MOST_SEGMENTS)
            segments = elf.read_segments(stream.read(count * elf.SEGMENT_SIZE))
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot read this core: {error.strerror}") from error
    holding = [
        segment
        for segment in segments
        if segment.type == elf.PT_LOAD
        and segment.virtual <= start
        and start + size <= segment.virtual + segment.file_size
    ]
    if header.type != elf.TYPE_CORE or not holding:
        raise DoorwatchError(f"{path}: not a core that holds {start:#x}: give /proc/kcore of this boot of the guest")
    segment = holding[0]

    def read(address: int, length: int) -> bytes:
        try:
            with path.open("rb", buffering=0) as stream:
                stream.seek(segment.offset + address - segment.virtual)
                data = stream.read(length)
        except OSError as error:
            raise DoorwatchError(f"{path}: cannot be read at {address:#x}: {error.strerror}") from error
        if data is None or len(data) != length:
            raise DoorwatchError(f"{path}: truncated: {address:#x} is not in it")
        return data

    return read
