"""The backends: one claim, five ways to hold it."""

import mmap
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import shake_128
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory import MAX_READ, MemoryFault, PhysicalMemory
from beat_bridge.sensors.hypervisor.memory.elf_dump import ElfDump
from beat_bridge.sensors.hypervisor.memory.layout import FOUR_GIB, Extent, flat, split
from beat_bridge.sensors.hypervisor.memory.libvmi_memory import Driver, LibvmiMemory
from beat_bridge.sensors.hypervisor.memory.process_memory import ProcessMemory
from beat_bridge.sensors.hypervisor.memory.ram_file import RamFile
from beat_bridge.sensors.hypervisor.memory.raw_dump import RawDump

LOW, HIGH = 5 * 4096, 3 * 4096
CONTENT = shake_128(b"some RAM").digest(LOW + HIGH)
LAYOUT = split(LOW + HIGH, LOW)


def elf_core(pieces: list[tuple[int, bytes]], kind: int = 4, machine: int = 62) -> bytes:
    """An ELF core with one PT_LOAD for each (physical address, bytes), as dump-guest-memory writes it."""
    offset = 64 + 56 * (len(pieces) + 1)
    note = struct.pack("<IIQQQQQQ", 4, 0, offset, 0, 0, 0, 0, 0)
    headers = [note]
    for address, data in pieces:
        headers.append(struct.pack("<IIQQQQQQ", 1, 0, offset, 0, address, len(data), len(data), 0))
        offset += len(data)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, kind, machine, 1, 0, 64, 0, 0, 64, 56, len(headers), 0, 0, 0)
    return header + b"".join(headers) + b"".join(data for _, data in pieces)


def written(path: Path, data: bytes = CONTENT) -> Path:
    """The path, with these bytes in it."""
    path.write_bytes(data)
    return path


def _ram_file(directory: Path) -> PhysicalMemory:
    return RamFile(written(directory / "ram"), LAYOUT)


def _raw_dump(directory: Path) -> PhysicalMemory:
    return RawDump(written(directory / "dump"), LAYOUT)


def _elf_dump(directory: Path) -> PhysicalMemory:
    return ElfDump(written(directory / "elf", elf_core([(FOUR_GIB, CONTENT[LOW:]), (0, CONTENT[:LOW])])))


def _libvmi(directory: Path) -> PhysicalMemory:
    return LibvmiMemory(str(written(directory / "libvmi")), Driver.FILE, LAYOUT)


@pytest.fixture(params=[_ram_file, _raw_dump, _elf_dump, _libvmi])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PhysicalMemory]:
    """The same RAM behind each backend: 20 KiB from 0, 12 KiB from 4 GiB."""
    make: Callable[[Path], PhysicalMemory] = request.param
    opened = make(tmp_path)
    yield opened
    opened.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    address=st.one_of(st.integers(0, LOW + 10), st.integers(FOUR_GIB - 10, FOUR_GIB + HIGH)), size=st.integers(0, 9000)
)
def test_reads_give_exactly_what_is_there(memory: PhysicalMemory, address: int, size: int) -> None:
    """A read inside one region gives its bytes; one that touches what is no RAM gives nothing but a fault."""
    end = address + size
    if end <= LOW and address <= LOW:
        assert memory.read(address, size) == CONTENT[address:end]
    elif address >= FOUR_GIB and end <= FOUR_GIB + HIGH:
        assert memory.read(address, size) == CONTENT[LOW + address - FOUR_GIB : LOW + end - FOUR_GIB]
    elif size:
        with pytest.raises(MemoryFault):
            memory.read(address, size)


@pytest.mark.parametrize(
    ("address", "size"),
    [
        (LOW, 1),
        (FOUR_GIB - 1, 2),
        (FOUR_GIB + HIGH, 1),
        (-1, 1),
        (-8, 4),
        (1 << 63, 8),
        ((1 << 64) - 4, 8),
        (1 << 200, 8),
    ],
)
def test_wild_addresses_fault(memory: PhysicalMemory, address: int, size: int) -> None:
    """The hole, the far side of RAM, negative and absurd addresses are faults, whatever a guest's pointer says."""
    with pytest.raises(MemoryFault):
        memory.read(address, size)


@pytest.mark.parametrize("size", [-1, MAX_READ + 1, 1 << 62])
def test_absurd_sizes_fault(memory: PhysicalMemory, size: int) -> None:
    """A count that a guest made up does not become an allocation."""
    with pytest.raises(MemoryFault):
        memory.read(0, size)


