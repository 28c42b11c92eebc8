"""Tables as a kernel's build makes them: kallsyms in its three arrangements, BTF, and ELF files around them.

Written from scripts/kallsyms.c and Documentation/bpf/btf.rst, not from the readers under test.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

Named = tuple[int, str]
"""An address, and a name that begins with its type letter."""
ARRANGEMENTS = ("6.1", "6.2", "6.4")
BASE = 0xFFFF_FFFF_8100_0000


def _padded(data: bytes, to: int = 8) -> bytes:
    return data + bytes(-len(data) % to)


def token_table(names: Sequence[str]) -> list[bytes]:
    """256 tokens: each character that is in use stands for itself, digits always do; the rest are frequent pairs."""
    used = {byte for name in names for byte in name.encode("latin-1")} | set(b"0123456789")
    tokens = [bytes([byte]) if byte in used else b"" for byte in range(256)]
    pairs = sorted({name.encode("latin-1")[at : at + 2] for name in names for at in range(len(name) - 1)})
    free = (place for place in range(256) if not tokens[place] and place)
    for place, pair in zip(free, pairs, strict=False):
        tokens[place] = pair
    return tokens


def _compressed(name: str, tokens: Sequence[bytes]) -> bytes:
    data, out, at = name.encode("latin-1"), bytearray(), 0
    pairs = {token: place for place, token in enumerate(tokens) if len(token) == 2}
    while at < len(data):
        place = pairs.get(data[at : at + 2])
        out.append(data[at] if place is None else place)
        at += 1 if place is None else 2
    size = bytes([len(out)]) if len(out) < 128 else bytes([len(out) & 0x7F | 0x80, len(out) >> 7])
    return size + bytes(out)


def kallsyms(symbols: Sequence[Named], arrangement: str = "6.1", slide: int = 0, absolute: bool = True) -> bytes:
    """The table as it lies in .rodata; symbols ascend by address.

    Args:
        symbols: What it holds.
        arrangement: One of ARRANGEMENTS, after the first kernel that has it.
        slide: How far KASLR has moved the kernel: it moves kallsyms_relative_base, and nothing else in the table.
        absolute: CONFIG_KALLSYMS_ABSOLUTE_PERCPU: addresses below the base are stored as they are.
    """
    tokens = token_table([name for _, name in symbols])
    names, markers = bytearray(), []
    for number, (_, name) in enumerate(symbols):
        if number % 256 == 0:
            markers.append(len(names))
        names += _compressed(name, tokens)
    table, places = b"", []
    for token in tokens:
        places.append(len(table))
        table += token + b"\0"
    if absolute:
        offsets = [address if address < BASE else BASE - 1 - address for address, _ in symbols]
        packed = struct.pack(f"<{len(offsets)}i", *offsets)
    else:
        packed = struct.pack(f"<{len(symbols)}I", *(address - BASE for address, _ in symbols))
    count = _padded(struct.pack("<I", len(symbols)))
    parts = {
        "addresses": _padded(packed) + struct.pack("<Q", BASE + slide),
        "names": count + _padded(bytes(names)) + _padded(struct.pack(f"<{len(markers)}I", *markers)),
        "sequences": _padded(b"".join(struct.pack(">I", at)[1:] for at in range(len(symbols)))),
        "tokens": _padded(table) + struct.pack("<256H", *places),
    }
    order = {
        "6.1": ("addresses", "names", "tokens"),
        "6.2": ("addresses", "names", "sequences", "tokens"),
        "6.4": ("names", "tokens", "addresses", "sequences"),
    }
    return b"".join(parts[part] for part in order[arrangement])


class BtfWriter:
    """Types one after the other; each `add` gives the new type's id."""

    def __init__(self, first_id: int = 1, first_string: int = 0) -> None:
        self._types = bytearray()
        self._strings = bytearray(b"" if first_string else b"\0")
        self._first_string = first_string
        self._next = first_id

    def name(self, text: str) -> int:
        """The offset of a name in the strings."""
        if not text:
            return 0
        self._strings += text.encode() + b"\0"
        return self._first_string + len(self._strings) - len(text.encode()) - 1

    def add(  # noqa: PLR0917 - in the order of the record
        self, kind: int, name: str, size: int, items: bytes = b"", count: int = 0, flag: bool = False
    ) -> int:
        """A `struct btf_type` and what follows it."""
        self._types += struct.pack("<III", self.name(name), flag << 31 | kind << 24 | count, size) + items
        self._next += 1
        return self._next - 1

    def integer(self, name: str, size: int, signed: bool = False, boolean: bool = False) -> int:
        """BTF_KIND_INT."""
        return self.add(1, name, size, struct.pack("<I", (signed | boolean << 2) << 24 | size * 8))

    def struct(self, name: str, size: int, members: Sequence[tuple[str, int, int, int]], union: bool = False) -> int:
        """BTF_KIND_STRUCT with members (name, type, bit offset, bit size)."""
        flag = any(bits for *_, bits in members)
        items = b"".join(
            struct.pack("<III", self.name(member), kind, bits << 24 | offset if flag else offset)
            for member, kind, offset, bits in members
        )
        return self.add(5 if union else 4, name, size, items, len(members), flag)

    def enumeration(self, name: str, values: Sequence[tuple[str, int]], size: int = 4, signed: bool = False) -> int:
        """BTF_KIND_ENUM, or ENUM64 where eight bytes wide."""
        items = b""
        for label, value in values:
            low, high = value & 0xFFFF_FFFF, value >> 32 & 0xFFFF_FFFF
            items += struct.pack("<II", self.name(label), low) + (struct.pack("<I", high) if size == 8 else b"")
        return self.add(19 if size == 8 else 6, name, size, items, len(values), signed)

    def done(self) -> bytes:
        """The whole section."""
        sizes = (0, len(self._types), len(self._types), len(self._strings))
        return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, *sizes) + bytes(self._types) + bytes(self._strings)


