"""Symbols by name and by address."""

import zlib
from array import array

from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.sensors.hypervisor.symbols.symbol_table import SymbolTable

SYMBOLS = st.lists(
    st.tuples(st.integers(0, 200), st.text(st.sampled_from("abT."), min_size=1, max_size=4)), min_size=1, max_size=60
).map(sorted)


@given(SYMBOLS, st.integers(0, 220))
def test_lookups_agree_with_a_plain_search(symbols: list[tuple[int, str]], address: int) -> None:
    """By name: every place that bears it, in order. By address: the first symbol at the nearest address below."""
    table = SymbolTable.of(array("Q", [at for at, _ in symbols]), ["t" + name for _, name in symbols])
    for name in {name for _, name in symbols} | {"absent", "", "a\nb"}:
        assert list(table.places(name)) == [place for place, symbol in enumerate(symbols) if symbol[1] == name]
    below = [at for at, _ in symbols if at <= address]
    wanted = [at for at, _ in symbols].index(max(below)) if below else None
    assert table.before(address) == wanted
    for place, (at, name) in enumerate(symbols):
        found = table.at(place)
        above = [other for other, _ in symbols if other > at]
        assert (found.name, found.letter, found.address, found.size) == (name, "t", at, min(above) - at if above else 0)


def test_names_with_one_checksum_are_told_apart() -> None:
    """`plumless` and `buckeroo` have the same CRC-32; each is found in its own place."""
    table = SymbolTable.of(array("Q", [1, 2, 3]), ["tplumless", "tbuckeroo", "tother"])
    assert [list(table.places(name)) for name in ("plumless", "buckeroo", "other")] == [[0], [1], [2]]
    assert zlib.crc32(b"plumless") == zlib.crc32(b"buckeroo")
