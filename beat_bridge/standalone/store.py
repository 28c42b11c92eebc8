"""The local store: the documents Elasticsearch would have got, in one SQLite file."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value
from beat_bridge.model.documents import Document, SerialisedDocument
from beat_bridge.standalone.database import connect, connect_read_only, transaction, understood, used_bytes

DEFAULT_BUDGET_BYTES = 1 << 30
VERSION = 1
_SCHEMA = """
CREATE TABLE documents (
    sequence INTEGER PRIMARY KEY,
    data_stream TEXT NOT NULL,
    id TEXT NOT NULL,
    at REAL NOT NULL,
    source BLOB NOT NULL,
    UNIQUE (data_stream, id)
);
CREATE INDEX documents_at ON documents (at, sequence);
CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counts VALUES ('added', 0), ('evicted', 0)
"""
_NEWEST_FIRST = """
SELECT data_stream, id, source FROM documents WHERE at >= ? AND data_stream GLOB ? ORDER BY at DESC, sequence DESC
"""
_KEEP = 0.9
"""Part of the budget that is left in use when the oldest documents are removed, so that it happens seldom."""
_EVICT_AT_ONCE = 500
_log = logging.getLogger(__name__)


class StoreStatus(Value, frozen=True, kw_only=True):
    """Counts since the store was made, and what lies in it now."""

    added: int
    evicted: int
    """Documents removed, oldest first, to stay within the budget."""
    documents: int
    used_bytes: int
    budget_bytes: int


class _Time(msgspec.Struct):
    timestamp: str = msgspec.field(name="@timestamp", default="")


class LocalStore:
    """The store; its methods may be called from any thread, and other processes may read it at the same time."""

    def __init__(self, path: Path, *, budget_bytes: int = DEFAULT_BUDGET_BYTES, read_only: bool = False) -> None:
        """Open a store, or make one.

        Args:
            path: A file of its own in a private directory.
            budget_bytes: What it may take on disk (its journal aside); beyond it the oldest documents go.
            read_only: Only look: nothing is made, locked or changed.

        Raises:
            DoorwatchError: It cannot be opened, or is no store.
        """
        self.path = path
        self.budget_bytes = budget_bytes
        self._connection = connect_read_only(path, VERSION) if read_only else connect(path, _SCHEMA, VERSION)
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        with self._mutex:
            self._connection.close()

    def add(self, documents: Iterable[SerialisedDocument]) -> int:
        """Keep documents: all of them on return, or none.

        A document whose data stream and id are known already is left as it is, as `op_type=create` does.

        Returns:
            How many were new.

        Raises:
            DoorwatchError: The disk is full, or a document is no JSON object.
        """
        now = datetime.now(UTC)
        rows = [(item.data_stream, item.id, _moment(item, now), item.source) for item in documents]
        with self._mutex, understood(self.path):
            with transaction(self._connection) as connection:
                before = connection.total_changes
                connection.executemany(
                    "INSERT OR IGNORE INTO documents (data_stream, id, at, source) VALUES (?, ?, ?, ?)", rows
                )
                added = connection.total_changes - before
                connection.execute("UPDATE counts SET value = value + ? WHERE name = 'added'", (added,))
                evicted = self._evict()
            if evicted:
                self._connection.execute("PRAGMA incremental_vacuum").fetchall()
                _log.warning("%s: over its budget: the %d oldest documents were removed", self.path, evicted)
        return added

    def search(
        self,
        predicate: Callable[[Mapping[str, Any]], bool],
        *,
        since: datetime | None = None,
        limit: int = 100,
        data_stream: str = "*",
    ) -> tuple[Document, ...]:
        """Documents that a predicate holds for, newest first.

        Args:
            predicate: Over a decoded document, for example `detection_rules.compile_query(text)`.
            since: Only documents whose `@timestamp` is not before this moment (with time zone).
            limit: At most so many; the search stops there.
            data_stream: Name or pattern with `*` (`logs-doorwatch.finding-*`).

        Raises:
            DoorwatchError: The store cannot be read.
        """
        found: list[Document] = []
        earliest = since.timestamp() if since else float("-inf")
        connection = connect_read_only(self.path, VERSION)  # of its own, so that a long search holds up no `add`
        try:
            with understood(self.path):
                for stream, identity, source in connection.execute(_NEWEST_FIRST, (earliest, data_stream)):
                    if len(found) >= limit:
                        break
                    body = msgspec.json.decode(source)
                    if predicate(body):
                        found.append(Document(data_stream=stream, id=identity, body=body))
        finally:
            connection.close()
        return tuple(found)

    def status(self) -> StoreStatus:
        """How the store is doing.

        Raises:
            DoorwatchError: The store cannot be read.
        """
        with self._mutex, understood(self.path):
            counts = dict(self._connection.execute("SELECT name, value FROM counts").fetchall())
            documents = self._connection.execute("SELECT count(*) FROM documents").fetchone()[0]
            return StoreStatus(
                added=counts["added"],
                evicted=counts["evicted"],
                documents=documents,
                used_bytes=used_bytes(self._connection),
                budget_bytes=self.budget_bytes,
            )

    def _evict(self) -> int:
        """Within a transaction: remove the oldest until the store is within its budget again."""
        if used_bytes(self._connection) <= self.budget_bytes:
            return 0
        evicted = 0
        while used_bytes(self._connection) > self.budget_bytes * _KEEP:
            removed = self._connection.execute(
                "DELETE FROM documents WHERE sequence IN (SELECT sequence FROM documents ORDER BY sequence LIMIT ?)",
                (_EVICT_AT_ONCE,),
            ).rowcount
            if removed == 0:
                break
            evicted += removed
        self._connection.execute("UPDATE counts SET value = value + ? WHERE name = 'evicted'", (evicted,))
        return evicted


def _moment(item: SerialisedDocument, now: datetime) -> float:
    """`@timestamp` in seconds since the epoch; of a document without one, the moment it came."""
    try:
        written = msgspec.json.decode(item.source, type=_Time).timestamp
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DoorwatchError(f"document {item.id} of {item.data_stream}: not a JSON document: {error}") from error
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        moment = now
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
