"""The extension on osquery's socket: registers, answers osquery's calls, and ends when osquery does.

Imported by name: osquery's Thrift classes come with the extra `osquery`. Its own `start_extension` reads the command
line for itself and ends the process from a thread; here the same messages are exchanged in order.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from beat_bridge.errors import DoorwatchError, MissingExtraError
from beat_bridge.sensors.host import look
from osquery_packs.extension import schema
from osquery_packs.extension.looks import Looks
from osquery_packs.extension.rows import ROWS, Row, failure_row

try:
    from osquery.extensions import Extension, ExtensionManager  # type: ignore[import-untyped] # no stubs exist
    from osquery.extensions.ttypes import ExtensionResponse, ExtensionStatus, InternalExtensionInfo  # type: ignore[import-untyped] # no stubs exist
    from thrift.protocol.TBinaryProtocol import TBinaryProtocol  # type: ignore[import-untyped] # no stubs exist
    from thrift.transport.TSocket import TSocket  # type: ignore[import-untyped] # no stubs exist
    from thrift.transport.TTransport import TBufferedTransport, TTransportException  # type: ignore[import-untyped] # no stubs exist
except ModuleNotFoundError as error:
    raise MissingExtraError(str(error.name).partition(".")[0], "osquery", "the osquery extension") from error

log = logging.getLogger(__name__)
NAME = "doorwatch"
SDK_VERSION = "5.0.1"
OLDEST_SDK = "1.8.0"
"""osquery refuses an extension that asks for more than it is; this one asks for nothing new."""
CONNECTIONS = 8
"""At once; osquery uses one or two."""
_WAITING = 128
"""Connections that wait for a place: a full queue refuses at once those who connect with a time-out, as Thrift does."""
IDLE_SECONDS = 60.0
"""A connection that says nothing for so long is closed."""
_LONGEST_SOCKET_PATH = 107
"""sun_path in include/uapi/linux/un.h, without its NUL."""


class Tables:
    """Answers osquery's calls (osquery.thrift: `service Extension`)."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._asked_to_end = False
        self.ended = threading.Event()
        """osquery asked for the end, and has its answer."""

    def ping(self) -> Any:
        """Alive."""
        return ExtensionStatus(code=0, message="OK")

    def shutdown(self) -> None:
        """End, once this call is answered."""
        self._asked_to_end = True

    def answered(self) -> None:
        """An answer has been sent."""
        if self._asked_to_end:
            self.ended.set()

    def call(self, registry: str, item: str, request: dict[str, str]) -> Any:
        """`generate` or `columns` of one table; anything else is refused with a status."""
        table = next((table for table in schema.TABLES if table.name == item), None)
        if registry != "table" or table is None:
            return _answer(1, f"doorwatch has no {registry} {item}")
        match request.get("action"):
            case "columns":
                return _answer(0, "OK", routes(table))
            case "generate":
                return self._generate(item)
            case action:
                return _answer(1, f"the table {item} does not know the action {action!r}")

    def _generate(self, item: str) -> Any:
        taken = self._looks.latest()
        if taken.inventory is not None:
            return _answer(0, "OK", ROWS[item](taken.inventory))
        log.error("could not look at this host: %s", taken.problem)
        if item == schema.COVERAGE.name:
            return _answer(0, "OK", [failure_row("failed", taken.problem, taken.at)])
        # no rows would read as clean
        return _answer(1, f"doorwatch could not look: {taken.problem}")


def _answer(code: int, message: str, rows: list[Row] | None = None) -> Any:
    return ExtensionResponse(status=ExtensionStatus(code=code, message=message), response=rows or [])


def routes(table: schema.Table) -> list[Row]:
    """A table's columns as osquery wants them on registration."""
    return [{"id": "column", "name": column.name, "type": column.type, "op": "0"} for column in table.columns]


