"""The lab's own hold on QEMU: a few commands of its monitor protocol (QMP), in order, on a socket nobody else uses."""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.lab.guest.channel import GuestError

ANSWER_SECONDS = 60.0


def execute(path: Path, command: str, **arguments: Any) -> Any:
    """Connect, carry out one command, and give what it returns.

    Raises:
        GuestError: QEMU refuses, or does not answer.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(path))
            with connection.makefile("rwb") as stream:
                answers = (json.loads(line) for line in stream)
                next(answers)  # its greeting
                for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                    stream.write(json.dumps(request).encode() + b"\n")
                    stream.flush()
                    answer = next(answer for answer in answers if "event" not in answer)
                    if "error" in answer:
                        raise GuestError(f"{request['execute']}: {answer['error']['desc']}")
                return answer["return"]
    except (OSError, StopIteration) as error:
        raise GuestError(f"QEMU's monitor does not answer to {command}: {error}") from error


@contextlib.contextmanager
def paused(path: Path) -> Iterator[None]:
    """The guest stands still meanwhile."""
    execute(path, "stop")
    try:
        yield
    finally:
        execute(path, "cont")
