"""Symbols and types of real kernels, Debian 12's and 13's, in guests that run them."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory.layout import q35
from beat_bridge.sensors.hypervisor.memory.ram_file import RamFile
from beat_bridge.sensors.hypervisor.symbols.btf import Btf, Kind
from beat_bridge.sensors.hypervisor.symbols.build import Origin
from beat_bridge.sensors.hypervisor.symbols.profile import Profile, load_profile
from beat_bridge.sensors.hypervisor.symbols.relocations import relocate
from tests.lab.guest import Guest, accelerator, image
from tests.lab.guest.fixtures import bookworm, guest, trixie

__all__ = ["bookworm", "guest", "trixie"]

pytestmark = pytest.mark.guest


@pytest.fixture
def memory(guest: Guest) -> Iterator[RamFile]:
    """The guest's RAM, as shared with QEMU."""
    opened = RamFile(guest.ram_file, q35(guest.memory))
    yield opened
    opened.close()


@pytest.fixture
def profile(guest: Guest, memory: RamFile) -> Profile:
    """Of the guest's kernel, from its image."""
    return load_profile(guest.kernel_image, memory)


def _packed(guest: Guest, command: str) -> bytes:
    """The output of a command in the guest, which may be larger than the channel takes at once."""
    guest.check("sh", "-c", f"{command} | gzip -1 > /run/packed", timeout=240)
    return gzip.decompress(guest.get("/run/packed"))


def test_every_symbol_is_where_the_kernel_says(guest: Guest, profile: Profile) -> None:
    """All names, letters and addresses, slide included, equal /proc/kallsyms of the running guest."""
    lines = _packed(guest, "grep -v '\\[' /proc/kallsyms").decode("utf-8", "surrogateescape").splitlines()
    told = [(int(address, 16), letter, name) for address, letter, name in map(str.split, lines)]
    found = [(symbol.address, symbol.letter, symbol.name) for symbol in profile.all_symbols()]
    assert len(found) > 80_000
    assert sorted(found) == sorted(told)


def test_ram_alone_tells_what_the_image_tells(memory: RamFile, profile: Profile) -> None:
    """Without the image, symbols, types, code bounds and build id read from live RAM are the same, byte for byte."""
    alone = load_profile(None, memory)
    assert (profile.build.origin, alone.build.origin) == (Origin.IMAGE, Origin.MEMORY)
    assert alone.build_id == profile.build_id
    assert alone.build.symbols == profile.build.symbols
    assert alone.types.data == profile.types.data
    assert alone.types.index == profile.types.index
    assert (alone.text_start, alone.text_end) == (profile.text_start, profile.text_end)


def test_every_type_is_what_bpftool_says(guest: Guest, profile: Profile) -> None:
    """All types of the kernel, with members, offsets, bit fields, values and parameters, equal bpftool's reading."""
    dump = json.loads(_packed(guest, "bpftool -j btf dump file /sys/kernel/btf/vmlinux"))
    assert [_as_bpftool(profile.types, number) for number in range(1, profile.types.end_id)] == [
        _essence(entry) for entry in dump["types"]
    ]


def test_a_modules_types_are_what_bpftool_says(guest: Guest, profile: Profile) -> None:
    """Split BTF: a loaded module's own types, on top of the kernel's, equal bpftool's reading."""
    module = next(name for name in sorted(guest.check("ls", "/sys/kernel/btf").split()) if name != "vmlinux")
    path = f"/sys/kernel/btf/{module}"
    types = Btf(_packed(guest, f"cat {path}"), module, profile.types)
    dump = json.loads(_packed(guest, f"bpftool -j btf dump file {path}"))
    own = range(profile.types.end_id, types.end_id)
    assert [_as_bpftool(types, number) for number in own] == [_essence(entry) for entry in dump["types"]]
    assert len(own) > 0


