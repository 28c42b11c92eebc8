"""What the responder must not forget: alerts, incidents, steps and leases, in one SQLite file.

An alert is committed (and on disk) before its sender is told so. A step is committed before it is published, and
marked when it has been: another process (`doorwatch respond release`) may add steps, and the server publishes them.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import ensure_private_directory
from beat_bridge.model.base import Value
from beat_bridge.model.responses import ResponseStep, StepState
from responders.alerts import START_TOLERANCE, Alert
from responders.incidents import Incident, belongs, incident_of
from responders.outcomes import RecordsError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS incidents (
    id TEXT PRIMARY KEY, host_id TEXT NOT NULL, pid INTEGER, started_at REAL, finding_key TEXT NOT NULL,
    opened_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS incidents_by_subject ON incidents (host_id, pid, finding_key);
CREATE TABLE IF NOT EXISTS alerts (
    uuid TEXT PRIMARY KEY, incident TEXT NOT NULL, received_at REAL NOT NULL, alert TEXT NOT NULL,
    status TEXT NOT NULL, reason TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS alerts_waiting ON alerts (received_at) WHERE status IN ('working', 'queued');
CREATE INDEX IF NOT EXISTS alerts_by_incident ON alerts (incident);
CREATE TABLE IF NOT EXISTS steps (
    incident TEXT NOT NULL, sequence INTEGER NOT NULL, action TEXT NOT NULL, state TEXT NOT NULL, at REAL NOT NULL,
    step TEXT NOT NULL, published INTEGER NOT NULL, PRIMARY KEY (incident, sequence));
CREATE INDEX IF NOT EXISTS steps_unpublished ON steps (at) WHERE published = 0;
CREATE INDEX IF NOT EXISTS steps_by_action ON steps (action, state, at);
CREATE TABLE IF NOT EXISTS leases (incident TEXT PRIMARY KEY, lease TEXT NOT NULL);
"""
_BUSY_SECONDS = 10.0


class QueueFullError(DoorwatchError):
    """Too many alerts wait: the sender is to come back later."""


class Receipt(Value, frozen=True, kw_only=True):
    """What became of one submitted alert."""

    uuid: str
    incident: str
    """Empty where the alert can belong to none."""
    status: str
    """`accepted`, `duplicate` (this alert was here before), `not_actionable`."""
    reason: str = ""


class Waiting(Value, frozen=True, kw_only=True):
    """An alert to be worked on."""

    alert: Alert
    incident: str
    interrupted: bool
    """It was begun before, and the responder was stopped meanwhile."""


class Lease(Value, frozen=True, kw_only=True):
    """An isolation that the kernel holds."""

    incident: str
    name: str
    """Of the nftables tables."""
    namespace: int
    """Inode of the network namespace."""
    boot_id: str
    lapses_at: float
    """CLOCK_MONOTONIC seconds of that boot, which no change of the date moves."""
    opening: ResponseStep
    """The step that began it, for the steps that end it."""


class Summary(Value, frozen=True, kw_only=True):
    """One incident in a list."""

    incident: Incident
    opened_at: float
    """Seconds since the epoch."""
    steps: tuple[ResponseStep, ...] = ()


