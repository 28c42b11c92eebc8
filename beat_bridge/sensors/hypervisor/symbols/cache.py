"""Kernel builds on disk: taken apart once, then loaded in a few reads.

One private file a build, named by build id. It holds a header (JSON) and blocks of bytes or native integers. Whatever
is wrong with a file (torn, damaged, of another version or byte order), it counts as absent and is written anew.
"""

import os
import re
import struct
import sys
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import ensure_private_directory, write_atomically
from beat_bridge.sensors.hypervisor.symbols.btf import Btf, BtfError, Index
from beat_bridge.sensors.hypervisor.symbols.build import KernelBuild, Origin
from beat_bridge.sensors.hypervisor.symbols.image_section import ImageSection
from beat_bridge.sensors.hypervisor.symbols.relocations import Relocations
from beat_bridge.sensors.hypervisor.symbols.symbol_table import SymbolTable

VERSION = 3
"""Changes with the meaning of any block."""
MAX_FILE = 512 << 20
_MAGIC = b"dwkernel"
_PREFIX = struct.Struct("<8sII")
"""Magic, length of the header, its CRC-32."""
_BLOCKS = {
    "symbol_addresses": "Q",
    "symbol_names": "",
    "symbol_starts": "I",
    "symbol_hashes": "Q",
    "types": "",
    "type_offsets": "I",
    "type_names": "Q",
    "type_constants": "Q",
    "text": "",
    "add32": "I",
    "subtract32": "I",
    "add64": "I",
    "sections": "",
}
"""Names, in the order they are written, and the array type code of each."""
_BUILD_ID = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """What one file holds."""

    build: KernelBuild
    image_sha256: str
    """Of the kernel's file as it lay in /boot, in hexadecimal."""
    image_state: str
    """That file's inode number, size and times (`boot_image.file_state`)."""


class _Block(msgspec.Struct, frozen=True, array_like=True):
    size: int
    crc32: int


class _Section(msgspec.Struct, frozen=True, array_like=True):
    name: str
    address: int
    size: int


class _Header(msgspec.Struct, frozen=True):
    version: int
    byte_order: str
    image_sha256: str
    image_state: str
    build_id: str
    release: str
    text_start: int
    text_end: int
    relocatable: bool
    sections: list[_Section]
    """What the block `sections` holds, one behind the other; the first is the read-only data."""
    blocks: dict[str, _Block]


def store(directory: Path, entry: Entry) -> None:
    """Keep a build.

    Raises:
        DoorwatchError: The directory cannot be used, or the disk is full.
    """
    build = entry.build
    moves = build.relocations or Relocations(array("I"), array("I"), array("I"))
    index = build.types.index
    sections = {"": build.read_only, **build.patch_sites}
    contents = (
        build.symbols.addresses.tobytes(),
        build.symbols.names,
        build.symbols.starts.tobytes(),
        build.symbols.hashes.tobytes(),
        build.types.data[: build.types.size],
        index.offsets.tobytes(),
        index.named.tobytes(),
        index.constants.tobytes(),
        build.text,
        moves.add32.tobytes(),
        moves.subtract32.tobytes(),
        moves.add64.tobytes(),
        b"".join(section.data for section in sections.values()),
    )
    header = msgspec.json.encode(
        _Header(
            version=VERSION,
            byte_order=sys.byteorder,
            image_sha256=entry.image_sha256,
            image_state=entry.image_state,
            build_id=build.build_id,
            release=build.release,
            text_start=build.text_start,
            text_end=build.text_end,
            relocatable=build.relocations is not None,
            sections=[_Section(name, each.address, len(each.data)) for name, each in sections.items()],
            blocks={name: _Block(len(data), zlib.crc32(data)) for name, data in zip(_BLOCKS, contents, strict=True)},
        )
    )
    path = _path(ensure_private_directory(directory), build.build_id)
    try:
        write_atomically(path, b"".join([_PREFIX.pack(_MAGIC, len(header), zlib.crc32(header)), header, *contents]))
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot keep this kernel's symbols: {error.strerror}") from error


def load(directory: Path, build_id: str) -> Entry | None:
    """A build that was kept; None where there is none, or none that can be used.

    Raises:
        DoorwatchError: The directory belongs to somebody else, who could put anything there.
    """
    if not directory.exists():
        return None
    path = _path(ensure_private_directory(directory), build_id)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return _read(descriptor, build_id)
    except (OSError, ValueError, KeyError, struct.error, msgspec.DecodeError, BtfError):
        return None
    finally:
        os.close(descriptor)


def _path(directory: Path, build_id: str) -> Path:
    if not _BUILD_ID.fullmatch(build_id):
        raise DoorwatchError(f"{build_id!r} is no build id: a kernel's symbols cannot be kept under it")
    return directory / f"{build_id}.kernel"


def _read(descriptor: int, build_id: str) -> Entry:
    """Read a whole file.

    Raises:
        ValueError: It is not what was written, or not for this program.
    """
    prefix = os.pread(descriptor, _PREFIX.size, 0)
    magic, size, crc = _PREFIX.unpack(prefix)
    if magic != _MAGIC or os.fstat(descriptor).st_size > MAX_FILE:
        raise ValueError("another kind of file")
    raw = os.pread(descriptor, min(size, MAX_FILE), _PREFIX.size)
    if zlib.crc32(raw) != crc:
        raise ValueError("damaged header")
    header = msgspec.json.decode(raw, type=_Header)
    if (header.version, header.byte_order, header.build_id) != (VERSION, sys.byteorder, build_id):
        raise ValueError("of another version or build")
    at = _PREFIX.size + size
    blocks: dict[str, bytes] = {}
    for name in _BLOCKS:
        block = header.blocks[name]
        data = os.pread(descriptor, min(block.size, MAX_FILE), at)
        if len(data) != block.size or zlib.crc32(data) != block.crc32:
            raise ValueError(f"damaged block {name}")
        blocks[name] = data
        at += block.size
    return Entry(_assemble(header, blocks), header.image_sha256, header.image_state)


def _assemble(header: _Header, blocks: dict[str, bytes]) -> KernelBuild:
    numbers = {name: array(code, blocks[name]) for name, code in _BLOCKS.items() if code}
    index = Index(numbers["type_offsets"], numbers["type_names"], numbers["type_constants"])
    moves = Relocations(numbers["add32"], numbers["subtract32"], numbers["add64"])
    sections: dict[str, ImageSection] = {}
    at = 0
    for section in header.sections:
        sections[section.name] = ImageSection(section.address, blocks["sections"][at : at + section.size])
        at += section.size
    read_only = sections.pop("")
    return KernelBuild(
        build_id=header.build_id,
        release=header.release,
        origin=Origin.IMAGE,
        symbols=SymbolTable(
            numbers["symbol_addresses"], blocks["symbol_names"], numbers["symbol_starts"], numbers["symbol_hashes"]
        ),
        types=Btf(blocks["types"], f"kernel {header.release}", index=index),
        text_start=header.text_start,
        text_end=header.text_end,
        text=blocks["text"],
        relocations=moves if header.relocatable else None,
        read_only=read_only,
        patch_sites=sections,
    )