def test_regions_are_the_guests_ram(memory: PhysicalMemory) -> None:
    """The regions are what the layout says, and what is populated lies within them."""
    assert [(region.start, region.end) for region in memory.regions()] == [(0, LOW), (FOUR_GIB, FOUR_GIB + HIGH)]
    for part in memory.populated():
        assert any(region.start <= part.start < part.end <= region.end for region in memory.regions())


def test_a_closed_memory_faults(memory: PhysicalMemory) -> None:
    """After close() a read is a fault, not another file that has got the same descriptor, nor a crash."""
    memory.close()
    memory.close()
    with pytest.raises(MemoryFault):
        memory.read(0, 8)


@pytest.mark.parametrize("backend", [_ram_file, _libvmi])
def test_a_file_that_shrinks_faults(backend: Callable[[Path], PhysicalMemory], tmp_path: Path) -> None:
    """A guest that ends in mid-pass truncates its RAM: the next read faults, and nobody is killed by SIGBUS."""
    memory = backend(tmp_path)
    (file,) = tmp_path.iterdir()
    os.truncate(file, 4096)
    memory.refresh()
    assert memory.read(0, 4096) == CONTENT[:4096]
    with pytest.raises(MemoryFault):
        memory.read(8192, 8)
    memory.close()


@pytest.mark.parametrize("backend", [_ram_file, _libvmi])
def test_a_new_pass_sees_what_the_guest_wrote(backend: Callable[[Path], PhysicalMemory], tmp_path: Path) -> None:
    """After refresh() a read gives the present, although libvmi never lets go of a page by itself."""
    memory = backend(tmp_path)
    (file,) = tmp_path.iterdir()
    assert memory.read(4096, 4) == CONTENT[4096:4100]
    with file.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"new!")
    memory.refresh()
    assert memory.read(4096, 4) == b"new!"
    memory.close()


def test_looking_at_an_idle_guest_costs_no_memory() -> None:
    """Reading a hole of a RAM file leaves it a hole; a mapping would have filled it on tmpfs."""
    path = Path("/dev/shm") / f"doorwatch-test-{os.getpid()}"  # noqa: S108 - it must be a tmpfs; ours by its name
    try:
        with path.open("xb") as stream:
            stream.truncate(64 << 20)
        memory = RamFile(path, flat(64 << 20))
        assert memory.read(0, 32 << 20) == bytes(32 << 20)
        assert memory.populated() == []
        assert path.stat().st_blocks == 0
        memory.close()
    finally:
        path.unlink(missing_ok=True)


def test_populated_parts_are_the_data_of_a_sparse_file(tmp_path: Path) -> None:
    """Data on both sides of the PCI hole is found at its guest-physical address."""
    path = tmp_path / "ram"
    with path.open("wb") as stream:
        stream.truncate(8 << 20)
        for at in (1 << 20, 5 << 20):
            stream.seek(at)
            stream.write(b"\1" * 4096)
    memory = RamFile(path, split(8 << 20, 4 << 20))
    found = [(part.start, part.size) for part in memory.populated()]
    assert found == [(1 << 20, 4096), (FOUR_GIB + (1 << 20), 4096)]
    memory.close()


def test_a_read_may_cross_from_one_extent_into_the_next(tmp_path: Path) -> None:
    """Pieces that touch in the guest but not in the file are read as one."""
    memory = RawDump(written(tmp_path / "d"), (Extent(0, 4096, 8192), Extent(4096, 4096, 0)))
    assert memory.read(4000, 200) == CONTENT[8192 + 4000 : 8192 + 4096] + CONTENT[:104]
    memory.close()


@pytest.mark.live
def test_a_process_is_read_where_its_ram_lies() -> None:
    """The one mapping of the RAM's size is found in a process, and read through its memory."""
    size = 37 * 4096
    ram = mmap.mmap(-1, size)
    guard = mmap.mmap(-1, 4096, prot=mmap.PROT_READ)
    ram[:] = shake_128(b"other RAM").digest(size)
    memory = ProcessMemory(os.getpid(), split(size, 4096))
    assert memory.read(100, 200) == ram[100:300]
    assert memory.read(FOUR_GIB, size - 4096) == ram[4096:]
    with pytest.raises(MemoryFault):
        memory.read(4096, 1)
    memory.close()
    guard.close()
    ram.close()


