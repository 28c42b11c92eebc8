"""A guest that stands still goes on even if this process is killed.

Signals that can be caught wait until it goes on (`interruptions`); SIGKILL and the out-of-memory killer do not. QMP
serves one client at a time, so nobody else could say `cont`: a small process of its own holds the same connection, and
says it when the pipe to this process ends without a word.
"""

import contextlib
import os
import select
import subprocess
import sys
from typing import Self

from beat_bridge.errors import DoorwatchError

START_SECONDS = 5.0
END_SECONDS = 5.0
_HELD = """
import os, select, sys
connection, told = int(sys.argv[1]), b""
os.write(1, b".")
if not os.read(0, 1):
    os.write(connection, b'{"execute": "cont", "id": "doorwatch-lifeline"}\\n')
    answer = select.poll()
    answer.register(connection, select.POLLIN)
    while b"doorwatch-lifeline" not in told and answer.poll(10_000):
        part = os.read(connection, 65536)
        if not part:
            break
        told = told[-64:] + part
"""
"""Waits for the answer: QEMU forgets what a client asked for that has hung up. Nothing is imported but the library."""


class Lifeline:
    """Held from before a guest is stopped until it has gone on."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    @classmethod
    def of(cls, connection: int) -> Self:
        """Begin.

        Args:
            connection: Descriptor of a QMP conversation that has been greeted.

        Raises:
            DoorwatchError: The process cannot be started; the guest should not be stopped then.
        """
        argv = [sys.executable, "-I", "-S", "-c", _HELD, str(connection)]
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(connection,),
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            raise DoorwatchError(
                f"cannot start the process that lets a guest go on if this one is killed: {error.strerror}"
            ) from error
        lifeline = cls(process)
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            _await_start(process.stdout.fileno())
        except BaseException:
            process.kill()  # before anything was stopped: it has nothing to say
            lifeline.let_go()
            raise
        return lifeline

    def let_go(self) -> None:
        """The guest has gone on: nothing is to be said any more."""
        with contextlib.suppress(OSError):  # it has ended
            assert self._process.stdin is not None  # noqa: S101 - it is a pipe
            os.write(self._process.stdin.fileno(), b".")
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _await_start(descriptor: int) -> None:
    started = select.poll()
    started.register(descriptor, select.POLLIN)
    if not started.poll(START_SECONDS * 1000) or not os.read(descriptor, 1):
        raise DoorwatchError(f"the process that lets a guest go on does not start in {START_SECONDS:g} s")
