"""The guest's view of its own code, beside the one from outside."""

import struct
from pathlib import Path

import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.integrity.kcore import Difference, compare_with_kcore
from tests.beat_bridge.sensors.hypervisor.kernel.parts import BASE, mapped, program

START = BASE + 0x4000
SIZE = 0x42000


def _core(path: Path, content: bytes, kind: int = 4) -> Path:
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", kind, 62, 1, 0, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 4096, START, 0, len(content), len(content), 4096)
    path.write_bytes((header + segment).ljust(4096, b"\0") + content)
    return path


def test_a_byte_that_the_inside_view_hides_is_told(tmp_path: Path) -> None:
    """Equal views tell nothing; bytes that differ are told with both sides, wherever they are in the range."""
    memory = mapped()
    content = bytes(range(256)) * (SIZE // 256)
    memory.ram[0x4000 : 0x4000 + SIZE] = content
    core = _core(tmp_path / "kcore", content)
    prog = program(memory)
    assert list(compare_with_kcore(prog, core, START, SIZE)) == []
    memory.ram[0x4000 + 0x30005] ^= 0xFF
    memory.ram[0x4000 + SIZE - 1] ^= 0xFF
    assert list(compare_with_kcore(prog, core, START, SIZE)) == [
        Difference(START + 0x30005, b"\x05", b"\xfa"),
        Difference(START + SIZE - 1, b"\xff", b"\x00"),
    ]


def test_what_is_no_core_of_the_range_is_refused(tmp_path: Path) -> None:
    """Another kind of file, a core of another range, a truncated or missing one: one line each."""
    prog = program(mapped())
    core = _core(tmp_path / "kcore", bytes(4096))
    with pytest.raises(DoorwatchError, match="not a core that holds"):
        list(compare_with_kcore(prog, core, START, SIZE))
    with pytest.raises(DoorwatchError, match="not a core that holds"):
        list(compare_with_kcore(prog, _core(tmp_path / "program", bytes(SIZE), kind=2), START, SIZE))
    with pytest.raises(DoorwatchError, match="not a core that holds"):
        list(compare_with_kcore(prog, _core(tmp_path / "later", bytes(SIZE)), START - 4096, 4096))
    with pytest.raises(DoorwatchError, match="No such file"):
        list(compare_with_kcore(prog, tmp_path / "none", START, SIZE))
    core.write_bytes(b"no ELF")
    with pytest.raises(DoorwatchError, match="not a 64-bit"):
        list(compare_with_kcore(prog, core, START, SIZE))
    cut = _core(tmp_path / "cut", bytes(SIZE))
    cut.write_bytes(cut.read_bytes()[:8192])
    with pytest.raises(DoorwatchError, match="truncated"):
        list(compare_with_kcore(prog, cut, START, SIZE))
