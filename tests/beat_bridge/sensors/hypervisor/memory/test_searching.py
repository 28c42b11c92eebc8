"""Finding bytes in guest RAM."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.sensors.hypervisor.memory import searching
from beat_bridge.sensors.hypervisor.memory.raw_dump import RawDump
from beat_bridge.sensors.hypervisor.memory.searching import occurrences
from tests.beat_bridge.sensors.hypervisor.ram import Ram

NEEDLE = b"needle"


@given(st.lists(st.sampled_from([b"need", b"le", NEEDLE, b"x", b"needleneedle"]), max_size=60), st.integers(7, 40))
def test_every_occurrence_is_found_once(parts: list[bytes], chunk: int) -> None:
    """Whatever the size of the pieces RAM is read in, all occurrences are found, those across an edge too."""
    data = b"".join(parts)
    whole, before = [at for at in range(len(data)) if data.startswith(NEEDLE, at)], searching.CHUNK
    searching.CHUNK = chunk
    try:
        assert list(occurrences(Ram(data), NEEDLE)) == whole
    finally:
        searching.CHUNK = before


def test_unreadable_ram_is_passed_over() -> None:
    """A page that faults hides what is in it, and nothing beside it."""
    size = searching.CHUNK
    data = bytearray(3 * size)
    places = [10, size - 6, size + 4096 - 6, size + 4096 + 10, size + 8192 - 3, size + 8192 + 10, 2 * size + 10]
    for at in places:
        data[at : at + 6] = NEEDLE
    found = list(occurrences(Ram(bytes(data), range(size + 4096, size + 8192)), NEEDLE))
    assert found == [10, size - 6, size + 4096 - 6, size + 8192 + 10, 2 * size + 10]


def test_holes_are_not_read(tmp_path: Path) -> None:
    """In a sparse file of a terabyte the search reads only what is there, or it would not end today."""
    path = tmp_path / "ram"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
        stream.seek(1 << 39)
        stream.write(NEEDLE)
    memory = RawDump(path)
    assert list(occurrences(memory, NEEDLE)) == [1 << 39]
    memory.close()
