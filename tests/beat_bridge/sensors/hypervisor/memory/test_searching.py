"""Finding pages in guest RAM."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beat_bridge.sensors.hypervisor.memory import searching
from beat_bridge.sensors.hypervisor.memory.raw_dump import RawDump
from beat_bridge.sensors.hypervisor.memory.searching import PAGE, pages_beginning_with
from tests.beat_bridge.sensors.hypervisor.ram import Ram

NEEDLE = b"needle"
PAGES = st.lists(st.sampled_from([b"", NEEDLE, b"need", b"xneedle", NEEDLE * 2, b"n" * PAGE]), min_size=1, max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PAGES, st.integers(1, 9), st.integers(0, PAGE - 1), st.integers(0, 39))
def test_every_page_is_found_once(
    monkeypatch: pytest.MonkeyPatch, pages: list[bytes], chunk: int, cut: int, bad: int
) -> None:
    """Whatever RAM is read in, all pages that begin so are found, but for the unreadable one and a cut-off one."""
    monkeypatch.setattr(searching, "CHUNK", chunk * PAGE)
    data = b"".join(page.ljust(PAGE, b"\0") for page in pages)
    ram = Ram(data[: len(data) - cut], range(bad * PAGE + 100, bad * PAGE + 101))
    readable = [number for number in range(len(pages)) if number != bad]
    wanted = [number * PAGE for number in readable if data[: len(data) - cut].startswith(NEEDLE, number * PAGE)]
    assert list(pages_beginning_with(ram, NEEDLE)) == wanted


def test_holes_are_not_read(tmp_path: Path) -> None:
    """In a sparse file of a terabyte the search reads only what is there, or it would not end today."""
    path = tmp_path / "ram"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
        stream.seek(1 << 39)
        stream.write(NEEDLE)
    memory = RawDump(path)
    assert list(pages_beginning_with(memory, NEEDLE)) == [1 << 39]
    memory.close()
