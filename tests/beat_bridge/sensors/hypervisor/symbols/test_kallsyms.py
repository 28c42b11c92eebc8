"""The kernel's symbol table: every arrangement is read, and nothing else is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.symbols.kallsyms import decode
from tests.beat_bridge.sensors.hypervisor.refusals import answered_or_refused
from tests.beat_bridge.sensors.hypervisor.symbols.tables import ARRANGEMENTS, BASE, Named, kallsyms

LETTERS = st.sampled_from("ABDRTWabdrtw")
NAMES = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789_.$"), min_size=1, max_size=40)
ADDRESSES = st.one_of(st.integers(0, 0x40000), st.integers(BASE, BASE + (1 << 28)))


@st.composite
def tables(draw: st.DrawFn) -> list[Named]:
    """Symbols in ascending order, the kernel's first byte among them."""
    count = draw(st.integers(1, 700))
    addresses = sorted([BASE, *draw(st.lists(ADDRESSES, min_size=count, max_size=count))])
    few = draw(st.lists(st.tuples(LETTERS, NAMES), min_size=1, max_size=12))
    return [(at, f"{''.join(few[number % len(few)])}{number}") for number, at in enumerate(addresses)]


@settings(max_examples=40, deadline=None)
@given(tables(), st.sampled_from(ARRANGEMENTS), st.integers(0, 200), st.binary(max_size=64))
def test_every_arrangement_gives_back_what_was_written(
    symbols: list[Named], arrangement: str, words: int, behind: bytes
) -> None:
    """Names and addresses come back as they were put in, wherever the table lies and whatever surrounds it."""
    table = decode(bytes(8 * words) + kallsyms(symbols, arrangement) + behind, "test")
    assert list(zip(table.addresses, table.names, strict=True)) == symbols
    assert table.base == BASE


@settings(max_examples=30, deadline=None)
@given(tables(), st.sampled_from(ARRANGEMENTS), st.integers(0, 1 << 8).map(lambda n: n << 21))
def test_the_newer_encoding_is_told_from_the_older(symbols: list[Named], arrangement: str, slide: int) -> None:
    """Unsigned distances from the base (6.15 and later), in a kernel that KASLR moved, give the same addresses."""
    fixed = [(max(at, BASE), name) for at, name in symbols]
    table = decode(kallsyms(fixed, arrangement, slide, absolute=False), "test")
    assert list(zip(table.addresses, table.names, strict=True)) == [(at + slide, name) for at, name in fixed]


def test_a_name_of_more_than_127_tokens_has_a_length_of_two_bytes() -> None:
    """Rust's long names, for which 5.18 widened the length, are read whole."""
    long = "T" + "".join(chr(ord("a") + at % 26) * 3 for at in range(400))
    symbols = [(BASE + at, name) for at, name in enumerate(["Tfirst", long, "Tlast"])]
    assert decode(kallsyms(symbols, "6.4"), "test").names == ["Tfirst", long, "Tlast"]


def test_what_stands_before_the_token_table_need_not_be_zero() -> None:
    """In the 6.2 arrangement the byte in front of the tokens may be any: the index says where they begin."""
    symbols = [(BASE + at, f"Tname_{at}") for at in range(8 * 33)]  # the sequence bytes fill their eight exactly
    assert len(decode(kallsyms(symbols, "6.2"), "test").names) == len(symbols)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(ARRANGEMENTS))
def test_a_damaged_table_is_refused_or_read(data: st.DataObject, arrangement: str) -> None:
    """Whatever a guest writes over the table, the answer is symbols in ascending order or one clear line."""
    table = bytearray(kallsyms([(BASE + at, f"Tname_{at}") for at in range(600)], arrangement))
    for _ in range(data.draw(st.integers(1, 8))):
        table[data.draw(st.integers(0, len(table) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(table)))
    with answered_or_refused("here"):
        found = decode(bytes(table[: len(table) - cut // 3]), "here")
        assert list(found.addresses) == sorted(found.addresses)
        assert len(found.addresses) == len(found.names)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"".join(b"%d\0" % digit for digit in range(10)),
        b"".join(b"%d\0" % digit for digit in range(10)) * 20_000,
        bytes(1 << 20) + b"".join(b"%d\0" % digit for digit in range(10)) + bytes(1 << 20),
        (b"\xff\xff\x0f" + bytes(5)) * 50_000 + kallsyms([(BASE, "T_text")])[16:],
    ],
)
def test_bait_is_refused(data: bytes) -> None:
    """Digits strewn about, zeros, and counts of a million before no names are no table, and found out soon."""
    with pytest.raises(DoorwatchError, match="no kallsyms table"):
        decode(data, "bait")
