"""A profile: which kernel runs there, and all about it."""

import errno
import os
from pathlib import Path

import drgn
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.symbols import cache
from beat_bridge.sensors.hypervisor.symbols.build import Origin, build_from_image
from beat_bridge.sensors.hypervisor.symbols.profile import Profile, UnknownSymbolError, load_profile
from beat_bridge.sensors.hypervisor.symbols.relocations import relocate
from tests.beat_bridge.sensors.hypervisor.ram import Ram
from tests.beat_bridge.sensors.hypervisor.refusals import answered_or_refused
from tests.beat_bridge.sensors.hypervisor.symbols.tables import ARRANGEMENTS, BASE, SmallKernel

KERNEL = SmallKernel()
VMLINUX = KERNEL.vmlinux
RAM = Ram(bytes(KERNEL.ram()))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The kernel's file."""
    path = tmp_path / "vmlinuz"
    path.write_bytes(VMLINUX)
    return path


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    """Where builds are kept; not made yet."""
    return tmp_path / "cache"


def _content(profile: Profile) -> list[object]:
    """All that a profile says, in values that compare."""
    build = profile.build
    return [
        profile.build_id,
        list(profile.all_symbols()),
        build.types.data[: build.types.size],
        build.types.index,
        (profile.text_start, profile.text_end),
    ]


def test_image_and_ram_tell_the_same(image: Path) -> None:
    """Symbols, types and bounds read from the guest's RAM alone equal those of the image."""
    from_image, from_memory = load_profile(image, RAM), load_profile(None, RAM)
    assert (from_image.build.origin, from_memory.build.origin) == (Origin.IMAGE, Origin.MEMORY)
    assert _content(from_image) == _content(from_memory)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_every_arrangement_is_found_in_ram(arrangement: str) -> None:
    """Wherever a kernel keeps its table's base, the slide is taken out of it."""
    kernel = SmallKernel(arrangement=arrangement)
    profile = load_profile(None, Ram(bytes(kernel.ram())))
    assert [(symbol.address, symbol.letter + symbol.name) for symbol in profile.all_symbols()] == [
        (at + kernel.slide if at >= BASE else at, name) for at, name in kernel.symbols
    ]


def test_names_and_addresses_are_those_of_the_guest(image: Path) -> None:
    """The slide is added to addresses of the image, and to no per-CPU offset."""
    profile = load_profile(image, RAM)
    assert profile.address("init_task") == BASE + KERNEL.slide + 0x10000
    assert profile.find("runqueues") == 0x1F000
    assert profile.physical(profile.text_start) == KERNEL.physical
    inside = profile.symbol_at(profile.address("function_7") + 5)
    assert inside is not None
    assert (inside.name, inside.address, inside.size) == ("function_7", profile.address("function_7"), 64)
    assert profile.symbol_at(BASE) is None
    assert profile.symbol_at(0x1F000) is None
    assert profile.symbol_at(profile.address("_end")) is None
    assert profile.find("no_such_thing") is None
    with pytest.raises(UnknownSymbolError, match="no symbol no_such_thing"):
        profile.address("no_such_thing")


def test_the_images_code_moved_is_the_guests_code(image: Path) -> None:
    """Text of the image, relocated by the slide, is byte for byte what lies in the guest's RAM."""
    profile = load_profile(image, RAM)
    assert profile.build.relocations is not None
    moved = relocate(profile.build.text, profile.build.text_start, profile.build.relocations, profile.kernel_offset)
    live = RAM.read(profile.physical(profile.text_start), len(moved))
    assert [hex(at) for at in range(len(live)) if live[at] != moved[at]] == ["0x203"]
    assert moved != profile.build.text


def test_a_kept_build_is_the_same_build(image: Path, cache_dir: Path) -> None:
    """From the cache comes what was put in, and the second look does not take the image apart again."""
    first = load_profile(image, RAM, cache_dir)
    second = load_profile(image, RAM, cache_dir)
    assert _content(first) == _content(second)
    assert (first.build.text, first.build.relocations) == (second.build.text, second.build.relocations)
    (kept,) = cache_dir.iterdir()
    assert (kept.name, kept.stat().st_mode & 0o777, cache_dir.stat().st_mode & 0o777) == (
        f"{KERNEL.build_id.hex()}.kernel",
        0o600,
        0o700,
    )
    assert second.build is not first.build
    without_image = load_profile(None, RAM, cache_dir)
    assert without_image.build.origin is Origin.IMAGE


