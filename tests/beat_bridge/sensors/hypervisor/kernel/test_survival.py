"""Guests that are restarted, stand still, die or lose their memory while looked at, and images of other things."""

import contextlib
import itertools
import os
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Reason
from beat_bridge.model.inventory import Inventory
from beat_bridge.sensors.hypervisor.looking import SENSORS, Introspection, look
from beat_bridge.sensors.hypervisor.memory.process_memory import ProcessMemory
from beat_bridge.sensors.hypervisor.memory.ram_file import RamFile
from beat_bridge.sensors.hypervisor.memory.raw_dump import RawDump
from beat_bridge.sensors.hypervisor.symbols.profile import load_profile
from tests.beat_bridge.sensors.hypervisor.kernel.conftest import Watched
from tests.lab.guest import Guest, accelerator, image
from tests.lab.guest.monitor import paused
from tests.lab.guest.qemu import MIB
from tests.lab.guest.saved import MEMORY, Saved, saved

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def dump() -> Iterator[Saved]:
    """The memory of a guest with Debian 12."""
    with saved("bookworm") as opened:
        yield opened


@pytest.fixture
def ram(dump: Saved, tmp_path: Path) -> Path:
    """A copy of it that may be spoilt."""
    shutil.copy(dump.ram, tmp_path / "ram")
    return tmp_path / "ram"


def _refusal(path: Path, kernel: Path | None) -> str:
    """The line with which a memory image is refused."""
    with pytest.raises(DoorwatchError) as caught:
        _look(path, kernel)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _look(path: Path, kernel: Path | None) -> Inventory:
    with contextlib.closing(RawDump(path)) as memory:
        return look(memory, load_profile(kernel, memory))


def _gaps(seen: Inventory) -> set[str]:
    """The sensors that did not see everything, though they could: nobody gives the files of the guest's modules."""
    return {each.sensor for each in seen.gaps if each.sensor in SENSORS and each.reason is not Reason.UNSUPPORTED}


def test_an_image_of_something_else_is_refused(dump: Saved, tmp_path: Path) -> None:
    """Zeros, noise, and the memory of a kernel for another processor have no note of an x86-64 Linux kernel's."""
    chance = random.Random(1)  # noqa: S311 - the same each time
    note = b"OSRELEASE=6.1.0-56-arm64\nPAGESIZE=4096\nKERNELOFFSET=3a0000\nNUMBER(PHYS_OFFSET)=0x40000000\n"
    pages = {
        "zeros": bytes(4096) * 64,
        "noise": chance.randbytes(4096 * 64),
        "arm": bytes(4096) + note.ljust(4096, b"\0"),
        "windows": b"MZ".ljust(4096, b"\x90") * 64 + b"PAGEDU64".ljust(4096, b"\0"),
    }
    for name, content in pages.items():
        (tmp_path / name).write_bytes(content)
        for kernel in (dump.kernel_image, None):
            line = _refusal(tmp_path / name, kernel)
            assert "no VMCOREINFO note in it: not a running x86-64 Linux kernel" in line


