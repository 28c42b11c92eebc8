"""Finding the kernel that runs in a guest's RAM, and not believing just any note."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.symbols.vmcoreinfo import find_vmcoreinfo, parse
from tests.beat_bridge.sensors.hypervisor.ram import Ram
from tests.beat_bridge.sensors.hypervisor.refusals import answered_or_refused
from tests.beat_bridge.sensors.hypervisor.symbols.tables import BASE, SmallKernel

KERNEL = SmallKernel()
RAM = bytes(KERNEL.ram(note=b""))


def with_notes(*notes: tuple[int, bytes]) -> Ram:
    """The kernel's RAM with these texts at these addresses."""
    ram = bytearray(RAM)
    for at, note in notes:
        ram[at : at + len(note)] = note
    return Ram(bytes(ram))


def test_the_note_of_the_running_kernel_is_found() -> None:
    """Release, build id, slide and physical base are read from RAM alone."""
    found = find_vmcoreinfo(with_notes((0x8_0000, KERNEL.note)))
    assert (found.release, found.build_id, found.kernel_offset) == ("6.1.0-test", bytes(range(20)).hex(), KERNEL.slide)
    assert found.physical(BASE + KERNEL.slide) == KERNEL.physical


def test_a_stale_or_forged_note_is_passed_over() -> None:
    """Notes whose slide or place the page tables do not confirm are skipped, although they stand first in RAM."""
    false = SmallKernel(slide=0x200_0000).note, SmallKernel(physical=0x40_0000).note
    ram = with_notes((0x1000, false[0]), (0x2000, false[1]), (0x8_0000, KERNEL.note))
    assert find_vmcoreinfo(ram).kernel_offset == KERNEL.slide


def test_page_tables_that_lead_elsewhere_prove_nothing() -> None:
    """A note whose tables do map the kernel, but not to where the note says it lies, is false."""
    forged = SmallKernel(physical=0x30_0000)
    tables = RAM[KERNEL.physical + 0x11000 : KERNEL.physical + 0x12000]
    with pytest.raises(DoorwatchError, match="none of which fits"):
        find_vmcoreinfo(with_notes((0x8_0000, forged.note), (0x31_1000, tables)))


def test_only_false_notes_is_another_failure_than_none() -> None:
    """No note, and notes that nothing confirms, are told apart: the second is what a forger leaves."""
    with pytest.raises(DoorwatchError, match="no VMCOREINFO note"):
        find_vmcoreinfo(Ram(bytes(4 << 20)))
    forged = with_notes((0x8_0000, SmallKernel(slide=0x200_0000).note))
    with pytest.raises(DoorwatchError, match=r"1 VMCOREINFO notes, none of which fits .* forged"):
        find_vmcoreinfo(forged)


def test_a_note_at_the_very_end_of_ram_is_no_crash() -> None:
    """A note whose page RAM does not hold whole is passed over."""
    torn = Ram(RAM + KERNEL.note[:100])
    with pytest.raises(DoorwatchError, match="no VMCOREINFO note"):
        find_vmcoreinfo(torn)


@pytest.mark.parametrize("hostile", ["../../../../etc/passwd", "", "ABCDEF0123456789ABCDEF", "00" * 33, "0" * 15])
def test_a_build_id_that_is_none_is_dropped(hostile: str) -> None:
    """The guest writes this text and it becomes a file name: only lower-case hexadecimal digits are one."""
    note = parse(KERNEL.note.replace(KERNEL.build_id.hex().encode(), hostile.encode()))
    assert note is not None
    assert note.build_id == ""


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(KERNEL.note) - 1), st.integers(0, 255)), min_size=1, max_size=10))
def test_damaged_notes_are_read_or_refused(damage: list[tuple[int, int]]) -> None:
    """Whatever stands in a note, it is a value or none, and searching goes on or ends in one line."""
    note = bytearray(KERNEL.note)
    for at, value in damage:
        note[at] = value
    with answered_or_refused("guest memory"):
        find_vmcoreinfo(with_notes((0x8_0000, bytes(note))))


def test_memory_that_is_gone_is_told_from_memory_without_a_kernel() -> None:
    """Where nothing can be read, the line says so and why; where something can, that there is no kernel."""
    with pytest.raises(DoorwatchError, match="none of it can be read: 0x0 is unreadable"):
        find_vmcoreinfo(Ram(RAM, range(len(RAM))))
    with pytest.raises(DoorwatchError, match="no VMCOREINFO note in it"):
        find_vmcoreinfo(Ram(RAM, range(4096, len(RAM))))