class Part(NamedTuple):
    """A section of an ELF file to be written."""

    name: str
    address: int
    data: bytes


def elf(parts: Sequence[Part], tail: bytes = b"") -> bytes:
    """An ELF file with these sections, and bytes behind everything it describes."""
    names = b"\0" + b"".join(part.name.encode() + b"\0" for part in parts) + b".shstrtab\0"
    body, headers = bytearray(bytes(64)), [bytes(64)]
    for part in (*parts, Part(".shstrtab", 0, names)):
        place = names.index(part.name.encode() + b"\0")
        headers.append(struct.pack("<IIQQQQIIQQ", place, 1, 0, part.address, len(body), len(part.data), 0, 0, 1, 0))
        body += part.data
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    fields = (ident, 2, 62, 1, 0, 0, len(body), 0, 64, 0, 0, 64, len(headers), len(headers) - 1)
    body[:64] = struct.pack("<16sHHIQQQIHHHHHH", *fields)
    return bytes(body) + b"".join(headers) + tail


@dataclass(frozen=True)
class SmallKernel:
    """A kernel of a few symbols and types: as an image, and as it lies in the RAM of a guest."""

    build_id: bytes = bytes(range(20))
    release: str = "6.1.0-test"
    with_btf: bool = True
    arrangement: str = "6.1"
    slide: int = 0x1C00_0000
    physical: int = 0x20_0000
    """Where its first byte lies in RAM."""

    TEXT = 0x3000
    RODATA = BASE + 0x3000

    @property
    def symbols(self) -> list[Named]:
        """Ascending; the last two bound the types."""
        types = self.RODATA + 0x8000
        functions = [(BASE + 64 * number, f"tfunction_{number}") for number in range(1, 160)]
        bounds = [(types, "R__start_BTF"), (types + len(self.types), "R__stop_BTF")] if self.with_btf else []
        return [
            (0, "Afixed_percpu_data"),
            (0x1F000, "Arunqueues"),
            (BASE, "T_stext"),
            (BASE, "T_text"),
            *functions,
            (BASE + self.TEXT, "T_etext"),
            *bounds,
            (BASE + 0x10000, "Binit_task"),
            (BASE + 0x11000, "Dswapper_pg_dir"),
            (BASE + 0x20000, "B_end"),
        ]

    @property
    def types(self) -> bytes:
        """A struct with an int."""
        writer = BtfWriter()
        number = writer.integer("int", 4, signed=True)
        writer.struct("task_struct", 8, [("pid", number, 0, 0), ("tgid", number, 32, 0)])
        return writer.done()

    @property
    def text(self) -> bytes:
        """Its code; eight bytes at 0x100 are an address that KASLR changes."""
        code = bytearray(b"\x90" * self.TEXT)
        struct.pack_into("<Q", code, 0x100, BASE + 0x10000)
        return bytes(code)

    def rodata(self, slide: int = 0) -> bytes:
        """Read-only data, of which the table's base moves with the kernel."""
        banner = f"Linux version {self.release} (compiler) #1\n\0".encode().ljust(256, b"\0")
        return banner + kallsyms(self.symbols, self.arrangement, slide)

    @property
    def vmlinux(self) -> bytes:
        """The ELF file and the relocation table behind it."""
        note = struct.pack("<III", 4, len(self.build_id), 3) + b"GNU\0" + self.build_id
        parts = [Part(".text", BASE, self.text), Part(".rodata", self.RODATA, self.rodata()), Part(".notes", 0, note)]
        if self.with_btf:
            parts.append(Part(".BTF", self.RODATA + 0x8000, self.types))
        return elf(parts, struct.pack("<5I", 0, (BASE + 0x100) & 0xFFFF_FFFF, 0, 0, (BASE + 0x200) & 0xFFFF_FFFF))

    @property
    def note(self) -> bytes:
        """Its VMCOREINFO."""
        lines = [
            f"OSRELEASE={self.release}",
            f"BUILD-ID={self.build_id.hex()}",
            "PAGESIZE=4096",
            f"SYMBOL(swapper_pg_dir)={BASE + self.slide + 0x11000:x}",
            f"SYMBOL(_stext)={BASE + self.slide:x}",
            f"NUMBER(phys_base)={self.physical - (BASE + self.slide - 0xFFFF_FFFF_8000_0000)}",
            "NUMBER(pgtable_l5_enabled)=0",
            f"KERNELOFFSET={self.slide:x}",
        ]
        return "\n".join([*lines, ""]).encode()

    def ram(self, size: int = 4 << 20, note: bytes | None = None) -> bytearray:
        """RAM in which it runs: image, page tables with 2 MiB pages, and its note."""
        data = bytearray(size)
        code = bytearray(self.text)
        struct.pack_into("<Q", code, 0x100, BASE + 0x10000 + self.slide)
        rodata = self.rodata(self.slide)
        for at, part in ((0, bytes(code)), (0x3000, rodata), (0xB000, self.types if self.with_btf else b"")):
            data[self.physical + at : self.physical + at + len(part)] = part
        top = self.physical + 0x11000
        virtual = BASE + self.slide
        directories = (top, 0x10_0000, 0x10_1000)
        for level, (table, below) in enumerate(zip(directories, (*directories[1:], self.physical), strict=True)):
            slot = virtual >> (39 - 9 * level) & 511
            struct.pack_into("<Q", data, table + 8 * slot, below | (0x83 if level == 2 else 0x3))
        text = self.note if note is None else note
        data[0x8_0000 : 0x8_0000 + len(text)] = text
        return data
