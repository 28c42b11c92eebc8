"""Inventories as JSON."""

import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.inventory import decode, encode
from tests.inventories.builders import bpfdoor


def test_what_was_encoded_is_decoded() -> None:
    """An inventory comes back as it was."""
    assert decode(encode(bpfdoor()), "x") == bpfdoor()


@pytest.mark.parametrize(
    "moment", ["2026-01-02T12:00:00", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59.999999Z"]
)
def test_a_moment_that_cannot_be_reckoned_with_is_refused(moment: str) -> None:
    """A forged view without a time zone, or at the end of all days, is one line, before anything is compared."""
    forged = encode(bpfdoor()).replace(b"2026-01-02T12:00:00Z", moment.encode())
    assert moment.encode() in forged
    with pytest.raises(DoorwatchError, match=r"view: not a Doorwatch inventory: `\$\.taken_at` is no moment"):
        decode(forged, "view")
