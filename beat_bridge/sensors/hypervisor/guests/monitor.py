"""One conversation with QEMU's monitor (QMP), bounded in time and size.

A QMP socket serves one client at a time: whoever comes second is connected, but not greeted, until the first leaves.
"""

import asyncio
import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar

import msgspec

from beat_bridge.errors import DoorwatchError, MissingExtraError
from beat_bridge.sensors.hypervisor.guests import GuestGone
from beat_bridge.sensors.hypervisor.guests.peer import what_keeps_it
from beat_bridge.terminal import printable

MAX_ANSWER = 4 << 20
"""Bytes of one answer; the memory tree of a large machine has some hundred thousand."""
FAREWELL_SECONDS = 1.0
FOLLOW_SECONDS = 600.0
"""How long a request that may yet be carried out is followed, so that it can be undone."""
T = TypeVar("T")
_NONE: Mapping[str, object] = MappingProxyType({})


class RefusedError(DoorwatchError):
    """QEMU understood and refused."""


class Monitor:
    """A context manager; it is connected when it is entered."""

    def __init__(self, path: Path, seconds: float) -> None:
        """Describe the conversation.

        Args:
            path: The socket.
            seconds: What connecting, and each request, may take.
        """
        self._path = path
        self._seconds = seconds
        self.peer = 0
        """Process id of who listens on the socket; 0 where it is in another PID namespace."""

    def __enter__(self) -> Self:
        try:
            from qemu.qmp import QMPClient  # noqa: PLC0415 - an optional library
        except ImportError as error:
            raise MissingExtraError("qemu.qmp", "hypervisor", "talking to QEMU") from error
        connection = self._connect()
        self._loop = asyncio.new_event_loop()
        self._client = QMPClient("doorwatch", readbuflen=MAX_ANSWER)
        self._client.logger = _silent()
        self._client.events.event_filter = lambda _: False  # nobody reads them, so nobody may pile them up
        try:
            self._wait(self._client.connect(connection), "its greeting", self._seconds)
        except BaseException:
            self._leave()
            connection.close()
            raise
        self._connection = connection
        return self

    def descriptor(self) -> int:
        """Of the connection; the conversation keeps it."""
        return self._connection.fileno()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._leave()

    def ask(self, command: str, arguments: Mapping[str, object] = _NONE, seconds: float | None = None) -> Any:
        """Carry out a command.

        Args:
            command: As QMP names it.
            arguments: Of the command, as QMP names them.
            seconds: What it may take, where that is more than usual.

        Raises:
            RefusedError: QEMU refuses.
            DoorwatchError: No answer, or none that can be understood.
        """
        work = self._client.execute(command, dict(arguments))
        return self._wait(work, f"an answer to {command}", seconds or self._seconds)

    def ask_for(
        self, kind: type[T], command: str, arguments: Mapping[str, object] = _NONE, seconds: float | None = None
    ) -> T:
        """The same, for an answer of a certain shape.

        Raises:
            DoorwatchError: As `ask`, or it has another shape.
        """
        answer = self.ask(command, arguments, seconds)
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            raise DoorwatchError(f"{self._path}: QEMU's answer to {command} makes no sense: {error}") from error

    def tell(self, line: str) -> str:
        """What the monitor for people answers to a line."""
        return self.ask_for(str, "human-monitor-command", {"command-line": line})

    def object_property(self, path: str, name: str) -> str:
        """A text that an object of QEMU's keeps (QOM)."""
        return self.ask_for(str, "qom-get", {"path": path, "property": name})

    def hand_over(self, name: str, descriptor: int) -> None:
        """Give QEMU an open file under a name, which `fd:` protocols take.

        Raises:
            DoorwatchError: It does not take it.
        """
        try:
            self._client.send_fd_scm(descriptor)
        except OSError as error:
            raise DoorwatchError(f"{self._path}: cannot pass a file to QEMU: {error}") from error
        self.ask("getfd", {"fdname": name})

    def stop(self) -> None:
        """Stop the guest. If QEMU does so after its time has passed, it is told to go on as soon as it has.

        Raises:
            DoorwatchError: It did not in time.
        """
        try:
            self.ask("stop")
        except RefusedError:
            raise
        except BaseException:
            loop, client = self._loop, self._client
            self._loop = asyncio.new_event_loop()  # what is left to close here
            self._client = type(client)("left")
            threading.Thread(target=_undo_stop, args=(loop, client), name="doorwatch-undo-stop", daemon=True).start()
            raise

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(self._seconds)
            connection.connect(str(self._path))
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            self.peer = struct.unpack("3i", credentials)[0]
            connection.setblocking(False)
        except (FileNotFoundError, ConnectionError) as error:
            connection.close()
            raise GuestGone(
                f"{self._path}: no QEMU listens on this socket: the guest has ended, or was moved"
            ) from error
        except (BlockingIOError, TimeoutError) as error:
            connection.close()
            raise DoorwatchError(f"{self._path}: too many clients wait for this QMP socket already") from error
        except OSError as error:
            connection.close()
            raise DoorwatchError(
                f"{self._path}: cannot connect to this QMP socket: {error.strerror or error}"
            ) from error
        return connection

    def _wait(self, work: Coroutine[Any, Any, T], what: str, seconds: float) -> T:
        from qemu.qmp import ExecInterruptedError, ExecuteError, QMPError  # noqa: PLC0415 - __enter__ has loaded it

        try:
            return self._loop.run_until_complete(asyncio.wait_for(work, seconds))
        except TimeoutError as error:
            keeps = what_keeps_it(self._path, self.peer, greeted=self._client.greeting is not None)
            raise DoorwatchError(f"{self._path}: QEMU did not give {what} in {seconds:g} s: {keeps}") from error
        except ExecuteError as error:
            raise RefusedError(f"{self._path}: QEMU refuses: {_one_line(error)}") from error
        except ExecInterruptedError as error:
            raise GuestGone(f"{self._path}: QEMU hung up before it gave {what}: the guest has ended") from error
        except (QMPError, OSError, EOFError, ValueError, TypeError, AssertionError, RecursionError) as error:
            raise DoorwatchError(
                f"{self._path}: this does not speak QMP as QEMU does ({_one_line(error)}) instead of giving {what}"
            ) from error

    def _leave(self) -> None:
        _farewell(self._loop, self._client)


def _silent() -> logging.Logger:
    """The library's logger, saying nothing: what it has to tell arrives as exceptions."""
    logger = logging.Logger("qmp")  # noqa: LOG001 - one that belongs to no hierarchy, so that nobody prints it
    logger.disabled = True
    return logger


def _farewell(loop: asyncio.AbstractEventLoop, client: Any) -> None:
    if loop.is_closed():
        return
    with contextlib.suppress(Exception):  # whatever went wrong has been told, or is of no account any more
        loop.run_until_complete(asyncio.wait_for(client.disconnect(), FAREWELL_SECONDS))
    for task in asyncio.all_tasks(loop):
        task.cancel()
        with contextlib.suppress(BaseException):
            loop.run_until_complete(task)
    loop.close()


def _undo_stop(loop: asyncio.AbstractEventLoop, client: Any) -> None:
    """A `cont` behind a `stop` that was given up: QEMU carries out both, in order, whenever it wakes."""
    with contextlib.suppress(Exception):  # it has ended, or speaks no more: nothing is left to undo
        loop.run_until_complete(asyncio.wait_for(client.execute("cont"), FOLLOW_SECONDS))
    _farewell(loop, client)


def _one_line(error: BaseException) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return printable(lines[0])[:200]
