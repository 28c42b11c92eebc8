"""Frames of the command channel: a JSON object, then raw bytes, each after its length.

Both ends use this module: it needs nothing but the standard library.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

HEADER_LIMIT = 256 * 1024
PAYLOAD_LIMIT = 16 * 1024 * 1024
_LENGTHS = struct.Struct(">II")


class FrameError(Exception):
    """The bytes are not frames, or a frame is larger than allowed; the stream cannot be used further."""


class Frame(NamedTuple):
    """One message."""

    header: dict[str, Any]
    payload: bytes


def encode(header: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """One message as bytes.

    Raises:
        FrameError: It is larger than allowed.
    """
    text = json.dumps(header).encode()
    if len(text) > HEADER_LIMIT or len(payload) > PAYLOAD_LIMIT:
        raise FrameError(f"a frame of {len(text)} and {len(payload)} bytes is larger than allowed")
    return _LENGTHS.pack(len(text), len(payload)) + text + payload


class Decoder:
    """Puts frames together from bytes that arrive in any pieces."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take more bytes; give the frames that they complete.

        Raises:
            FrameError: What came is no frame.
        """
        self._data += data
        while len(self._data) >= _LENGTHS.size:
            header_size, payload_size = _LENGTHS.unpack_from(self._data)
            if header_size > HEADER_LIMIT or payload_size > PAYLOAD_LIMIT:
                raise FrameError(f"a frame of {header_size} and {payload_size} bytes is announced")
            body = _LENGTHS.size + header_size
            if len(self._data) < body + payload_size:
                return
            try:
                header = json.loads(self._data[_LENGTHS.size : body])
            except (ValueError, RecursionError) as error:
                raise FrameError(f"a frame's header is not JSON: {error}") from error
            if not isinstance(header, dict):
                raise FrameError("a frame's header is not a JSON object")
            payload = bytes(self._data[body : body + payload_size])
            del self._data[: body + payload_size]
            yield Frame(header, payload)
