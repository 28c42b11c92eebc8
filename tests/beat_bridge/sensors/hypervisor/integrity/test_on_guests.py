"""Real kernels, Debian 12's and 13's: what they patch themselves is explained, and nothing else."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.kernel import Hook
from beat_bridge.sensors.hypervisor import elf
from beat_bridge.sensors.hypervisor.integrity.baseline import decode, encode
from beat_bridge.sensors.hypervisor.integrity.kcore import compare_with_kcore
from beat_bridge.sensors.hypervisor.kernel.program import open_program
from beat_bridge.sensors.hypervisor.looking import Introspection
from beat_bridge.sensors.hypervisor.memory.layout import q35
from beat_bridge.sensors.hypervisor.memory.ram_file import RamFile
from beat_bridge.sensors.hypervisor.symbols.profile import Profile, load_profile
from tests.lab.guest import Guest, plants
from tests.lab.guest.bytes_changed import stopped
from tests.lab.guest.fixtures import guest
from tests.lab.guest.outside import Outside

__all__ = ["guest"]

pytestmark = pytest.mark.guest

SURFACES = ("kernel_text", "module_text", "syscall_dispatch", "read_only_data", "syscall_table", "seq_operations")
TRACING = "/sys/kernel/debug/tracing"


class Watched(NamedTuple):
    """A guest, and the means to look at it."""

    guest: Guest
    memory: RamFile
    profile: Profile
    introspection: Introspection


@pytest.fixture(scope="module")
def watched(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A guest of each release, being watched."""
    memory = RamFile(Path(guest.ram_file), q35(guest.memory))
    profile = load_profile(guest.kernel_image, memory, tmp_path_factory.mktemp("profiles"))
    yield Watched(guest, memory, profile, Introspection(memory, profile))
    memory.close()


def changed(seen: Inventory) -> list[Hook]:
    """What is told and not explained."""
    return [
        hook for hook in seen.hooks if hook.surface in SURFACES and hook.actual != hook.expected and not hook.explained
    ]


def account(seen: Inventory, sensor: str) -> Coverage:
    """One sensor's."""
    (found,) = (each for each in seen.coverage if each.sensor == sensor)
    return found


