"""The command channel's frames."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.guest.frames import HEADER_LIMIT, PAYLOAD_LIMIT, Decoder, Frame, FrameError, encode

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
MESSAGES = st.lists(st.tuples(st.dictionaries(st.text(), VALUES, max_size=4), st.binary(max_size=200)), max_size=5)


@given(MESSAGES, st.lists(st.integers(1, 40)))
def test_frames_survive_any_cutting(messages: list[tuple[dict[str, Any], bytes]], pieces: list[int]) -> None:
    """What is decoded is what was encoded, in whatever pieces the bytes arrive."""
    data = b"".join(encode(header, payload) for header, payload in messages)
    decoder = Decoder()
    decoded: list[Frame] = []
    for size in pieces:
        decoded += decoder.feed(data[:size])
        data = data[size:]
    decoded += decoder.feed(data)
    assert [tuple(frame) for frame in decoded] == messages


@given(st.binary(max_size=64))
def test_foreign_bytes_are_no_frames(data: bytes) -> None:
    """Any bytes are waited for, decoded, or refused in one way, and never allocate what they announce."""
    decoder = Decoder()
    try:
        frames = list(decoder.feed(data))
    except FrameError:
        return
    assert sum(len(encode(*frame)) for frame in frames) <= len(data) + 64


@pytest.mark.parametrize(
    "data",
    [
        (HEADER_LIMIT + 1).to_bytes(4) + bytes(4),
        bytes(4) + (PAYLOAD_LIMIT + 1).to_bytes(4),
        (2).to_bytes(4) + bytes(4) + b"[]",
        (1).to_bytes(4) + bytes(4) + b"{",
        (1).to_bytes(4) + bytes(4) + b"\xff",
        (HEADER_LIMIT).to_bytes(4) + bytes(4) + b"[" * HEADER_LIMIT,
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    """Lengths above the limits, other JSON than an object, and what is no JSON are each an error."""
    with pytest.raises(FrameError):
        list(Decoder().feed(data))


def test_large_messages_are_not_sent() -> None:
    """A sender learns that its message is too large before the receiver does."""
    with pytest.raises(FrameError):
        encode({}, bytes(PAYLOAD_LIMIT + 1))
    with pytest.raises(FrameError):
        encode({"argv": "x" * HEADER_LIMIT})