@pytest.mark.live
def test_memory_of_a_process_that_ended_faults() -> None:
    """When QEMU ends, reads fault; they never turn to another process."""
    size = 41 * 4096
    script = (
        f"import mmap,sys; m = mmap.mmap(-1, {size}); m[:] = b'x' * {size}; print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.readline() == b"up\n"
        memory = ProcessMemory(child.pid, flat(size))
        assert memory.read(0, 4) == b"xxxx"
        child.communicate()
        with pytest.raises(MemoryFault, match="gone"):
            memory.read(0, 4)
        memory.close()


@pytest.mark.live
def test_a_process_without_such_ram_is_refused() -> None:
    """A size that no mapping has, and a process that is not there, are one line each."""
    with pytest.raises(DoorwatchError, match="no writable mappings of 1048576 MiB"):
        ProcessMemory(os.getpid(), flat(1 << 40))
    with pytest.raises(DoorwatchError, match="process 4194305: cannot read its memory: No such"):
        ProcessMemory(4194305, flat(4096))


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "this memory dump is empty"),
        (b"KDUMP   " + bytes(100), "kdump-compressed.*dump-guest-memory"),
        (b"QEVM" + bytes(100), "a QEMU snapshot"),
        (elf_core([(0, CONTENT)], kind=2), "no core dump"),
        (elf_core([(0, CONTENT)], machine=183), "no core dump of an x86-64"),
        (elf_core([(0, CONTENT)])[:-1], "is it whole"),
        (elf_core([(0, CONTENT)])[:150], "truncated"),
        (elf_core([(0, CONTENT), (4096, CONTENT)]), "overlap"),
        (elf_core([]), "no RAM"),
    ],
)
def test_dumps_that_are_none_are_told_in_one_line(data: bytes, line: str, tmp_path: Path) -> None:
    """Foreign, truncated and contradictory dumps are refused with the file, the reason and what to do."""
    with pytest.raises(DoorwatchError, match=line) as caught:
        ElfDump(written(tmp_path / "dump", data))
    assert "\n" not in str(caught.value)
    assert "dump" in str(caught.value)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 175), st.integers(0, 255)), max_size=6), st.integers(0, len(CONTENT)))
def test_damaged_dumps_never_do_worse_than_refuse(tmp_path: Path, damage: list[tuple[int, int]], cut: int) -> None:
    """Whatever a header says: one line, or a memory whose reads give whole answers or fault."""
    data = bytearray(elf_core([(0, CONTENT[:LOW]), (FOUR_GIB, CONTENT[LOW:])]))
    for at, value in damage:
        data[at] = value
    try:
        memory = ElfDump(written(tmp_path / "dump", bytes(data[: len(data) - cut])))
    except DoorwatchError:
        return
    for region in memory.regions():
        assert len(memory.read(region.start, min(region.size, 4096))) == min(region.size, 4096)
    memory.close()


@pytest.mark.parametrize("backend", [RamFile, RawDump, ElfDump, lambda path: LibvmiMemory(str(path), Driver.FILE)])
def test_what_cannot_be_opened_is_told_in_one_line(backend: Callable[[Path], PhysicalMemory], tmp_path: Path) -> None:
    """A missing file, a directory and a FIFO are refused at once, by every backend; libvmi alone would crash."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path / "missing", tmp_path, fifo):
        with pytest.raises(DoorwatchError, match=str(path)):
            backend(path)


@pytest.mark.parametrize("driver", [Driver.KVM, Driver.XEN])
def test_a_driver_that_libvmi_lacks_is_named(driver: Driver) -> None:
    """Where this libvmi cannot reach a domain, the line names driver and domain."""
    with pytest.raises(DoorwatchError, match=rf"libvmi \({driver.value}\) nobody: .*driver"):
        LibvmiMemory("nobody", driver)


def test_only_a_dump_stands_still(tmp_path: Path) -> None:
    """Pausing a dump is nothing to do; pausing a live guest that nobody controls is refused, not pretended."""
    dump, live = _raw_dump(tmp_path), _ram_file(tmp_path)
    dump.pause()
    dump.resume()
    with pytest.raises(DoorwatchError, match="cannot pause"):
        live.pause()
    dump.close()
    live.close()


class Log:
    """A Pauser that notes what it is asked."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def pause(self) -> None:
        """As Pauser."""
        self.said.append("pause")

    def resume(self) -> None:
        """As Pauser."""
        self.said.append("resume")


def test_a_pauser_is_asked(tmp_path: Path) -> None:
    """Who controls the guest is asked to stop it and to let it go on."""
    memory = RamFile(written(tmp_path / "ram"), LAYOUT, log := Log())
    memory.pause()
    memory.resume()
    assert log.said == ["pause", "resume"]
    memory.close()


def test_a_ram_file_too_short_for_its_layout_is_refused(tmp_path: Path) -> None:
    """A layout of another guest is noticed when the file is opened."""
    with pytest.raises(DoorwatchError, match="is it whole"):
        RamFile(written(tmp_path / "ram"), flat(len(CONTENT) + 1))