def test_an_image_or_a_kernel_that_is_not_there_is_refused(dump: Saved, tmp_path: Path) -> None:
    """A missing or empty memory image, and a missing, truncated or foreign kernel image, each give their line."""
    (tmp_path / "empty").write_bytes(b"")
    assert _refusal(tmp_path / "none", None).endswith("cannot open this memory dump: No such file or directory")
    assert _refusal(tmp_path / "empty", None) == f"{tmp_path / 'empty'}: this memory dump is empty"
    kernel = dump.kernel_image.read_bytes()
    spoilt = {
        "truncated": (kernel[: len(kernel) // 2], "truncated kernel image"),
        "header": (kernel[:600], "truncated kernel image"),
        "text": (b"not a kernel" * 100, "not a Linux kernel image"),
        "payload": (kernel[: len(kernel) // 2] + bytes(4096) + kernel[len(kernel) // 2 + 4096 :], "damaged kernel"),
    }
    for name, (content, why) in spoilt.items():
        (tmp_path / name).write_bytes(content)
        line = _refusal(dump.ram, tmp_path / name)
        assert line.startswith(f"{tmp_path / name}: ")
        assert why in line
    missing = _refusal(dump.ram, tmp_path / "vmlinuz")
    assert missing == f"{tmp_path / 'vmlinuz'}: cannot read this kernel image: No such file or directory"


def test_the_kernel_of_another_build_is_refused(dump: Saved) -> None:
    """Both kernels are named, and what to give."""
    line = _refusal(dump.ram, image("trixie").kernel)
    assert "but the guest runs 6.1." in line
    assert line.endswith("give that kernel's image")


@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_image_is_one_line_or_told_gaps(dump: Saved, ram: Path, part: float) -> None:
    """Whatever is missing at the end of an image is never taken for an absence of things."""
    whole = _look(ram, dump.kernel_image)
    os.truncate(ram, int(MEMORY * part) // 4096 * 4096)
    try:
        seen = _look(ram, dump.kernel_image)
    except DoorwatchError as error:
        assert "\n" not in str(error)  # noqa: PT017 - one of two good ends
    else:
        assert _gaps(seen) or (seen.processes, seen.sockets, seen.hooks) == (
            whole.processes,
            whole.sockets,
            whole.hooks,
        )


class _Shrinking(RamFile):
    """A RAM file that is cut off in the middle of a look."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path
        self.left = itertools.repeat(1)

    def read(self, address: int, size: int) -> bytes:
        """As PhysicalMemory."""
        if next(self.left, None) is None:
            os.truncate(self._path, 0)
        return super().read(address, size)


@pytest.mark.parametrize("reads", [0, 5, 50, 200])
def test_memory_that_shrinks_in_the_middle_of_a_look_is_told(dump: Saved, ram: Path, reads: int) -> None:
    """A RAM file that is truncated meanwhile leaves gaps or one line, and one line in the look after that."""
    memory = _Shrinking(ram)
    introspection = Introspection(memory, load_profile(dump.kernel_image, memory))
    assert not _gaps(introspection.look())
    memory.left = itertools.repeat(1, reads)
    try:
        seen = introspection.look()
    except DoorwatchError as error:
        assert "\n" not in str(error)  # noqa: PT017 - one of two good ends
    else:
        assert "processes" in _gaps(seen) or "kernel_text" in _gaps(seen)
    with pytest.raises(DoorwatchError, match="shrank, or the guest is gone"):
        introspection.look()
    memory.close()


def test_a_guest_that_stands_still_is_seen_whole_and_twice_alike(watched: Watched) -> None:
    """Looks at a paused guest have no gaps and show the same."""
    with paused(watched.guest.monitor_path):
        first, second = watched.look(), watched.look()
    assert not _gaps(first)
    assert (first.processes, first.sockets, first.modules) == (second.processes, second.sockets, second.modules)


def test_a_guest_that_is_restarted_and_dies_in_the_middle_of_looks() -> None:
    """A reset and the end of QEMU, while looks go on, give inventories with told gaps or lines, never anything else."""
    booted = image("bookworm")
    with Guest(booted, memory=256 * MIB, accelerated_by=accelerator(booted)) as guest:
        memory = RamFile(guest.ram_file)
        inside = ProcessMemory(guest.pid, memory._layout)
        profile = load_profile(guest.kernel_image, memory)
        looks = [Introspection(each, profile) for each in (memory, inside)]
        before = guest.check("cat", "/proc/sys/kernel/random/boot_id").strip()
        assert {each.look().host.boot_id for each in looks} == {before}
        resetting = threading.Thread(target=guest.reboot)
        resetting.start()
        ends: set[str] = set()
        while resetting.is_alive():
            ends.update(map(_end, looks))
            resetting.join(0.5)  # the guest needs the processor too
        after = guest.check("cat", "/proc/sys/kernel/random/boot_id").strip()
        assert after != before
        ends.update(map(_end, looks))
        assert {end for end in ends if len(end) == len(before)} <= {before}
        fresh = Introspection(memory, load_profile(guest.kernel_image, memory)).look()
        assert (fresh.host.boot_id, _gaps(fresh)) == (after, set())
    assert "\n" not in _end(looks[1])
    with pytest.raises(DoorwatchError, match=f"none of it can be read: process {guest.pid}: "):
        load_profile(guest.kernel_image, inside)
    for each in (memory, inside):
        each.close()


def _end(introspection: Introspection) -> str:
    """What a look comes to: the boot it saw, or its line."""
    try:
        return introspection.look().host.boot_id
    except DoorwatchError as error:
        assert "\n" not in str(error)  # noqa: PT017 - one of two good ends
        return str(error)