def test_what_a_guest_says_of_itself_is_never_kept(cache_dir: Path) -> None:
    """A build read from one guest's RAM would be believed of the next guest: it is not written to the cache."""
    load_profile(None, RAM, cache_dir)
    assert not cache_dir.exists() or not list(cache_dir.iterdir())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_cache_is_written_anew(place: float, flip: int, cut: bool, image: Path, cache_dir: Path) -> None:
    """Any byte changed, or any tail lost: the build is read from the image, and the file is whole again."""
    wanted = _content(load_profile(image, RAM, cache_dir))
    (kept,) = cache_dir.iterdir()
    whole = kept.read_bytes()
    at = int(place * len(whole))
    kept.write_bytes(whole[:at] if cut else whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
    assert cache.load(cache_dir, KERNEL.build_id.hex()) is None
    assert _content(load_profile(image, RAM, cache_dir)) == wanted
    assert kept.read_bytes() == whole


def test_a_new_image_of_the_same_build_is_read_again(image: Path, cache_dir: Path) -> None:
    """The cache answers for one file, byte for byte: a changed one is read, not assumed."""
    load_profile(image, RAM, cache_dir)
    image.write_bytes(image.read_bytes().replace(b"\x90" * 64, b"\xcc" * 64, 1))
    assert b"\xcc" in load_profile(image, RAM, cache_dir).build.text


def test_the_same_image_elsewhere_is_the_same(image: Path, cache_dir: Path, tmp_path: Path) -> None:
    """A copy of the image is known by its bytes: what was kept is used, and not written again."""
    load_profile(image, RAM, cache_dir)
    (kept,) = cache_dir.iterdir()
    before = kept.stat().st_mtime_ns
    copy = tmp_path / "copy"
    copy.write_bytes(VMLINUX)
    assert load_profile(copy, RAM, cache_dir).build.text == KERNEL.text
    assert kept.stat().st_mtime_ns == before


def test_a_full_disk_prevents_no_look(
    image: Path, cache_dir: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that cannot be kept is used all the same, and the log says why the next look will be slower."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache, "write_atomically", full)
    assert load_profile(image, RAM, cache_dir).find("init_task") is not None
    assert "cannot keep this kernel's symbols: No space left on device" in caplog.text


@pytest.mark.parametrize("build_id", ["../x", "", "a/b" * 10, "g" * 40])
def test_a_cache_name_is_a_digest_or_nothing(build_id: str, cache_dir: Path) -> None:
    """A build id cannot lead out of the cache directory."""
    cache_dir.mkdir()
    with pytest.raises(DoorwatchError, match="is no build id"):
        cache.load(cache_dir, build_id)


def test_a_link_in_the_cache_is_not_followed(image: Path, cache_dir: Path, tmp_path: Path) -> None:
    """What somebody linked into the directory is not read."""
    load_profile(image, RAM, cache_dir)
    (kept,) = cache_dir.iterdir()
    kept.rename(tmp_path / "elsewhere")
    kept.symlink_to(tmp_path / "elsewhere")
    assert cache.load(cache_dir, KERNEL.build_id.hex()) is None


def test_the_image_of_another_kernel_is_refused(image: Path) -> None:
    """A foreign image is named with both releases: its symbols would all be wrong."""
    image.write_bytes(SmallKernel(build_id=bytes(20), release="5.0.0-other").vmlinux)
    with pytest.raises(DoorwatchError, match=r"this is the kernel 5\.0\.0-other .* but the guest runs 6\.1\.0-test"):
        load_profile(image, RAM)


def test_a_kernel_without_types_is_refused(image: Path) -> None:
    """Without BTF nothing can be walked: one line, from the image and from RAM."""
    bare = SmallKernel(with_btf=False)
    image.write_bytes(bare.vmlinux)
    for given_image in (image, None):
        with pytest.raises(DoorwatchError, match="CONFIG_DEBUG_INFO_BTF"):
            load_profile(given_image, Ram(bytes(bare.ram())))


def test_a_note_that_contradicts_the_symbols_is_refused(image: Path) -> None:
    """A note with a true slide but false addresses belongs to no such kernel."""
    note = KERNEL.note + f"SYMBOL(init_task)={BASE + KERNEL.slide:x}\n".encode()
    with pytest.raises(DoorwatchError, match=r"init_task .* does not belong to this kernel"):
        load_profile(image, Ram(bytes(KERNEL.ram(note=note))))


def test_unreadable_ram_is_told_in_one_line() -> None:
    """RAM that faults where the kernel lies is a failure that names the kernel, not a crash."""
    torn = Ram(bytes(KERNEL.ram()), range(KERNEL.physical + 0x5000, KERNEL.physical + 0x5001))
    with pytest.raises(DoorwatchError, match=r"kernel 6\.1\.0-test in guest memory: cannot be read"):
        load_profile(None, torn)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(VMLINUX) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_images_are_read_or_refused(damage: list[tuple[int, int]]) -> None:
    """Whatever is wrong with an image, it is a build or one line."""
    data = bytearray(VMLINUX)
    for at, value in damage:
        data[at if at > 200 else len(data) - 1 - at] = value
    with answered_or_refused("the-image"):
        build_from_image(bytes(data), "the-image")


def test_drgn_answers_from_a_profile(image: Path) -> None:
    """Types, constants, symbols by name and by address: drgn finds what the kernel has, and only that."""
    profile = load_profile(image, RAM)
    prog = drgn.Program(drgn.Platform(drgn.Architecture.X86_64))
    profile.register_finders(prog)
    task = prog.type("struct task_struct")
    assert [(member.name, member.bit_offset, member.type.type_name()) for member in task.members] == [
        ("pid", 0, "int"),
        ("tgid", 32, "int"),
    ]
    symbol = prog.symbol(profile.address("function_7") + 1)
    assert (symbol.name, symbol.address) == ("function_7", profile.address("function_7"))
    assert prog.symbol("init_task").address == profile.address("init_task")
    with pytest.raises(LookupError):
        prog.symbol("no_such_thing")
    with pytest.raises(LookupError):
        prog.type("struct no_such_thing")
