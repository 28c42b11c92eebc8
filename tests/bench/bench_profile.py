"""A guest's kernel profile, cold, cached and from RAM alone; and reading RAM through each backend, beside mmap."""

import mmap
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from beat_bridge.sensors.hypervisor.memory import PhysicalMemory
from beat_bridge.sensors.hypervisor.memory.layout import q35
from beat_bridge.sensors.hypervisor.memory.libvmi_memory import Driver, LibvmiMemory
from beat_bridge.sensors.hypervisor.memory.process_memory import ProcessMemory
from beat_bridge.sensors.hypervisor.memory.ram_file import RamFile
from beat_bridge.sensors.hypervisor.symbols.profile import Profile, load_profile
from tests.bench.figures import Figure, in_turn, seconds
from tests.lab.guest import RELEASES, Guest, accelerator, image
from tests.lab.guest.monitor import paused

_COLD, _CACHED = 1.0, 0.1
_SMALL, _READS = 8, 20_000
_RUNS = 7


def figures() -> Sequence[Figure]:
    """Of a paused guest of each release; the backends on the first."""
    results: list[Figure] = []
    for release in RELEASES:
        booted = image(release)
        with Guest(booted, accelerated_by=accelerator(booted)) as guest, paused(guest.monitor_path):
            memory = RamFile(guest.ram_file, q35(guest.memory))
            results += _profiles(guest, memory)
            if release == RELEASES[0]:
                results += _backends(guest, load_profile(guest.kernel_image, memory))
            memory.close()
    return results


def _profiles(guest: Guest, memory: RamFile) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        cache = Path(directory) / "cache"

        def cold() -> None:
            shutil.rmtree(cache, ignore_errors=True)
            load_profile(guest.kernel_image, memory, cache)

        def cached() -> None:
            load_profile(guest.kernel_image, memory, cache)

        for name, work, target in (("cold", cold, _COLD), ("cached", cached, _CACHED)):
            took = statistics.median(seconds(work, _RUNS))
            yield Figure(
                name=f"profile of {guest.kernel_release}, {name}",
                value=took * 1000,
                unit="ms",
                target=f"<= {target * 1000:.0f} ms",
                met=took <= target,
                note="search for VMCOREINFO in 512 MiB included",
            )
    took = statistics.median(seconds(lambda: load_profile(None, memory), _RUNS))
    yield Figure(
        name=f"profile of {guest.kernel_release}, from RAM alone", value=took * 1000, unit="ms", target="", met=None
    )


def _backends(guest: Guest, profile: Profile) -> Iterator[Figure]:
    """Kernel text at once, and words one by one; the peer is a mapping, which could be killed by a shrinking file."""
    start = profile.physical(profile.text_start)
    size = profile.text_end - profile.text_start
    with _mapping(guest) as mapped:
        for name, opened in _opened(guest):
            ours, theirs = in_turn(_whole(opened, start, size), lambda: mapped[start : start + size])
            yield _against_mapping(f"{size >> 20} MiB of kernel text through {name}", ours * 1e3, theirs * 1e3, "ms")
            ours, theirs = in_turn(_words(opened, start), lambda: _mapped_words(mapped, start))
            yield _against_mapping(f"{_SMALL} bytes through {name}", ours / _READS * 1e6, theirs / _READS * 1e6, "us")
            opened.close()


def _against_mapping(name: str, ours: float, theirs: float, unit: str) -> Figure:
    return Figure(name=name, value=ours, unit=unit, target="", met=None, peer="mmap", peer_value=theirs)


def _opened(guest: Guest) -> Iterator[tuple[str, PhysicalMemory]]:
    layout = q35(guest.memory)
    yield "the RAM file", RamFile(guest.ram_file, layout)
    yield "/proc/PID/mem", ProcessMemory(guest.pid, layout)
    yield "libvmi", LibvmiMemory(str(guest.ram_file), Driver.FILE, layout)


def _whole(memory: PhysicalMemory, start: int, size: int) -> Callable[[], object]:
    def work() -> object:
        memory.refresh()
        return memory.read(start, size)

    return work


def _words(memory: PhysicalMemory, start: int) -> Callable[[], object]:
    def work() -> None:
        read = memory.read
        for at in range(start, start + _READS * _SMALL, _SMALL):
            read(at, _SMALL)

    return work


def _mapped_words(mapped: mmap.mmap, start: int) -> None:
    for at in range(start, start + _READS * _SMALL, _SMALL):
        mapped[at : at + _SMALL]


@contextmanager
def _mapping(guest: Guest) -> Iterator[mmap.mmap]:
    with ExitStack() as stack:
        file = stack.enter_context(guest.ram_file.open("rb"))
        yield stack.enter_context(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
