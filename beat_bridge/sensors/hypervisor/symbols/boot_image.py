"""From the file in /boot to the kernel it unpacks: the x86 boot protocol, and five ways to compress.

Documentation/arch/x86/boot.rst: the payload's place is in the setup header since protocol 2.08. It holds vmlinux,
stripped of debug information but with its sections, followed by the relocation table that KASLR needs.
"""

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from beat_bridge.errors import DoorwatchError, MissingExtraError

MAX_IMAGE = 256 << 20
"""Bytes of a file in /boot. Debian's largest is 15 MiB."""
MAX_KERNEL = 1 << 30
"""Bytes unpacked. x86-64 gives a kernel image 1 GiB of addresses (KERNEL_IMAGE_SIZE)."""
_MAGIC_AT, _MAGIC = 0x202, b"HdrS"
_SETUP_END = 0x250
"""Behind the last field of the setup header that is read here."""
_LZ4_LEGACY_BLOCK = 8 << 20
"""Largest size of one unpacked block (lib/decompress_unlz4.c, LZ4_DEFAULT_UNCOMPRESSED_CHUNK_SIZE)."""


def file_state(path: Path) -> str:
    """A text that changes whenever the file does: nobody sets a change time (ctime) back.

    Raises:
        DoorwatchError: There is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot read this kernel image: {error.strerror}") from error
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def read_image(path: Path) -> bytes:
    """The file as it is.

    Raises:
        DoorwatchError: It is missing, unreadable, or too large for a kernel.
    """
    try:
        with path.open("rb") as stream:
            image = stream.read(MAX_IMAGE + 1)
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot read this kernel image: {error.strerror}") from error
    if len(image) > MAX_IMAGE:
        raise DoorwatchError(f"{path}: larger than {MAX_IMAGE >> 20} MiB: not a kernel image")
    return image


def unpack_kernel(image: bytes, source: str) -> bytes:
    """From a bzImage (`/boot/vmlinuz-...`) or a plain vmlinux to the kernel.

    Args:
        image: The file's bytes.
        source: The file, for the error line.

    Returns:
        The ELF file, followed by the relocation table where it came out of a bzImage.

    Raises:
        DoorwatchError: It is truncated, damaged, or no kernel.
    """
    if image.startswith(b"\x7fELF"):
        return image
    if image[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        raise DoorwatchError(f"{source}: not a Linux kernel image (neither an x86 bzImage nor an ELF vmlinux)")
    if len(image) < _SETUP_END:
        raise DoorwatchError(f"{source}: truncated kernel image: {len(image)} bytes")
    (version,) = struct.unpack_from("<H", image, 0x206)
    if version < 0x208:
        raise DoorwatchError(
            f"{source}: boot protocol {version >> 8}.{version & 255:02} is older than any kernel with BTF"
        )
    offset, size = struct.unpack_from("<II", image, 0x248)
    start = ((image[0x1F1] or 4) + 1) * 512 + offset
    if not size or start + size > len(image):
        raise DoorwatchError(f"{source}: truncated kernel image: {start + size} bytes needed, {len(image)} there")
    payload = image[start : start + size]
    kernel = decompress(payload, source)
    (promised,) = struct.unpack_from("<I", payload, len(payload) - 4)
    if len(kernel) != promised:
        raise DoorwatchError(
            f"{source}: damaged kernel image: {len(kernel)} bytes came out of it, {promised} were promised"
        )
    if not kernel.startswith(b"\x7fELF"):
        raise DoorwatchError(f"{source}: damaged kernel image: what it unpacks to is no ELF file")
    return kernel


def decompress(payload: bytes, source: str) -> bytes:
    """Unpack a payload by its magic number (lib/decompress.c); at most MAX_KERNEL bytes.

    Every method but gzip has the unpacked size in four bytes behind its stream (gzip has it in its own trailer).
    """
    for magic, method in _METHODS:
        if payload.startswith(magic):
            try:
                kernel = method(payload)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, RuntimeError) as error:
                raise DoorwatchError(f"{source}: damaged kernel image: {error}") from error
            if len(kernel) > MAX_KERNEL:
                raise DoorwatchError(f"{source}: unpacks to more than {MAX_KERNEL >> 20} MiB: not a kernel image")
            return kernel
    raise DoorwatchError(f"{source}: compressed in an unknown way (it begins with {payload[:4].hex(' ')})")


def _gzip(payload: bytes) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(payload, MAX_KERNEL + 1)


def _bzip2(payload: bytes) -> bytes:
    return bz2.BZ2Decompressor().decompress(payload, MAX_KERNEL + 1)


def _xz(payload: bytes) -> bytes:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload, MAX_KERNEL + 1)


def _lzma(payload: bytes) -> bytes:
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(payload, MAX_KERNEL + 1)


def _zstd(payload: bytes) -> bytes:
    try:
        import zstandard  # noqa: PLC0415 - only for kernels packed this way
    except ImportError as error:
        raise MissingExtraError("zstandard", "hypervisor", "unpacking this kernel") from error
    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(payload[:-4])
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _lz4_legacy(payload: bytes) -> bytes:
    """Blocks of a 32-bit size and that many bytes, to the end: the last four bytes are the unpacked size."""
    try:
        from lz4.block import (  # type: ignore[import-untyped]  # noqa: PLC0415 - it has no types; only for such kernels
            LZ4BlockError,
            decompress,
        )
    except ImportError as error:
        raise MissingExtraError("lz4", "hypervisor", "unpacking this kernel") from error
    blocks = []
    at, end, total = 4, len(payload) - 4, 0
    while at + 4 <= end and total <= MAX_KERNEL:
        (size,) = struct.unpack_from("<I", payload, at)
        if not 0 < size <= end - at - 4:
            raise ValueError("an LZ4 block reaches beyond the end")
        try:
            blocks.append(decompress(payload[at + 4 : at + 4 + size], uncompressed_size=_LZ4_LEGACY_BLOCK))
        except LZ4BlockError as error:
            raise ValueError(str(error)) from error
        total += len(blocks[-1])
        at += 4 + size
    return b"".join(blocks)


_METHODS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", _gzip),
    (b"BZh", _bzip2),
    (b"\xfd7zXZ\0", _xz),
    (b"\x5d\0\0", _lzma),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"\x02\x21\x4c\x18", _lz4_legacy),
)
