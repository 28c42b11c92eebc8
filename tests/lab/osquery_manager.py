"""osquery's side of an extension: a real Thrift ExtensionManager on a unix socket, with SQLite as its planner.

It registers extensions, calls their tables back over `SOCKET.UUID` as osquery does, and answers SQL over their rows. It
proves the wire and the tables' contract, not osquery's own planner.
"""

import json
import re
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from osquery.extensions import Extension, ExtensionManager  # type: ignore[import-untyped] # no stubs exist
from osquery.extensions.ttypes import (  # type: ignore[import-untyped] # no stubs exist
    ExtensionStatus,
    InternalExtensionInfo,
)
from thrift.protocol.TBinaryProtocol import TBinaryProtocol  # type: ignore[import-untyped] # no stubs exist
from thrift.transport.TSocket import TSocket  # type: ignore[import-untyped] # no stubs exist
from thrift.transport.TTransport import TBufferedTransport  # type: ignore[import-untyped] # no stubs exist

TYPES = {"TEXT", "INTEGER", "BIGINT", "UNSIGNED_BIGINT", "DOUBLE", "BLOB"}


class Manager:
    """osquery.thrift: `service ExtensionManager`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.extensions_by_uuid: dict[int, tuple[Any, dict[str, Any]]] = {}
        self.registered = threading.Event()
        self.refuse = ""
        self.ping_status = 0
        self.pinged = threading.Event()

    def ping(self) -> Any:
        """Alive."""
        self.pinged.set()
        return ExtensionStatus(code=self.ping_status, message="OK")

    def registerExtension(self, info: Any, registry: dict[str, Any]) -> Any:  # noqa: N802 - osquery's name
        """Take an extension; one of the same name is refused, as osquery does."""
        if self.refuse or any(known.name == info.name for known, _ in self.extensions_by_uuid.values()):
            return ExtensionStatus(code=1, message=self.refuse or "Duplicate extension registered")
        uuid = 1000 + len(self.extensions_by_uuid)
        self.extensions_by_uuid[uuid] = (info, registry)
        self.registered.set()
        return ExtensionStatus(code=0, message="OK", uuid=uuid)

    def deregisterExtension(self, uuid: int) -> Any:  # noqa: N802 - osquery's name
        """Forget an extension."""
        self.extensions_by_uuid.pop(uuid, None)
        return ExtensionStatus(code=0, message="OK")

    def extensions(self) -> dict[int, Any]:
        """Who is registered."""
        return {
            uuid: InternalExtensionInfo(name=info.name, version=info.version)
            for uuid, (info, _) in self.extensions_by_uuid.items()
        }

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Run SQL over the extensions' tables, asking each one that the query names."""
        with closing(sqlite3.connect(":memory:")) as database:
            database.row_factory = sqlite3.Row
            for uuid, (_, registry) in self.extensions_by_uuid.items():
                for name, routes in registry["table"].items():
                    columns = {route["name"]: route["type"] for route in routes if route["id"] == "column"}
                    assert set(columns.values()) <= TYPES
                    listed = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
                    database.execute(f'CREATE TABLE "{name}" ({listed})')
                    if re.search(rf"\b{name}\b", sql):
                        answer = self.call(uuid, "table", name, {"action": "generate", "context": _context(columns)})
                        if answer.status.code:
                            raise RuntimeError(answer.status.message)
                        marks = ", ".join("?" * len(columns))
                        for row in answer.response:
                            assert row.keys() == columns.keys(), "osquery logs an error for a missing or unknown column"
                            database.execute(
                                f'INSERT INTO "{name}" VALUES ({marks})',  # noqa: S608 - the test's own names
                                [row[column] for column in columns],
                            )
            return [dict(row) for row in database.execute(sql)]

    def call(self, uuid: int, registry: str, item: str, request: dict[str, str]) -> Any:
        """Call an extension back, as osquery does: a connection for each call."""
        with self.client(uuid) as client:
            return client.call(registry, item, request)

    @contextmanager
    def client(self, uuid: int) -> Iterator[Any]:
        """A client of an extension."""
        transport = TSocket(unix_socket=f"{self.path}.{uuid}")
        transport.setTimeout(30_000)
        buffered = TBufferedTransport(transport)
        buffered.open()
        try:
            yield Extension.Client(TBinaryProtocol(buffered))
        finally:
            buffered.close()


def _context(columns: dict[str, str]) -> str:
    constraints = [{"name": name, "affinity": kind, "list": []} for name, kind in columns.items()]
    return json.dumps({"constraints": constraints, "colsUsed": list(columns)})


@contextmanager
def running(path: Path) -> Iterator[Manager]:
    """Serve while the block lasts; then every connection is closed, as when osquery ends."""
    manager = Manager(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    open_connections: list[socket.socket] = []

    def converse(connection: socket.socket) -> None:
        transport = TSocket()
        transport.setHandle(connection)
        protocol = TBinaryProtocol(TBufferedTransport(transport))
        processor = ExtensionManager.Processor(manager)
        try:
            while True:
                processor.process(protocol, protocol)
        except Exception:  # noqa: BLE001 - the other side has gone, which is how a conversation ends
            connection.close()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_connections.append(connection)
            threading.Thread(target=converse, args=(connection,), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield manager
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for connection in open_connections:
            with suppress(OSError):  # closed by the other side
                connection.shutdown(socket.SHUT_RDWR)
        path.unlink()
