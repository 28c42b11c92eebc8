"""ELF64 little-endian, as much as kernels, modules and memory dumps need; written for files that lie."""

import struct
from dataclasses import dataclass

from beat_bridge.errors import DoorwatchError

HEADER_SIZE = 64
SECTION_SIZE = 64
SEGMENT_SIZE = 56
MACHINE_X86_64 = 62
TYPE_CORE = 4
PT_LOAD = 1
PT_NOTE = 4
SHT_NOBITS = 8
NT_GNU_BUILD_ID = 3
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_NOTE = struct.Struct("<III")
_EXTENDED = 0xFFFF
"""PN_XNUM: the true number of segments is in the first section's sh_info (dumps of guests with many regions)."""
_MAX_SEGMENTS = 1 << 20


@dataclass(frozen=True, slots=True)
class Header:
    """`Elf64_Ehdr`, the fields in use."""

    type: int
    machine: int
    segments_at: int
    segments: int
    sections_at: int
    sections: int
    names_index: int


@dataclass(frozen=True, slots=True)
class Section:
    """`Elf64_Shdr`: addresses and sizes in bytes."""

    name: str
    type: int
    address: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Segment:
    """`Elf64_Phdr`."""

    type: int
    offset: int
    virtual: int
    physical: int
    file_size: int
    memory_size: int


def read_header(data: bytes, source: str) -> Header:
    """The file's header.

    Args:
        data: At least the first HEADER_SIZE bytes.
        source: The file, for the error line.

    Raises:
        DoorwatchError: It is no 64-bit little-endian ELF file.
    """
    if len(data) < HEADER_SIZE or data[:6] != b"\x7fELF\x02\x01":
        raise DoorwatchError(f"{source}: not a 64-bit little-endian ELF file")
    fields = _HEADER.unpack_from(data)
    _, kind, machine, _, _, segments_at, sections_at, _, _, segment_size, segments, section_size, sections, names = (
        fields
    )
    if (segments and segment_size != _SEGMENT.size) or (sections and section_size != _SECTION.size):
        raise DoorwatchError(f"{source}: damaged ELF header: its tables have entries of an impossible size")
    return Header(kind, machine, segments_at, segments, sections_at, sections, names)


def extended_segment_count(header: Header, first_section: bytes) -> int:
    """How many segments there are, where the header's own field is too small to say (PN_XNUM)."""
    if header.segments != _EXTENDED or len(first_section) < SECTION_SIZE:
        return header.segments
    (count,) = struct.unpack_from("<I", first_section, 44)  # sh_info
    return min(int(count), _MAX_SEGMENTS)


def read_segments(table: bytes) -> list[Segment]:
    """The program headers in a table of whole entries."""
    return [
        Segment(kind, offset, virtual, physical, file_size, memory_size)
        for kind, _, offset, virtual, physical, file_size, memory_size, _ in _SEGMENT.iter_unpack(
            table[: len(table) // _SEGMENT.size * _SEGMENT.size]
        )
    ]


def read_sections(data: bytes, source: str) -> dict[str, Section]:
    """Sections by name; of several with one name, the first.

    Raises:
        DoorwatchError: The tables lie outside the file, or it has none.
    """
    header = read_header(data, source)
    end = header.sections_at + header.sections * _SECTION.size
    if not header.sections or end > len(data) or header.names_index >= header.sections:
        raise DoorwatchError(f"{source}: truncated, or stripped of its section table")
    raw = list(_SECTION.iter_unpack(data[header.sections_at : end]))
    names = raw[header.names_index]
    found: dict[str, Section] = {}
    for name_offset, kind, _, address, offset, size, *_ in raw:
        at = names[4] + name_offset
        name = data[at : data.find(b"\0", at, at + 256)] if at < len(data) else b""
        section = Section(name.decode("ascii", "backslashreplace"), kind, address, offset, size)
        found.setdefault(section.name, section)
    return found


def content(data: bytes, section: Section, source: str) -> bytes:
    """A section's bytes.

    Raises:
        DoorwatchError: They are not all in the file.
    """
    if section.type == SHT_NOBITS or section.offset + section.size > len(data):
        raise DoorwatchError(f"{source}: truncated: the contents of section {section.name} are not in it")
    return data[section.offset : section.offset + section.size]


def build_id(notes: bytes) -> str:
    """The GNU build id in a note section, in hexadecimal; empty where there is none."""
    at = 0
    while at + _NOTE.size <= len(notes):
        name_size, size, kind = _NOTE.unpack_from(notes, at)
        name_at = at + _NOTE.size
        data_at = name_at + (name_size + 3 & ~3)
        if kind == NT_GNU_BUILD_ID and notes[name_at : name_at + name_size] == b"GNU\0":
            return notes[data_at : data_at + size].hex() if data_at + size <= len(notes) else ""
        at = data_at + (size + 3 & ~3)
    return ""


def end(data: bytes, source: str) -> int:
    """The offset behind everything the file's tables describe: where a boot image's relocation table begins."""
    header = read_header(data, source)
    sections = read_sections(data, source).values()
    return max(
        header.sections_at + header.sections * _SECTION.size,
        header.segments_at + header.segments * _SEGMENT.size,
        *(section.offset + section.size for section in sections if section.type != SHT_NOBITS),
    )