def serve(path: str, *, timeout: float, interval: float, looks: Looks | None = None) -> None:
    """Register with the osquery behind a socket and serve it until it ends.

    Args:
        path: osquery's extensions socket.
        timeout: Seconds to wait for it.
        interval: Seconds between pings.
        looks: Where rows come from; this host by default.

    Raises:
        DoorwatchError: The socket is not there, not open to us, or osquery refuses the extension.
    """
    logging.getLogger("thrift").addHandler(logging.NullHandler())
    tables = Tables(looks or Looks(look))
    with _connected(path, timeout) as client:
        info = InternalExtensionInfo(
            name=NAME, version=version("doorwatch"), sdk_version=SDK_VERSION, min_sdk_version=OLDEST_SDK
        )
        registry = {"table": {table.name: routes(table) for table in schema.TABLES}}
        try:
            status = client.registerExtension(info, registry)
        except (TTransportException, OSError, EOFError) as error:
            raise DoorwatchError(f"{path}: whatever answers there is not osquery: {error}") from error
        if status.code != 0:
            raise DoorwatchError(f"{path}: osquery refuses the extension: {status.message}")
        with _listening(f"{path}.{status.uuid}") as listener:
            threading.Thread(target=_accept, args=(listener, tables), daemon=True).start()
            log.info("registered with osquery as extension %s", status.uuid)
            _watch(client, tables, interval)


def _watch(client: Any, tables: Tables, interval: float) -> None:
    """Wait for the end of osquery, or for its wish that we end."""
    while not tables.ended.wait(interval):
        try:
            status = client.ping()
        except (TTransportException, OSError, EOFError):
            log.info("osquery has ended")
            return
        if status.code != 0:
            log.warning("osquery answers a ping with %s: %s", status.code, status.message)
            return


@contextlib.contextmanager
def _connected(path: str, timeout: float) -> Iterator[Any]:
    """A client of osquery's extension manager."""
    if len(os.fsencode(path)) + len(".65535") > _LONGEST_SOCKET_PATH:
        raise DoorwatchError(f"{path}: too long for a socket: set a shorter --extensions_socket")
    ends = time.monotonic() + timeout
    while True:
        transport = TSocket(unix_socket=path)
        transport.setTimeout(timeout * 1000)
        try:
            transport.open()
            break
        except TTransportException as error:
            problem, final = _obstacle(path)
            if final or time.monotonic() >= ends:
                raise DoorwatchError(f"{path}: {problem}") from error
            time.sleep(0.05)
    buffered = TBufferedTransport(transport)
    try:
        yield ExtensionManager.Client(TBinaryProtocol(buffered))
    finally:
        buffered.close()


def _obstacle(path: str) -> tuple[str, bool]:
    """Why a socket cannot be used, and whether waiting is of no use."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
    except PermissionError:
        user = "run this as the user that osquery runs as, which is root as a rule"
        return f"no permission to use osquery's socket: {user}", True
    except FileNotFoundError:
        return "there is no such socket: is osquery running, and not with --disable_extensions?", False
    except OSError as error:
        return f"nobody answers at this socket ({error.strerror}): is osquery running?", False
    return "osquery did not answer in time", False


@contextlib.contextmanager
def _listening(path: str) -> Iterator[socket.socket]:
    """Our own socket beside osquery's, where it calls us; gone afterwards."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        Path(path).unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(_WAITING)
    except OSError as error:
        listener.close()
        raise DoorwatchError(f"{path}: cannot listen beside osquery's socket: {error.strerror}") from error
    try:
        yield listener
    finally:
        listener.close()
        Path(path).unlink(missing_ok=True)


def _accept(listener: socket.socket, tables: Tables) -> None:
    """Serve connections, each in a thread of its own, CONNECTIONS at most."""
    free = threading.BoundedSemaphore(CONNECTIONS)
    while True:
        free.acquire()
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # closed: the extension ends
        threading.Thread(target=_converse, args=(connection, tables, free), daemon=True).start()


def _converse(connection: socket.socket, tables: Tables, free: threading.BoundedSemaphore) -> None:
    transport = TSocket()
    transport.setHandle(connection)
    transport.setTimeout(IDLE_SECONDS * 1000)
    buffered = TBufferedTransport(transport)
    protocol = TBinaryProtocol(buffered, string_length_limit=1 << 20, container_length_limit=1 << 16)
    processor = Extension.Processor(tables)
    try:
        while True:
            processor.process(protocol, protocol)
            tables.answered()
    except Exception as error:  # noqa: BLE001 - the end of a connection, or bytes that are not Thrift's: this one is over
        log.debug("a connection of osquery's ended: %s", error)
    finally:
        buffered.close()
        free.release()