def test_a_busy_kernel_is_what_its_image_says(watched: Watched) -> None:
    """Every page of code and read-only data is looked at, in a guest at work, and no byte is unexplained."""
    with plants.program(watched.guest, "bustle"), plants.program(watched.guest, "network_program"):
        for _ in range(5):
            seen = watched.introspection.look()
            assert changed(seen) == []
    size = watched.profile.text_end - watched.profile.text_start
    for sensor in ("kernel_text", "read_only_data"):
        assert account(seen, sensor).status is CoverageStatus.COMPLETE
    assert account(seen, "kernel_text").examined == -(-size // 4096)


def test_a_kernel_that_is_traced_is_explained(watched: Watched) -> None:
    """With every function traced, tens of thousands of sites are patched while looks go on, and all are explained."""
    run = watched.guest.check
    try:
        run("sh", "-c", f"echo '*lock*' > {TRACING}/set_ftrace_filter; echo function > {TRACING}/current_tracer")
        seen = watched.introspection.look()
        assert changed(seen) == []
        traced = [hook for hook in seen.hooks if hook.surface == "kernel_text" and hook.explained]
        listed = run("sh", "-c", f"wc -l < {TRACING}/enabled_functions")
        assert len(traced) >= min(int(listed), 900)
    finally:
        run("sh", "-c", f"echo nop > {TRACING}/current_tracer; echo > {TRACING}/set_ftrace_filter")
    assert changed(watched.introspection.look()) == []


def test_a_probe_in_the_middle_of_a_function_is_told_with_its_owner(watched: Watched) -> None:
    """A kprobe's breakpoint is explained by the registered probe, and told; once it is gone, nothing is."""
    run = watched.guest.check
    try:
        # not every offset begins an instruction
        tries = " || ".join(f"echo 'p:lab do_sys_openat2+{at}' > {TRACING}/kprobe_events" for at in range(9, 20))
        run("sh", "-c", tries)
        run("sh", "-c", f"echo 1 > {TRACING}/events/kprobes/lab/enable")
        seen = watched.introspection.look()
        listed = run("cat", "/sys/kernel/debug/kprobes/list").split()
        assert changed(seen) == []
        told = [hook.symbol for hook in seen.hooks if hook.surface == "kernel_text" and hook.explained]
        assert any(name.partition("+")[0] == listed[2].partition("+")[0] for name in told)
    finally:
        run("sh", "-c", f"echo 0 > {TRACING}/events/kprobes/lab/enable; echo > {TRACING}/kprobe_events")
    assert changed(watched.introspection.look()) == []


def test_any_byte_of_code_that_is_changed_is_found(watched: Watched) -> None:
    """Bytes changed at random from outside are found, each with its function, and gone when put back."""
    with stopped(watched.guest) as still:
        for number, place in enumerate(still.places(20, seed=7)):
            with still.changed(place.address, still.flipped(place, number)):
                (found,) = changed(watched.introspection.look())
            name, _, offset = found.symbol.partition("+")
            assert watched.profile.find(name) == place.start or name == place.function
            assert 0 <= place.address - place.start - int(offset, 16) < 16
        assert changed(watched.introspection.look()) == []


def test_a_first_look_finds_what_was_changed_before(watched: Watched) -> None:
    """Who begins to look after the change finds it too: the image is the measure, not the first look."""
    with stopped(watched.guest) as still:
        places = still.places(20, seed=8)
        for place in places[1:]:
            assert place.address != places[0].address
        with still.changed(places[0].address, still.flipped(places[0], 3)):
            (found,) = changed(Introspection(watched.memory, watched.profile).look())
    assert found.surface in ("kernel_text", "syscall_dispatch")


def test_a_pointer_among_operations_is_found(watched: Watched) -> None:
    """`random_fops.read` aimed at another function is told with both names."""
    with Outside(watched.guest) as outside:
        stand_in = outside.symbols["ksys_read"]
        with stopped(watched.guest) as still:
            before = outside.read_word(outside.symbols["random_fops"] + 16)
            with still.changed(outside.symbols["random_fops"] + 16, stand_in.to_bytes(8, "little")):
                (found,) = changed(watched.introspection.look())
        # Debian 12's has none: there it is read through read_iter
        names = {name for name, at in outside.symbols.items() if at == before} if before else {"0x0"}
    assert (found.surface, found.symbol, found.actual) == ("read_only_data", "random_fops+0x10", "ksys_read")
    assert found.expected in names
    assert changed(watched.introspection.look()) == []


def test_a_page_mapped_elsewhere_is_read_there(watched: Watched) -> None:
    """What is compared is what the processor would execute: another page behind the same address is found."""
    with stopped(watched.guest) as still:
        offset, entry = still.page_table_entry(watched.profile.text_start)
        with still.changed_at(offset, (entry + (1 << 21)).to_bytes(8, "little")):
            assert changed(watched.introspection.look())
        assert changed(watched.introspection.look()) == []


def test_without_an_image_later_changes_are_found(watched: Watched) -> None:
    """A profile from RAM alone says that it could not compare, and tells what changes after its first look."""
    alone = Introspection(watched.memory, load_profile(None, watched.memory))
    seen = alone.look()
    assert account(seen, "kernel_text").status is CoverageStatus.PARTIAL
    assert "image" in account(seen, "kernel_text").detail
    with stopped(watched.guest) as still:
        assert changed(alone.look()) == []
        (place,) = still.places(1, seed=9)
        with still.changed(place.address, still.flipped(place, 5)):
            (found,) = changed(alone.look())
    assert found.symbol.startswith(f"{place.function}+") or watched.profile.find(found.symbol.partition("+")[0])
    assert changed(alone.look()) == []


def test_a_baseline_travels_and_tells_what_changed_since(watched: Watched) -> None:
    """A baseline kept as JSON lets another observer, without an image, tell the page that changed since."""
    watched.introspection.look()
    kept = decode(encode(watched.introspection.baseline()), "the test")
    alone = load_profile(None, watched.memory)
    assert changed(Introspection(watched.memory, watched.profile, baseline=kept).look()) == []
    with stopped(watched.guest) as still:
        (place,) = still.places(1, seed=10)
        with still.changed(place.address, still.flipped(place, 5)):
            told = changed(Introspection(watched.memory, watched.profile, baseline=kept).look())
            assert [hook.symbol.startswith("page ") for hook in told] == [False, True]
            text_only = Introspection(watched.memory, alone, baseline=kept).look()
        pages = [hook.symbol for hook in changed(text_only) if hook.surface in ("kernel_text", "syscall_dispatch")]
        assert len(pages) == 1
    other = kept.__class__(
        build_id=kept.build_id,
        kernel_offset=kept.kernel_offset + 4096,
        boot_id=kept.boot_id,
        kernel_text=(),
        read_only_data=(),
    )
    with pytest.raises(DoorwatchError, match="take a new baseline of this boot"):
        Introspection(watched.memory, watched.profile, baseline=other)


def test_modules_are_what_their_files_say(watched: Watched, tmp_path: Path) -> None:
    """The code of every loaded module equals its file as the loader lays it out; one changed byte is told by name."""
    release = watched.guest.kernel_release
    listed = watched.guest.check("cat", "/proc/modules").split("\n")
    names = [line.split()[0] for line in listed if line]
    for name in names:
        path = watched.guest.check("modinfo", "-n", name).strip()
        kept = tmp_path / release / Path(path).name
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(watched.guest.get(path))
    compared = Introspection(watched.memory, watched.profile, modules_dir=tmp_path)
    with plants.program(watched.guest, "bustle"):
        seen = compared.look()
    assert changed(seen) == []
    assert account(seen, "module_text").status is CoverageStatus.COMPLETE
    assert account(seen, "module_text").examined == sum(-(-module.text_size // 4096) for module in seen.modules)
    (module,) = (module for module in seen.modules if module.name == "virtio_blk")
    with stopped(watched.guest) as still:
        for offset in (0x40, 0x400, 0x801):
            with still.changed(module.text_address + offset, b"\xf1"):
                (found,) = changed(compared.look())
                (later,) = changed(watched.introspection.look())  # has no files, but has looked before
            assert found.symbol.startswith("virtio_blk:")
            assert later.symbol == f"virtio_blk+{offset:#x}"
    assert account(watched.introspection.look(), "module_text").status is CoverageStatus.PARTIAL


def test_the_inside_view_of_code_is_the_outside_one(watched: Watched, tmp_path: Path) -> None:
    """The guest's /proc/kcore shows the bytes that lie in its memory; one that is changed under it is told."""
    start, size = watched.profile.text_start, 64 << 12
    header = watched.guest.run(["head", "-c", "4096", "/proc/kcore"]).out
    count = elf.read_header(header, "kcore").segments
    segments = elf.read_segments(header[64 : 64 + count * elf.SEGMENT_SIZE])
    (segment,) = (each for each in segments if each.virtual <= start < each.virtual + each.file_size)
    skip = (segment.offset + start - segment.virtual) // 4096
    shown = watched.guest.run(["dd", "if=/proc/kcore", "bs=4096", f"skip={skip}", "count=64", "status=none"]).out
    core = tmp_path / "kcore"
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 4, 62, 1, 0, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 4096, start, 0, size, size, 4096)
    core.write_bytes((head + load).ljust(4096, b"\0") + shown)
    prog = open_program(watched.memory, watched.profile)
    assert list(compare_with_kcore(prog, core, start, size)) == []
    with stopped(watched.guest) as still, still.changed(start + 0x5432, b"\xf1"):
        (found,) = compare_with_kcore(prog, core, start, size)
    assert (found.address, found.outside) == (start + 0x5432, b"\xf1")


def test_no_kernel_keeps_what_its_verifier_said(watched: Watched) -> None:
    """Only the verifier's own state, freed when a program is loaded, holds its log: nothing of it can be read later."""
    prog = open_program(watched.memory, watched.profile)
    for kept in ("struct bpf_prog", "struct bpf_prog_aux", "struct btf"):
        types = [str(member.type) for member in prog.type(kept).members or ()]
        assert types
        assert not any("verifier_log" in each or "verifier_env" in each for each in types)
    assert "log" in {member.name for member in prog.type("struct bpf_verifier_env").members or ()}
