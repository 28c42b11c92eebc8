"""Alerts on disk until the responder has them."""

import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from beat_bridge.model.base import Value
from beat_bridge.standalone.database import connect, transaction, understood

VERSION: Final = 1
DEFAULT_CAPACITY: Final = 10_000
REMEMBERED: Final = 100_000
"""Alerts that are settled and whose ids are still known, so that none is sent again."""
KEPT_REFUSALS: Final = 1_000
"""Refused alerts that stay in the file with their bodies."""
_SCHEMA: Final = """
CREATE TABLE alerts (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'refused')),
    attempts INTEGER NOT NULL DEFAULT 0,
    body BLOB,
    reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX alerts_order ON alerts (state, attempts, sequence);
CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counts VALUES ('queued', 0), ('delivered', 0), ('refused', 0), ('turned_away', 0)
"""


class OutboxStatus(Value, frozen=True, kw_only=True):
    """Counts since the outbox was made. `queued == delivered + refused + waiting`, always."""

    queued: int
    delivered: int
    refused: int
    """Alerts that the responder called malformed; they stay in the file with its answer."""
    waiting: int
    turned_away: int
    """Alerts that found the outbox full. Their documents are in the store all the same."""
    last_reason: str
    """Why the alert that has been tried most often still waits; empty where none has been tried in vain."""


class WaitingAlert(Value, frozen=True, kw_only=True):
    """An alert to be posted."""

    id: str
    body: bytes
    attempts: int


class Outbox:
    """A durable queue of alerts; its methods may be called from any thread."""

    def __init__(self, path: Path, *, capacity: int = DEFAULT_CAPACITY) -> None:
        """Open an outbox, or make one.

        Args:
            path: A file of its own in a private directory.
            capacity: How many alerts may wait.

        Raises:
            DoorwatchError: It cannot be opened, or is no outbox.
        """
        self.path = path
        self.capacity = capacity
        self._connection = connect(path, _SCHEMA, VERSION)
        self._mutex = threading.Lock()
        self._arrived = threading.Condition(self._mutex)
        self._arrivals = 0

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

    def put(self, alerts: Sequence[tuple[str, bytes]]) -> int:
        """Queue alerts, each an id and a body; they are on disk on return.

        An id that was queued before, waiting or settled, is not queued again.

        Returns:
            How many were turned away because the outbox is full; they are counted.

        Raises:
            DoorwatchError: The disk is full.
        """
        with self._mutex, understood(self.path), transaction(self._connection) as connection:
            room = self.capacity - self._waiting()
            queued = turned_away = 0
            for identity, body in alerts:
                if connection.execute("SELECT 1 FROM alerts WHERE id = ?", (identity,)).fetchone():
                    continue
                if queued >= room:
                    turned_away += 1
                    continue
                connection.execute("INSERT INTO alerts (id, body) VALUES (?, ?)", (identity, body))
                queued += 1
            self._count("queued", queued)
            self._count("turned_away", turned_away)
            if queued:
                self._arrivals += 1
                self._arrived.notify_all()
        return turned_away

    def next(self) -> WaitingAlert | None:
        """The alert to post now: the least tried, of those the oldest. It stays until it is settled."""
        with self._mutex, understood(self.path):
            row = self._connection.execute(
                "SELECT id, body, attempts FROM alerts WHERE state = 'waiting' ORDER BY attempts, sequence LIMIT 1"
            ).fetchone()
        return None if row is None else WaitingAlert(id=row[0], body=row[1], attempts=row[2])

    @property
    def arrivals(self) -> int:
        """Grows with each `put`; to be read before `next`, and handed to `wait`."""
        with self._mutex:
            return self._arrivals

    def wait(self, seen: int, seconds: float | None, stop: threading.Event) -> None:
        """Sleep until there were more arrivals than those seen, the time is over, or `wake` follows `stop.set()`."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._arrivals != seen or stop.is_set(), seconds)

    def wake(self) -> None:
        """End every `wait`."""
        with self._arrived:
            self._arrived.notify_all()

    def delivered(self, identity: str) -> None:
        """The responder has the alert."""
        self._settle(identity, "delivered", "", keep_body=False)

    def refused(self, identity: str, reason: str) -> None:
        """The responder will never take the alert; it stays in the file with its answer."""
        self._settle(identity, "refused", reason, keep_body=True)

    def failed(self, identity: str, reason: str) -> None:
        """The alert could not be posted; it goes behind those that were tried less often."""
        with self._mutex, understood(self.path):
            self._connection.execute(
                "UPDATE alerts SET attempts = attempts + 1, reason = ? WHERE id = ?", (reason[:500], identity)
            )

    def status(self) -> OutboxStatus:
        """How the outbox is doing."""
        with self._mutex, understood(self.path):
            counts = dict(self._connection.execute("SELECT name, value FROM counts").fetchall())
            row = self._connection.execute(
                "SELECT reason FROM alerts WHERE state = 'waiting' ORDER BY attempts DESC LIMIT 1"
            ).fetchone()
            return OutboxStatus(**counts, waiting=self._waiting(), last_reason=row[0] if row else "")

    def _settle(self, identity: str, state: str, reason: str, *, keep_body: bool) -> None:
        with self._mutex, understood(self.path), transaction(self._connection) as connection:
            settled = connection.execute(
                "UPDATE alerts SET state = ?, reason = ?, body = CASE WHEN ? THEN body END "
                "WHERE id = ? AND state = 'waiting'",
                (state, reason[:500], keep_body, identity),
            ).rowcount
            self._count(state, settled)
            if keep_body:
                forget = "(SELECT sequence FROM alerts WHERE state = ? ORDER BY sequence DESC LIMIT 1 OFFSET ?)"
                connection.execute(
                    f"DELETE FROM alerts WHERE state = ? AND sequence <= {forget}",  # noqa: S608 - no input in it
                    (state, state, KEPT_REFUSALS),
                )
            else:  # by distance rather than by number: this runs for every alert
                connection.execute(
                    "DELETE FROM alerts WHERE +state = ? AND sequence <= (SELECT max(sequence) FROM alerts) - ?",
                    (state, REMEMBERED),
                )

    def _count(self, name: str, by: int) -> None:
        self._connection.execute("UPDATE counts SET value = value + ? WHERE name = ?", (by, name))

    def _waiting(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM alerts WHERE state = 'waiting'").fetchone()[0])