class Journal:
    """The open file; usable from several threads."""

    def __init__(self, path: Path) -> None:
        """Open it, and make it where there is none.

        Raises:
            DoorwatchError: It cannot be opened, or is not a journal.
        """
        ensure_private_directory(path.parent)
        path.touch(mode=0o600)
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise DoorwatchError(f"{path}: cannot be used as the responder's journal: {error}") from error
        self.path = path

    def __enter__(self) -> Self:
        """The journal itself; closed when the block ends."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def submit(self, alerts: Sequence[Alert], now: float, maximum_pending: int) -> tuple[Receipt, ...]:
        """Record alerts durably; all of them, or none.

        Raises:
            QueueFullError: More would wait than may.
        """
        receipts = []
        with self._transaction() as sql:
            for alert in alerts:
                known = sql.execute("SELECT incident FROM alerts WHERE uuid = ?", (alert.uuid,)).fetchone()
                if known:
                    receipts.append(Receipt(uuid=alert.uuid, incident=known[0], status="duplicate"))
                    continue
                reason = alert.obstacle
                incident = "" if reason else self._incident_for(sql, alert, now)
                status = "not_actionable" if reason else "queued"
                sql.execute(
                    "INSERT INTO alerts VALUES (?, ?, ?, ?, ?, ?)",
                    (alert.uuid, incident, now, _text(alert), status, reason),
                )
                answer = "not_actionable" if reason else "accepted"
                receipts.append(Receipt(uuid=alert.uuid, incident=incident, status=answer, reason=reason))
            if self._pending(sql) > maximum_pending and any(receipt.status == "accepted" for receipt in receipts):
                raise QueueFullError(f"{maximum_pending} alerts wait already: come back later")
        return tuple(receipts)

    def next_alert(self) -> Waiting | None:
        """Begin with the alert that has waited longest; one that was begun before comes first."""
        row = self._one(
            "SELECT alert, incident, status FROM alerts WHERE status IN ('working', 'queued') "
            "ORDER BY status DESC, received_at, rowid LIMIT 1"
        )
        if row is None:
            return None
        alert = msgspec.json.decode(row[0], type=Alert)
        with self._transaction() as sql:
            sql.execute("UPDATE alerts SET status = 'working' WHERE uuid = ?", (alert.uuid,))
        return Waiting(alert=alert, incident=row[1], interrupted=row[2] == "working")

    def finish_alert(self, uuid: str, reason: str) -> None:
        """It has been worked on; `reason` says how that ended."""
        with self._transaction() as sql:
            sql.execute("UPDATE alerts SET status = 'done', reason = ? WHERE uuid = ?", (reason, uuid))

    def add_step(self, step: ResponseStep, seal: Callable[[ResponseStep], str]) -> ResponseStep:
        """Give a step its place in its incident, seal it into the audit file, and keep it.

        Args:
            step: Its `sequence` and `audit_hash` are filled in here.
            seal: Appends to the audit file, and returns the hash. Should it fail, the step is not kept either.
        """
        with self._transaction() as sql:
            (sequence,) = sql.execute(
                "SELECT coalesce(max(sequence) + 1, 0) FROM steps WHERE incident = ?", (step.incident,)
            ).fetchone()
            step = msgspec.structs.replace(step, sequence=sequence)
            step = msgspec.structs.replace(step, audit_hash=seal(step))
            at = step.at.timestamp()
            sql.execute(
                "INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, 0)",
                (step.incident, sequence, step.action, step.state.value, at, _text(step)),
            )
        return step

    def unpublished(self) -> tuple[ResponseStep, ...]:
        """Steps that nobody was told of yet, oldest first."""
        rows = self._all("SELECT step FROM steps WHERE published = 0 ORDER BY rowid LIMIT 1000")
        return tuple(_step(row[0]) for row in rows)

    def mark_published(self, step: ResponseStep) -> None:
        """It was handed on."""
        with self._transaction() as sql:
            sql.execute(
                "UPDATE steps SET published = 1 WHERE incident = ? AND sequence = ?", (step.incident, step.sequence)
            )

    def steps(self, incident: str) -> tuple[ResponseStep, ...]:
        """An incident's steps in order."""
        return tuple(
            _step(row[0]) for row in self._all("SELECT step FROM steps WHERE incident = ? ORDER BY sequence", incident)
        )

    def isolations_since(self, moment: float, besides: str) -> int:
        """Incidents other than `besides` that were isolated since then (seconds since the epoch)."""
        row = self._one(
            "SELECT count(DISTINCT incident) FROM steps WHERE action = 'isolate_network' AND state = ? AND at >= ? "
            "AND incident != ?",
            StepState.SUCCEEDED.value,
            moment,
            besides,
        )
        return 0 if row is None else int(row[0])

    def incident(self, identifier: str) -> Incident | None:
        """An incident with its alerts."""
        row = self._one(
            "SELECT id, host_id, pid, started_at, finding_key, opened_at FROM incidents WHERE id = ?", identifier
        )
        if row is None:
            return None
        alerts = self._all("SELECT alert FROM alerts WHERE incident = ? ORDER BY received_at, rowid", identifier)
        return Incident(
            id=row[0],
            host_id=row[1],
            pid=row[2],
            started_at=row[3],
            finding_key=row[4],
            opened_at=row[5],
            alerts=tuple(msgspec.json.decode(alert[0], type=Alert) for alert in alerts),
        )

    def summaries(self) -> Iterator[Summary]:
        """Every incident, newest first."""
        for identifier, opened_at in self._all(
            "SELECT id, opened_at FROM incidents ORDER BY opened_at DESC, rowid DESC"
        ):
            incident = self.incident(identifier)
            if incident is not None:
                yield Summary(incident=incident, opened_at=opened_at, steps=self.steps(identifier))

    def not_actionable(self) -> tuple[tuple[str, str, str], ...]:
        """Alerts that nothing could be done about: uuid, rule name, reason."""
        rows = self._all("SELECT uuid, alert, reason FROM alerts WHERE status = 'not_actionable' ORDER BY received_at")
        return tuple((row[0], msgspec.json.decode(row[1], type=Alert).rule_name, row[2]) for row in rows)

    def put_lease(self, lease: Lease) -> None:
        """Keep a lease until `drop_lease`; one of the same incident is replaced."""
        with self._transaction() as sql:
            sql.execute("INSERT OR REPLACE INTO leases VALUES (?, ?)", (lease.incident, _text(lease)))

    def drop_lease(self, incident: str) -> bool:
        """It is over; False where somebody else said so first, who then also records it."""
        with self._transaction() as sql:
            return sql.execute("DELETE FROM leases WHERE incident = ?", (incident,)).rowcount == 1

    def leases(self) -> tuple[Lease, ...]:
        """Leases that are not known to be over."""
        return tuple(msgspec.json.decode(row[0], type=Lease) for row in self._all("SELECT lease FROM leases"))

    def pending(self) -> int:
        """Alerts that wait."""
        with self._lock:
            return self._pending(self._connection)

    def _incident_for(self, sql: sqlite3.Connection, alert: Alert, now: float) -> str:
        opened = incident_of(alert)
        rows = sql.execute(
            "SELECT id, host_id, pid, started_at, finding_key FROM incidents WHERE id = ? OR (host_id = ? AND pid IS ? "
            "AND (pid IS NULL OR abs(started_at - ?) <= ?) AND finding_key = ?)",
            (opened.id, opened.host_id, opened.pid, opened.started_at, START_TOLERANCE, opened.finding_key),
        )
        for row in rows:
            known = Incident(id=row[0], host_id=row[1], pid=row[2], started_at=row[3], finding_key=row[4])
            if known.id == opened.id or belongs(alert, known):
                return known.id
        sql.execute(
            "INSERT INTO incidents VALUES (?, ?, ?, ?, ?, ?)",
            (opened.id, opened.host_id, opened.pid, opened.started_at, opened.finding_key, now),
        )
        return opened.id

    def _pending(self, sql: sqlite3.Connection) -> int:
        return int(sql.execute("SELECT count(*) FROM alerts WHERE status IN ('working', 'queued')").fetchone()[0])

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        rows = self._all(query, *values)
        return rows[0] if rows else None

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything in the block, or nothing; on disk when the block ends.

        Raises:
            RecordsError: SQLite could not write (disk full, locked for too long, damaged).
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise RecordsError(f"{self.path}: cannot be written: {error}") from error


def _text(value: Value) -> str:
    return msgspec.json.encode(value).decode()


def _step(text: str) -> ResponseStep:
    return msgspec.json.decode(text, type=ResponseStep)
