"""One line of DRAKVUF's JSON output as a value, whatever the line holds."""

import re
from datetime import UTC, datetime

import msgspec

LONGEST_LINE = 64 << 10
"""Bytes; a command line may be long, and longer ones are no event."""
_CONTROL = re.compile("[\x00-\x1f\udc80-\udcff]")
_Text = str | None
_Number = int | str | None


class Event(msgspec.Struct, frozen=True, rename="pascal"):
    """The fields that are read here; a line may have others."""

    plugin: str
    time_stamp: str | float | None = None
    """Seconds since the epoch, with microseconds."""
    pid: _Number = msgspec.field(default=None, name="PID")
    ppid: _Number = msgspec.field(default=None, name="PPID")
    tid: _Number = msgspec.field(default=None, name="TID")
    user_id: _Number = None
    process_name: _Text = None
    """Path of the executable where it could be told."""
    method: _Text = None
    running_process: _Text = None
    command_line: _Text = None
    image_path_name: _Text = None
    file_name: _Text = None
    environment: _Text = None
    exit_status: _Number = None
    new_pid: _Number = None
    value: _Text = None
    type: _Text = None
    ret: _Number = None
    domain: _Number = msgspec.field(default=None, name="domain")
    protocol: _Number = msgspec.field(default=None, name="protocol")
    socket_type: _Number = msgspec.field(default=None, name="type")
    sockfd: _Number = msgspec.field(default=None, name="sockfd")
    fd: _Number = msgspec.field(default=None, name="fd")
    level: _Number = msgspec.field(default=None, name="level")
    optname: _Number = msgspec.field(default=None, name="optname")

    @property
    def seconds(self) -> float | None:
        """When, since the epoch; None where the line does not say, or says no moment."""
        try:
            told = float(self.time_stamp) if self.time_stamp is not None else None
            if told is None:
                return None
            datetime.fromtimestamp(told, UTC)
        except (ValueError, OverflowError, OSError):
            return None
        return told if told >= 0 else None


_DECODER = msgspec.json.Decoder(Event)


def parse(line: bytes) -> Event:
    """A line as an event.

    A guest chooses the names in it, and a name that is no UTF-8 or holds control characters, which DRAKVUF passes on,
    must not hide its event: such bytes are escaped and the line is read again.

    Raises:
        ValueError: It is none.
    """
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    text = line.decode("utf-8", "surrogateescape")
    try:
        return _DECODER.decode(_CONTROL.sub(_escaped, text.strip()).encode())
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\\\x{code - 0xDC00:02x}" if code >= 0xDC80 else f"\\u{code:04x}"


def number(told: int | str | None) -> int | None:
    """A number that DRAKVUF writes as one or as hexadecimal text; None where there is none within 64 bits."""
    if isinstance(told, str):
        try:
            told = int(told[:20], 0)
        except ValueError:
            return None
    return told if told is not None and 0 <= told < 1 << 64 else None
