"""From a boot image to the kernel in it."""

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable
from hashlib import shake_128
from pathlib import Path

import lz4.block  # type: ignore[import-untyped]  # it has no types
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.symbols import boot_image
from beat_bridge.sensors.hypervisor.symbols.boot_image import read_image, unpack_kernel
from tests.beat_bridge.sensors.hypervisor.refusals import answered_or_refused

KERNEL = b"\x7fELF" + shake_128(b"code").digest(3000) + bytes(20_000)


def _lz4_legacy(data: bytes, block: int = 8 << 20) -> bytes:
    parts = [lz4.block.compress(data[at : at + block], store_size=False) for at in range(0, len(data), block)]
    return b"\x02\x21\x4c\x18" + b"".join(struct.pack("<I", len(part)) + part for part in parts)


def _sized(data: bytes, compressed: bytes) -> bytes:
    return compressed + struct.pack("<I", len(data))


METHODS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,  # its own trailer ends with the size
    "bzip2": lambda data: _sized(data, bz2.compress(data)),
    "xz": lambda data: _sized(data, lzma.compress(data, check=lzma.CHECK_CRC32)),
    "lzma": lambda data: _sized(data, lzma.compress(data, lzma.FORMAT_ALONE)),
    "zstd": lambda data: _sized(data, zstandard.ZstdCompressor().compress(data)),
    "lz4": lambda data: _sized(data, _lz4_legacy(data)),
    "lz4 in blocks": lambda data: _sized(data, _lz4_legacy(data, 4096)),
}


def bzimage(payload: bytes, version: int = 0x20F, sectors: int = 3) -> bytes:
    """A boot image around a payload (Documentation/arch/x86/boot.rst)."""
    head = bytearray((sectors + 1) * 512)
    head[0x1F1] = sectors
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, version)
    struct.pack_into("<II", head, 0x248, 100, len(payload))
    return bytes(head) + bytes(100) + payload + b"what follows the payload"


@pytest.mark.parametrize("method", METHODS)
def test_each_compression_is_unpacked(method: str) -> None:
    """Whichever way a distribution packs its kernels, what comes out is what went in."""
    assert unpack_kernel(bzimage(METHODS[method](KERNEL)), "image") == KERNEL


def test_a_plain_vmlinux_is_taken_as_it_is() -> None:
    """An ELF file needs no unpacking."""
    assert unpack_kernel(KERNEL, "image") == KERNEL


@pytest.mark.parametrize(
    ("image", "line"),
    [
        (b"", "not a Linux kernel image"),
        (b"MZ" + bytes(4096), "not a Linux kernel image"),
        (bzimage(b"x", version=0x207), "boot protocol 2.07"),
        (bzimage(METHODS["zstd"](KERNEL))[:-100], "truncated kernel image"),
        (bzimage(METHODS["zstd"](KERNEL))[:0x210], "truncated kernel image"),
        (bzimage(b"????" + bytes(50)), "compressed in an unknown way"),
        (bzimage(_sized(KERNEL[1:], gzip.compress(KERNEL)) + b"\0"), "damaged kernel image"),
        (bzimage(METHODS["zstd"](b"not ELF" * 100)), "no ELF file"),
        (bzimage(METHODS["xz"](KERNEL)[:-5] + bytes(5)), "damaged kernel image"),
    ],
)
def test_what_is_no_kernel_is_told_in_one_line(image: bytes, line: str) -> None:
    """Foreign, ancient, truncated and damaged images are told apart, each in one line that names the file."""
    with pytest.raises(DoorwatchError, match=f"^the-file: .*{line}") as caught:
        unpack_kernel(image, "the-file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=40, deadline=None)
@given(damage=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_images_are_refused_or_read(method: str, damage: list[tuple[int, int]]) -> None:
    """Whatever is wrong inside a payload: one line or a kernel, never a library's exception."""
    payload = bytearray(METHODS[method](KERNEL))
    for at, value in damage:
        payload[at % len(payload)] = value
    with answered_or_refused("the-file"):
        unpack_kernel(bzimage(bytes(payload)), "the-file")


@pytest.mark.parametrize("method", METHODS)
def test_a_bomb_is_not_unpacked(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would unpack to more than any kernel is stopped on the way."""
    monkeypatch.setattr(boot_image, "MAX_KERNEL", 1 << 20)
    with pytest.raises(DoorwatchError, match="more than 1 MiB"):
        unpack_kernel(bzimage(METHODS[method](b"\x7fELF" + bytes(40 << 20))), "bomb")


def test_a_missing_image_is_told_in_one_line(tmp_path: Path) -> None:
    """The line names the file."""
    with pytest.raises(DoorwatchError, match="vmlinuz-none: cannot read this kernel image: No such file"):
        read_image(tmp_path / "vmlinuz-none")
