"""Which of the kernel images at hand is the one a guest runs.

Distributions rebuild a kernel under the name it had (Debian's security updates keep the ABI's number), so the release
only narrows the choice; the build id, which `load_profile` compares, decides.
"""

import logging
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory import PhysicalMemory
from beat_bridge.sensors.hypervisor.symbols.profile import Profile, load_profile
from beat_bridge.sensors.hypervisor.symbols.vmcoreinfo import VmCoreInfo, find_vmcoreinfo

MAX_FILES = 1_000
"""Files of one directory that are looked into."""
_NAMES = ("vmlinuz*", "vmlinux*", "bzImage*")
_VERSION_POINTER_AT, _VERSION_BASE = 0x20E, 0x200
"""Documentation/arch/x86/boot.rst: `kernel_version`, an offset that lies 0x200 short of the text."""
_VERSION_BYTES = 128
_log = logging.getLogger(__name__)


def profile_of(
    memory: PhysicalMemory,
    places: Sequence[Path],
    cache_dir: Path | None = None,
    runs: Callable[[VmCoreInfo], bool] | None = None,
) -> Profile:
    """Find out which kernel runs in this memory, by the image that is its own where there is one.

    Args:
        memory: The guest's RAM.
        places: Image files and directories of them. A file that was named must be the guest's; of a directory, the
            one that fits is taken. Where none fits, the guest's own RAM is asked: coverage then says what that could
            not prove.
        cache_dir: See `load_profile`.
        runs: See `find_vmcoreinfo`.

    Raises:
        DoorwatchError: No Linux kernel runs there, a place is missing, or a named image is of another kernel.
    """
    named = [place for place in places if not place.is_dir()]
    refused: DoorwatchError | None = None
    for image in (*named, *_candidates(memory, places)):
        try:
            return load_profile(image, memory, cache_dir, runs)
        except DoorwatchError as error:
            refused = refused or error
    if refused is not None and named:
        raise refused
    if places:
        _log.info("none of the kernel images at hand is this guest's: its symbols come from its own memory")
    return load_profile(None, memory, cache_dir, runs)


def _candidates(memory: PhysicalMemory, places: Sequence[Path]) -> Iterator[Path]:
    directories = [place for place in places if place.is_dir()]
    if not directories:
        return
    release = find_vmcoreinfo(memory).release
    for directory in directories:
        yield from images_of(release, directory)


def images_of(release: str, directory: Path) -> Iterator[Path]:
    """The files in a directory that say of themselves, or by their name, that they are of a release.

    Args:
        release: `uname -r`.
        directory: `/boot`, or a collection of images.

    Raises:
        DoorwatchError: The directory cannot be read.
    """
    try:
        files = sorted({path for pattern in _NAMES for path in directory.glob(pattern)})
    except OSError as error:
        raise DoorwatchError(f"{directory}: cannot look for kernel images: {error.strerror}") from error
    for path in files[:MAX_FILES]:
        if path.is_file() and (path.name.endswith(f"-{release}") or release_in(path) == release):
            yield path


def release_in(image: Path) -> str:
    """The release a bzImage bears in its setup header; empty where it has none or cannot be read."""
    try:
        with image.open("rb") as stream:
            stream.seek(_VERSION_POINTER_AT)
            pointer = stream.read(2)
            if len(pointer) < 2:
                return ""
            (offset,) = struct.unpack("<H", pointer)
            stream.seek(offset + _VERSION_BASE)
            text = stream.read(_VERSION_BYTES)
    except OSError:
        return ""
    return text.split(b"\0")[0].split(b" ")[0].decode("ascii", "replace") if offset else ""
