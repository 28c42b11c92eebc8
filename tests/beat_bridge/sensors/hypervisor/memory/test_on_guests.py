"""Every way into one guest's RAM gives the same RAM."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from beat_bridge.sensors.hypervisor.memory import PhysicalMemory
from beat_bridge.sensors.hypervisor.memory.elf_dump import ElfDump
from beat_bridge.sensors.hypervisor.memory.layout import from_mtree, q35
from beat_bridge.sensors.hypervisor.memory.libvmi_memory import Driver, LibvmiMemory
from beat_bridge.sensors.hypervisor.memory.process_memory import ProcessMemory
from beat_bridge.sensors.hypervisor.memory.ram_file import RamFile
from beat_bridge.sensors.hypervisor.memory.raw_dump import RawDump
from beat_bridge.sensors.hypervisor.symbols.vmcoreinfo import find_vmcoreinfo
from tests.lab.guest import Guest
from tests.lab.guest.fixtures import bookworm
from tests.lab.guest.monitor import execute, paused

__all__ = ["bookworm"]

pytestmark = pytest.mark.guest
STEP = 1 << 20


@pytest.fixture
def ways(bookworm: Guest, tmp_path: Path) -> Iterator[dict[str, PhysicalMemory]]:
    """The RAM of one guest that stands still, through each backend."""
    layout = q35(bookworm.memory)
    with paused(bookworm.monitor_path):
        execute(bookworm.monitor_path, "dump-guest-memory", paging=False, protocol=f"file:{tmp_path}/elf")
        execute(bookworm.monitor_path, "pmemsave", val=0, size=bookworm.memory, filename=f"{tmp_path}/raw")
        opened: dict[str, PhysicalMemory] = {
            "ram file": RamFile(bookworm.ram_file, layout),
            "process": ProcessMemory(bookworm.pid, layout),
            "libvmi": LibvmiMemory(str(bookworm.ram_file), Driver.FILE, layout),
            "elf dump": ElfDump(tmp_path / "elf"),
            "raw dump": RawDump(tmp_path / "raw", layout),
        }
        yield opened
        for memory in opened.values():
            memory.close()


def test_all_backends_read_the_same_ram(ways: dict[str, PhysicalMemory]) -> None:
    """From the first megabyte to the last, each backend gives what the RAM file has.

    Below one megabyte the dumps show the machine's ROMs in place of the RAM behind them.
    """
    reference = ways.pop("ram file")
    (region,) = reference.regions()
    for at in range(STEP, region.end, STEP):
        wanted = reference.read(at, STEP)
        for name, memory in ways.items():
            assert memory.read(at, STEP) == wanted, f"{name} at {at:#x}"


def test_the_kernel_is_found_through_every_backend(ways: dict[str, PhysicalMemory]) -> None:
    """The search for the running kernel needs nothing but the reads."""
    found = {name: find_vmcoreinfo(memory) for name, memory in ways.items()}
    assert len(set(map(repr, found.values()))) == 1


def test_qemus_own_account_agrees_with_the_rule(bookworm: Guest) -> None:
    """The layout from `info mtree -f` covers what the machine's rule says, but for the shadowed ROMs below 1 MiB."""
    text = execute(bookworm.monitor_path, "human-monitor-command", **{"command-line": "info mtree -f"})
    backend = execute(bookworm.monitor_path, "query-memdev")[0]["id"]
    told = from_mtree(text, backend)
    assert told[-1].end == q35(bookworm.memory)[-1].end
    assert all(extent.start == extent.offset for extent in told)
    assert sum(extent.size for extent in told) >= bookworm.memory - STEP
