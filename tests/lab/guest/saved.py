"""A guest's memory, saved once with harmless things planted in it, so that it can be looked at without a boot.

The image stays in the cache of the guest's own image, compressed, and is made anew with it or when what is planted
changes. It is the same in every run: what a test finds in it can be found again.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import zstandard

from tests.lab.guest import plants
from tests.lab.guest.accelerator import accelerator
from tests.lab.guest.directories import held
from tests.lab.guest.image import image
from tests.lab.guest.monitor import paused
from tests.lab.guest.qemu import MIB, Guest

MEMORY = 256 * MIB
_MODULES = ("doorwatch_ftrace", "doorwatch_kprobe", "doorwatch_livepatch", "doorwatch_netfilter")
_PROGRAMS = ("raw_socket", "ebpf_socket", "parked_socket", "network_program")


class Saved(NamedTuple):
    """A guest as it once was."""

    ram: Path
    """MEMORY bytes, each at its physical address."""
    kernel_image: Path


@contextlib.contextmanager
def saved(release: str) -> Iterator[Saved]:
    """The memory of a guest of one release, in a file of its own in shared memory until the context is left."""
    booted = image(release)
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    kept = booted.disk.with_name(f"ram-{source}.zst")
    with kept.with_name("ram.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            _save(release, kept)
    with held() as directory:
        ram = directory / "saved"
        with kept.open("rb") as packed, ram.open("wb") as unpacked:
            zstandard.ZstdDecompressor().copy_stream(packed, unpacked)
        yield Saved(ram, booted.kernel)


def _save(release: str, kept: Path) -> None:
    booted = image(release)
    with contextlib.ExitStack() as stack:
        guest = stack.enter_context(Guest(booted, memory=MEMORY, processors=2, accelerated_by=accelerator(booted)))
        for name in _MODULES:
            guest.check("modprobe", name)
        for name in _PROGRAMS:
            stack.enter_context(plants.program(guest, name))
        stack.enter_context(plants.emulator(guest))
        guest.check("nft", "add table inet lab; add chain inet lab c { type filter hook input priority 0; }")
        guest.get("/proc/sys/kernel/random/boot_id")
        stack.enter_context(paused(guest.monitor_path))
        unfinished = kept.with_suffix(".unfinished")
        with guest.ram_file.open("rb") as ram, unfinished.open("wb") as packed:
            zstandard.ZstdCompressor(level=3).copy_stream(ram, packed)
            os.fsync(packed.fileno())
        shutil.move(unfinished, kept)
