"""The counts survive whatever happens to one of the two slots."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.shipping.cursor import Counts, Cursor


@given(writes=st.integers(1, 5), cut=st.integers(0, 4096), fill=st.binary(min_size=1, max_size=1))
@settings(max_examples=40)
def test_a_torn_write_leaves_the_counts_before_it(
    tmp_path_factory: pytest.TempPathFactory, writes: int, cut: int, fill: bytes
) -> None:
    """A crash anywhere within a slot's write leaves either the new counts or those before, never others."""
    path = tmp_path_factory.mktemp("cursor") / "cursor"
    cursor = Cursor(path)
    for number in range(1, writes + 1):
        cursor.write(msgspec.structs.replace(cursor.counts, delivered=number))
    cursor.close()
    content = bytearray(path.read_bytes())
    slot = writes % 2 * 4096
    content[slot + cut : slot + 4096] = fill * (4096 - cut)
    path.write_bytes(content)
    reopened = Cursor(path)
    assert reopened.counts.delivered in {writes, writes - 1}
    reopened.close()


def test_both_slots_damaged_is_said(tmp_path: Path) -> None:
    """A cursor that cannot be read is one line that says what to do, not counts from zero."""
    path = tmp_path / "cursor"
    Cursor(path).close()
    path.write_bytes(b"x" * 8192)
    with pytest.raises(DoorwatchError, match="damaged; move it away"):
        Cursor(path)


def test_a_new_cursor_starts_at_nothing(tmp_path: Path) -> None:
    """The first counts are zero, and private to the owner."""
    cursor = Cursor(tmp_path / "cursor")
    assert cursor.counts == Counts()
    assert (tmp_path / "cursor").stat().st_mode & 0o777 == 0o600
    cursor.close()
