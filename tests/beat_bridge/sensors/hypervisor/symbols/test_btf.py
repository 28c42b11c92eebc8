"""BTF: types as they were written; damage is refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.sensors.hypervisor.symbols.btf import Btf, BtfError, Kind
from tests.beat_bridge.sensors.hypervisor.refusals import answered_or_refused
from tests.beat_bridge.sensors.hypervisor.symbols.tables import BtfWriter

NAMES = st.text(st.sampled_from("abcdefgh_0123"), min_size=1, max_size=12)
RUNNING = Path("/sys/kernel/btf/vmlinux")


@given(
    st.lists(st.tuples(NAMES, st.integers(0, (1 << 24) - 1), st.integers(0, 64)), max_size=40),
    st.booleans(),
    NAMES,
)
def test_members_come_back_as_written(members: list[tuple[str, int, int]], union: bool, name: str) -> None:
    """Names, types, offsets and widths of members, bit fields among them, survive."""
    writer = BtfWriter()
    number = writer.integer("int", 4, signed=True)
    written = [(member, number, offset, bits) for member, offset, bits in members]
    made = writer.struct(name, 100, written, union)
    btf = Btf(writer.done(), "test")
    assert [(m.name, m.type, m.bit_offset, m.bit_size) for m in btf.members(made)] == written
    assert btf.find(name, Kind.UNION if union else Kind.STRUCT) == made
    assert btf.record(made).size == 100


@given(st.lists(st.tuples(NAMES, st.integers(-(1 << 63), (1 << 64) - 1)), min_size=1, max_size=20), st.booleans())
def test_enumerators_of_both_widths_come_back(values: list[tuple[str, int]], signed: bool) -> None:
    """32 and 64 bits, signed and unsigned: each value is what was written, as far as its width holds it."""
    for size in (4, 8):
        bits = 8 * size
        writer = BtfWriter()
        made = writer.enumeration("e", values, size, signed)
        wanted = [(name, value & (1 << bits) - 1) for name, value in values]
        if signed:
            wanted = [(name, value - (1 << bits) if value >> bits - 1 else value) for name, value in wanted]
        btf = Btf(writer.done(), "test")
        assert list(btf.enumerators(made)) == wanted
        assert btf.constant(wanted[0][0]) == (made, wanted[0][1])


def test_a_module_continues_the_kernels_numbers_and_names() -> None:
    """Split BTF: ids and string offsets go on where the base ends, and both sides' types are found by name."""
    kernel = BtfWriter()
    number = kernel.integer("int", 4, signed=True)
    kernel.struct("shared", 4, [("value", number, 0, 0)])
    base = Btf(kernel.done(), "kernel")
    module = BtfWriter(base.end_id, base.strings_size)
    own = module.struct("own", 4, [("inner", number, 0, 0)])
    btf = Btf(module.done(), "module", base)
    assert own == base.end_id
    assert btf.find("own", Kind.STRUCT) == own
    assert [(member.name, member.type) for member in btf.members(own)] == [("inner", number)]
    shared = btf.find("shared", Kind.STRUCT)
    assert shared is not None
    assert [member.name for member in btf.members(shared)] == ["value"]
    assert btf.record(number).name == "int"
    assert base.find("own", Kind.STRUCT) is None


def test_a_name_is_not_found_by_its_tail() -> None:
    """`struct` names that end alike are told apart, as are names that are the tail of another."""
    writer = BtfWriter()
    number = writer.integer("int", 4)
    long, short = writer.struct("my_sock", 4, []), writer.struct("sock", 8, [])
    btf = Btf(writer.done(), "test")
    assert (btf.find("my_sock", Kind.STRUCT), btf.find("sock", Kind.STRUCT)) == (long, short)
    assert btf.find("ock", Kind.STRUCT) is None
    assert btf.find("", Kind.STRUCT) is None
    assert number == 1


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "too few"),
        (bytes(24), "not little-endian BTF"),
        (b"\xeb\x9f" + BtfWriter().done()[2:], "not little-endian BTF"),
        (BtfWriter().done()[:-1], "truncated"),
    ],
)
def test_what_is_no_btf_is_told_in_one_line(data: bytes, line: str) -> None:
    """Empty, foreign, big-endian and truncated data each say what they are not."""
    with pytest.raises(BtfError, match=f"^here: .*{line}"):
        Btf(data, "here")


def test_an_unknown_kind_is_refused() -> None:
    """Without knowing a kind's length nothing behind it can be read, so the whole is refused."""
    writer = BtfWriter()
    writer.add(20, "new", 0)
    with pytest.raises(BtfError, match="unknown kind 20"):
        Btf(writer.done(), "here")


def _ask_everything(btf: Btf) -> None:
    for number in range(btf.end_id):
        record = btf.record(number)
        match record.kind:
            case Kind.STRUCT | Kind.UNION:
                list(btf.members(number))
            case Kind.ENUM | Kind.ENUM64:
                list(btf.enumerators(number))
            case Kind.FUNC_PROTO:
                list(btf.parameters(number))
            case Kind.ARRAY:
                btf.element(number)
            case Kind.INT:
                btf.integer(number)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=8), st.integers(0, 1000))
def test_damaged_types_are_refused_or_read(damage: list[tuple[int, int]], cut: int) -> None:
    """Whatever the guest wrote: a BtfError, or types every one of which can be asked about."""
    writer = BtfWriter()
    number = writer.integer("int", 4, signed=True)
    writer.struct("s", 8, [("a", number, 0, 3), ("b", number, 3, 5)])
    writer.enumeration("e", [("X", 1), ("Y", 2)])
    writer.enumeration("e64", [("Z", 1 << 40)], 8)
    writer.add(13, "", number, b"\0\0\0\0\1\0\0\0", 1)
    writer.add(3, "", 0, b"\1\0\0\0\1\0\0\0\5\0\0\0")
    data = bytearray(writer.done())
    for at, value in damage:
        data[at % len(data)] = value
    with answered_or_refused("here"):
        btf = Btf(bytes(data[: max(0, len(data) - cut)] if cut < 20 else data), "here")
        _ask_everything(btf)
        btf.find("s", Kind.STRUCT)
        btf.constant("Z")


@pytest.mark.live
def test_the_running_kernels_types_are_read_whole() -> None:
    """Every one of this kernel's types can be asked about, and a pointer-sized one has the size that it has here."""
    btf = Btf(RUNNING.read_bytes(), str(RUNNING))
    _ask_everything(btf)
    assert btf.end_id > 10_000
    number = btf.find("list_head", Kind.STRUCT)
    assert number is not None
    assert [(m.name, m.bit_offset) for m in btf.members(number)] == [("next", 0), ("prev", 64)]
