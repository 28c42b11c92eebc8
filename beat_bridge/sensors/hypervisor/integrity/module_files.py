"""Kernel modules as files: where they lie, and what is in them (ELF, relocatable, as `struct load_info` sees it)."""

import lzma
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from beat_bridge.errors import DoorwatchError, MissingExtraError
from beat_bridge.sensors.hypervisor.elf import HEADER_SIZE, MACHINE_X86_64, SECTION_SIZE, SHT_NOBITS, read_header

MAX_FILE = 64 << 20
"""Bytes, packed or not; Debian's largest has 8 MiB."""
MOST_FILES = 50_000
_ENDINGS = (".ko", ".ko.xz", ".ko.zst")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_SYMTAB, _RELA = 2, 4
_LONGEST_NAME = 512


@dataclass(frozen=True, slots=True)
class ModuleSection:
    """`Elf64_Shdr`."""

    name: str
    type: int
    link: int
    info: int
    data: bytes
    """Empty where the file holds none."""


@dataclass(frozen=True, slots=True)
class ModuleSymbol:
    """`Elf64_Sym`."""

    name: str
    section: int
    """Its index; 0 where the symbol is another's."""
    value: int
    """Bytes from the section's beginning."""
    function: bool


@dataclass(frozen=True, slots=True)
class Relocation:
    """`Elf64_Rela`."""

    at: int
    """Bytes from the beginning of the section that it changes."""
    kind: int
    """R_X86_64_*"""
    symbol: int
    addend: int


@dataclass(frozen=True, slots=True)
class ModuleFile:
    """One module."""

    sections: tuple[ModuleSection, ...]
    symbols: tuple[ModuleSymbol, ...]

    def relocations(self, section: int) -> Iterator[Relocation]:
        """What the loader changes in a section."""
        for each in self.sections:
            if each.type == _RELA and each.info == section:
                whole = each.data[: len(each.data) // _RELOCATION.size * _RELOCATION.size]
                for at, info, addend in _RELOCATION.iter_unpack(whole):
                    yield Relocation(at, info & 0xFFFF_FFFF, info >> 32, addend)


def find_modules(directory: Path) -> dict[str, Path]:
    """The files below a directory, by the name that the kernel gives the module.

    Raises:
        DoorwatchError: There is no such directory, or it holds more than modules.
    """
    if not directory.is_dir():
        raise DoorwatchError(
            f"{directory}: no such directory of kernel modules: give /lib/modules/RELEASE of the guest"
        )
    found: dict[str, Path] = {}
    for number, path in enumerate(sorted(directory.rglob("*.ko*"))):
        if number >= MOST_FILES:
            raise DoorwatchError(f"{directory}: more than {MOST_FILES} files: give /lib/modules/RELEASE of the guest")
        ending = next((ending for ending in _ENDINGS if path.name.endswith(ending)), None)
        if ending is not None:
            found.setdefault(path.name.removesuffix(ending).replace("-", "_"), path)
    return found


def read_module(path: Path) -> ModuleFile:
    """Take a module's file apart.

    Raises:
        DoorwatchError: It cannot be read, or is no module.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot read this module: {error.strerror}") from error
    return parse(_unpacked(data, path), str(path))


def _unpacked(data: bytes, path: Path) -> bytes:
    try:
        if path.suffix == ".xz":
            data = lzma.LZMADecompressor().decompress(data, MAX_FILE + 1)
        elif path.suffix == ".zst":
            data = _zstd(data)
    except (lzma.LZMAError, EOFError, ValueError) as error:
        raise DoorwatchError(f"{path}: damaged module: {error}") from error
    if len(data) > MAX_FILE:
        raise DoorwatchError(f"{path}: larger than {MAX_FILE >> 20} MiB: not a kernel module")
    return data


def _zstd(data: bytes) -> bytes:
    try:
        import zstandard  # noqa: PLC0415 - only for modules packed this way
    except ImportError as error:
        raise MissingExtraError("zstandard", "hypervisor", "unpacking this module") from error
    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as reader:
            return bytes(reader.read(MAX_FILE + 1))
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def parse(data: bytes, source: str) -> ModuleFile:
    """The same of bytes.

    Args:
        data: An ELF file.
        source: Where it came from, for the error line.

    Raises:
        DoorwatchError: It is no module.
    """
    header = read_header(data[:HEADER_SIZE], source)
    end = header.sections_at + header.sections * SECTION_SIZE
    if (
        header.machine != MACHINE_X86_64
        or not header.sections
        or end > len(data)
        or header.names_index >= header.sections
    ):
        raise DoorwatchError(f"{source}: truncated, or no kernel module for x86-64")
    raw = list(_SECTION.iter_unpack(data[header.sections_at : end]))
    names_at = raw[header.names_index][4]
    sections = []
    for name_at, kind, _, _, offset, size, link, info, _, _ in raw:
        content = b"" if kind == SHT_NOBITS else data[offset : offset + size]
        if kind != SHT_NOBITS and len(content) != size:
            raise DoorwatchError(f"{source}: truncated kernel module")
        sections.append(ModuleSection(_text(data, names_at + name_at), kind, link, info, content))
    symbols: list[ModuleSymbol] = []
    for section in sections:
        if section.type == _SYMTAB and section.link < len(sections):
            texts = sections[section.link].data
            whole = section.data[: len(section.data) // _SYMBOL.size * _SYMBOL.size]
            for name_at, info, _, index, value, _ in _SYMBOL.iter_unpack(whole):
                symbols.append(ModuleSymbol(_text(texts, name_at), index, value, info & 15 == 2))
            break
    return ModuleFile(tuple(sections), tuple(symbols))


def _text(data: bytes, at: int) -> str:
    end = data.find(b"\0", at, at + _LONGEST_NAME)
    return data[at : max(end, at)].decode("utf-8", "backslashreplace")
