"""The tester's end of the command channel."""

import socket
import time
from typing import Any, NamedTuple

from tests.lab.guest.frames import Decoder, Frame, encode

GRACE_SECONDS = 30.0
"""How much longer than the guest's own deadline an answer may take: an emulated processor under load is slow."""
_READ_SIZE = 1 << 18


class GuestError(Exception):
    """The guest did not do what it was asked."""


class GuestTimeoutError(GuestError):
    """It took too long."""


class Completed(NamedTuple):
    """A command that ended."""

    code: int
    """Exit code; minus the signal's number where one ended it."""
    out: bytes
    err: bytes


class Started(NamedTuple):
    """A process that is ready and stays."""

    pid: int
    out: bytes
    """What it said, `ready` included."""


class Channel:
    """A connection to the guest's `server`; one request at a time."""

    def __init__(self, connection: socket.socket, grace: float = GRACE_SECONDS) -> None:
        self._connection = connection
        self._grace = grace
        self._decoder = Decoder()
        self._frames: list[Frame] = []
        self._requests = 0

    def close(self) -> None:
        """Hang up, which ends the guest."""
        self._connection.close()

    def wait_ready(self, seconds: float) -> str:
        """Return the kernel release that the guest says it runs when it first speaks."""
        return str(self._receive(time.monotonic() + seconds).header["ready"])

    def ask(self, operation: str, payload: bytes = b"", timeout: float = 30, **header: Any) -> Frame:
        """Send a request and wait for its answer.

        Raises:
            GuestTimeoutError: None came.
            GuestError: The guest answers that it could not, or is gone.
        """
        self._requests += 1
        deadline = time.monotonic() + timeout + self._grace
        request = encode({"id": self._requests, "operation": operation, "timeout": timeout, **header}, payload)
        self._connection.settimeout(timeout + self._grace)
        try:
            self._connection.sendall(request)
        except TimeoutError as error:
            raise GuestTimeoutError(f"the guest does not take a request ({operation})") from error
        except OSError as error:
            raise GuestError(f"the guest is gone: {error}") from error
        while True:
            answer = self._receive(deadline)
            if answer.header.get("id") == self._requests:  # an older id is the late answer to a request given up
                break
        if "error" in answer.header:
            raise GuestError(f"{operation}: {answer.header['error']}")
        return answer

    def _receive(self, deadline: float) -> Frame:
        while not self._frames:
            self._connection.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self._connection.recv(_READ_SIZE)
            except TimeoutError as error:
                raise GuestTimeoutError("the guest does not answer") from error
            except OSError as error:
                raise GuestError(f"the guest is gone: {error}") from error
            if not data:
                raise GuestError("the guest is gone: it hung up")
            self._frames += self._decoder.feed(data)
        return self._frames.pop(0)
