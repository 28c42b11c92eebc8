"""Judging what DRAKVUF saw of a guest, for `doorwatch scan`."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec

from beat_bridge.commands.seen import Seen
from beat_bridge.detectors import detect
from beat_bridge.detectors.cross_view import reportable
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.host import Host
from beat_bridge.sensors.drakvuf import read_stream
from beat_bridge.terminal import one_line

_OTHERS = ("memory", "guest", "libvirt", "qmp", "kernels", "modules", "inside", "inside_command", "inventory")


def asked_of_drakvuf(lines: Path, asked: Mapping[str, Any]) -> Seen:
    """What the options of `doorwatch scan` ask to be judged of DRAKVUF's JSON lines.

    Args:
        lines: `-` for standard input.
        asked: The other options by name.

    Raises:
        DoorwatchError: The lines cannot be read, or nobody says of which guest they are.
        click.UsageError: Something else is asked for as well.
    """
    if others := [name.replace("kernels", "kernel").replace("_", "-") for name in _OTHERS if asked.get(name)]:
        raise click.UsageError(f"--drakvuf judges what was recorded: leave out --{others[0]}")
    host_id, name = asked["host_id"], asked["host_name"]
    if not host_id and not name:
        raise DoorwatchError(
            "DRAKVUF's lines do not say of which guest they are: say it with --host-id (its /etc/machine-id) or "
            "--host-name"
        )
    host = Host(id=host_id or f"hostname:{name}", name=name or host_id, boot_id="")
    source = "standard input" if str(lines) == "-" else str(lines)
    try:
        with _opened(lines) as stream:
            reading = read_stream(stream, host)
    except OSError as error:
        raise DoorwatchError(f"{source}: cannot read: {error.strerror}") from error
    seen = reading.inventory
    if not reading.events:  # no event says when
        seen = msgspec.structs.replace(seen, taken_at=datetime.now(UTC))
    return Seen(inventory=seen, findings=reportable(detect(seen)), what=f"what DRAKVUF saw of {one_line(host.name)}")


def _opened(lines: Path) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if str(lines) == "-" else lines.open("rb")