def _essence(entry: dict[str, Any]) -> tuple[str, str, object]:
    """A type of bpftool's JSON, without what it derives."""
    kind, name = entry["kind"], entry["name"].replace("(anon)", "")
    items: object = None
    if kind in ("STRUCT", "UNION"):
        items = (
            entry["size"],
            [
                (m["name"].replace("(anon)", ""), m["type_id"], m["bits_offset"], m.get("bitfield_size", 0))
                for m in entry["members"]
            ],
        )
    elif kind in ("ENUM", "ENUM64"):
        mask = (1 << 8 * entry["size"]) - 1  # bpftool extends the sign of unsigned values of 32 bits
        items = entry["size"], [(value["name"], value["val"] & mask) for value in entry["values"]]
    elif kind == "FUNC_PROTO":
        items = entry["ret_type_id"], [(p["name"].replace("(anon)", ""), p["type_id"]) for p in entry["params"]]
    elif kind == "ARRAY":
        items = entry["type_id"], entry["nr_elems"]
    elif kind == "INT":
        items = entry["size"], entry["encoding"] == "SIGNED", entry["encoding"] == "BOOL"
    elif "type_id" in entry:
        items = entry["type_id"]
    return kind, name, items


def _as_bpftool(types: Btf, number: int) -> tuple[str, str, object]:
    """The same essence from our reader."""
    record = types.record(number)
    items: object = None
    match record.kind:
        case Kind.STRUCT | Kind.UNION:
            items = record.size, [(m.name, m.type, m.bit_offset, m.bit_size) for m in types.members(number)]
        case Kind.ENUM | Kind.ENUM64:
            mask = (1 << 8 * record.size) - 1
            items = record.size, [(name, value & mask) for name, value in types.enumerators(number)]
        case Kind.FUNC_PROTO:
            items = record.type, [(parameter.name, parameter.type) for parameter in types.parameters(number)]
        case Kind.ARRAY:
            items = types.element(number)
        case Kind.INT:
            integer = types.integer(number)
            items = record.size, integer.signed, integer.boolean
        case Kind.PTR | Kind.TYPEDEF | Kind.CONST | Kind.VOLATILE | Kind.RESTRICT:
            items = record.type
        case Kind.FUNC | Kind.VAR | Kind.TYPE_TAG | Kind.DECL_TAG:
            items = record.type
    return record.kind.name, record.name, items


def test_moved_code_is_the_guests_code(memory: RamFile, profile: Profile) -> None:
    """With the slide applied, at most one byte in twenty differs, all of it patched at boot; without, far more."""
    build = profile.build
    assert build.relocations is not None
    live = memory.read(profile.physical(profile.text_start), len(build.text))
    moved = relocate(build.text, build.text_start, build.relocations, profile.kernel_offset)
    places = [at - (build.text_start & 0xFFFF_FFFF) for at in build.relocations.add32]
    inside = [at for at in places if 0 <= at < len(live) - 4]
    right = sum(live[at : at + 4] == moved[at : at + 4] for at in inside)
    unmoved = sum(live[at : at + 4] == build.text[at : at + 4] for at in inside)
    assert len(inside) > 10_000
    assert right / len(inside) > 0.95
    assert profile.kernel_offset == 0 or unmoved / len(inside) < 0.05


def test_a_kept_profile_is_the_same(guest: Guest, memory: RamFile, profile: Profile, tmp_path: Path) -> None:
    """A real kernel's build comes back from the cache as it was put in."""
    load_profile(guest.kernel_image, memory, tmp_path / "cache")
    kept = load_profile(None, memory, tmp_path / "cache").build
    assert kept.symbols == profile.build.symbols
    assert kept.types.data == profile.types.data
    assert kept.types.index == profile.types.index
    assert (kept.text, kept.relocations) == (profile.build.text, profile.build.relocations)
    assert kept.origin is Origin.IMAGE


def test_another_releases_image_is_refused(bookworm: Guest) -> None:
    """Debian 13's image for a guest that runs Debian 12's kernel is refused, with both named."""
    other = image("trixie")
    memory = RamFile(bookworm.ram_file, q35(bookworm.memory))
    named = f"the kernel {re.escape(other.kernel_release)}.*guest runs {re.escape(bookworm.kernel_release)}"
    with pytest.raises(DoorwatchError, match=named):
        load_profile(other.kernel, memory)
    memory.close()


def test_a_large_guest_with_five_levels_of_pages_is_read() -> None:
    """Above the PCI hole and with LA57, kernel and note are found, and the image's symbols fit."""
    booted = image("bookworm")
    with Guest(booted, memory=4 << 30, five_level_paging=True, accelerated_by=accelerator(booted)) as large:
        memory = RamFile(large.ram_file, q35(large.memory))
        profile = load_profile(large.kernel_image, memory)
        assert profile.boot.five_level_paging
        banner = memory.read(profile.physical(profile.address("linux_banner")), 64)
        assert banner.startswith(f"Linux version {large.kernel_release} ".encode())
        memory.close()
