"""The local engine: rules over documents as they arrive, and their alerts to the responder.

    document ──► match ──► outbox (on disk) ──► courier (a thread) ──► webhook

Evaluation never waits for the network: it ends at the outbox.
"""

import logging
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value
from beat_bridge.model.documents import Document
from beat_bridge.standalone.alerts import MatchedRule, alert_id, sequence_alert, webhook_body
from beat_bridge.standalone.outbox import Outbox, OutboxStatus

Match = Callable[[Mapping[str, Any]], Sequence[MatchedRule]]
FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 60.0
"""Seconds between attempts while the responder cannot be reached."""
_log = logging.getLogger(__name__)


class NotDeliveredError(DoorwatchError):
    """An alert did not reach the responder."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent
        """The responder understood and will never take it; trying again is pointless."""


class Post(Protocol):
    """Sends the body of one webhook call."""

    def __call__(self, body: bytes) -> None:
        """Return once the responder has it.

        Raises:
            NotDeliveredError: It has not.
        """


class Firing(Protocol):
    """A rule about several documents that fired."""

    @property
    def rule(self) -> MatchedRule:
        """Which."""

    @property
    def documents(self) -> tuple[Mapping[str, Any], ...]:
        """On what."""

    @property
    def references(self) -> tuple[Any, ...]:
        """What the engine called them: data stream and id."""


class Sequences(Protocol):
    """Rules about several documents, fed with documents as they arrive (`detection_rules.Watch`)."""

    def feed(self, document: Mapping[str, Any], reference: Hashable = None) -> Sequence[Firing]:
        """What a document completes; each sequence once."""

    def advance(self) -> Sequence[Firing]:
        """What the time that has passed completes without a document: something that must not happen did not."""

    def remarks(self) -> Sequence[str]:
        """One line for each rule that may have missed something, and why."""


class EngineStatus(Value, frozen=True, kw_only=True):
    """What the engine did since it started, and its outbox."""

    evaluated: int
    matched: int
    """Alerts made, those of documents seen before included."""
    outbox: OutboxStatus
    remarks: tuple[str, ...] = ()
    """One line for each sequence rule that had to let something go and may have missed a match."""


class LocalEngine:
    """Evaluates documents and keeps their alerts; `consider` may be called from any thread."""

    def __init__(self, match: Match, outbox: Outbox, sequences: Sequences | None = None) -> None:
        """Join rules and an outbox.

        Args:
            match: The rules that fire on a document (`RuleSet.match`).
            outbox: Where alerts wait; a `Courier` takes them from there.
            sequences: The rules that fire on several documents together (`Watch`).
        """
        self._match = match
        self._sequences = sequences
        self._outbox = outbox
        self._mutex = threading.Lock()
        self._evaluated = 0
        self._matched = 0

    def consider(self, document: Document) -> tuple[str, ...]:
        """Evaluate the rules over one document; its alerts are on disk on return.

        Returns:
            The ids of its alerts.

        Raises:
            DoorwatchError: The outbox cannot be written.
        """
        at = datetime.now(UTC)
        alerts = [(alert_id(rule, document), webhook_body(rule, document, at)) for rule in self._match(document.body)]
        if self._sequences is not None:
            fired = self._sequences.feed(document.body, (document.data_stream, document.id))
            alerts += _together(fired, at)
        with self._mutex:
            self._evaluated += 1
        return self._keep(alerts)

    def advance(self) -> tuple[str, ...]:
        """Let time pass without a document; call it now and then. The alerts of what that completes are on disk.

        Returns:
            The ids of its alerts.

        Raises:
            DoorwatchError: The outbox cannot be written.
        """
        if self._sequences is None:
            return ()
        return self._keep(_together(self._sequences.advance(), datetime.now(UTC)))

    def _keep(self, alerts: list[tuple[str, bytes]]) -> tuple[str, ...]:
        with self._mutex:
            self._matched += len(alerts)
        if alerts and (turned_away := self._outbox.put(alerts)):
            _log.error("%s: full: %d of %d alerts turned away", self._outbox.path, turned_away, len(alerts))
        return tuple(identity for identity, _ in alerts)

    def status(self) -> EngineStatus:
        """How the engine is doing."""
        with self._mutex:
            evaluated, matched = self._evaluated, self._matched
        remarks = tuple(self._sequences.remarks()) if self._sequences is not None else ()
        return EngineStatus(evaluated=evaluated, matched=matched, outbox=self._outbox.status(), remarks=remarks)


def _together(fired: Sequence[Firing], at: datetime) -> list[tuple[str, bytes]]:
    """The alerts of rules that fired on several documents."""
    return [sequence_alert(firing.rule, _documents(firing), at) for firing in fired]


def _documents(firing: Firing) -> tuple[Document, ...]:
    """The documents of a firing under the names that `consider` fed them with."""
    return tuple(
        Document(data_stream=stream, id=identity, body=dict(body))
        for body, (stream, identity) in zip(firing.documents, firing.references, strict=True)
    )


class Courier:
    """A thread that posts what waits in an outbox, and goes on trying."""

    def __init__(
        self, outbox: Outbox, post: Post, *, first_delay: float = FIRST_DELAY, longest_delay: float = LONGEST_DELAY
    ) -> None:
        """Make a courier; `start` sets it going.

        Args:
            outbox: Its alerts go out least tried first, so that one that fails for ever holds up no other.
            post: Sends one.
            first_delay: Seconds to wait after a failure; doubled with each, set back by a success. A new alert is tried
                at once all the same.
            longest_delay: The most it grows to.
        """
        self._outbox = outbox
        self._post = post
        self._first_delay = first_delay
        self._longest_delay = longest_delay
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="doorwatch-courier", daemon=True)

    def start(self) -> None:
        """Begin to post."""
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """End after the post that is under way; what waits stays in the outbox.

        Args:
            timeout: Seconds to wait for that; a post bounds itself by its own time-outs.
        """
        self._stop.set()
        self._outbox.wake()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        delay = self._first_delay
        while not self._stop.is_set():
            seen = self._outbox.arrivals
            try:
                alert = self._outbox.next()
                if alert is None:
                    self._outbox.wait(seen, None, self._stop)
                    continue
                delivered = self._deliver(alert.id, alert.body)
            except DoorwatchError as error:
                _log.error("alerts wait: %s", error)
                delivered = False
            if delivered:
                delay = self._first_delay
                continue
            self._outbox.wait(seen, delay, self._stop)
            delay = min(2 * delay, self._longest_delay)

    def _deliver(self, identity: str, body: bytes) -> bool:
        """Post one alert and note what became of it; False where it has to be tried again."""
        try:
            self._post(body)
        except NotDeliveredError as error:
            if error.permanent:
                self._outbox.refused(identity, str(error))
                _log.error("alert %s was refused: %s", identity, error)
                return True
            self._outbox.failed(identity, str(error))
            _log.warning("alert %s waits: %s", identity, error)
            return False
        except Exception as error:  # noqa: BLE001 - a fault of the poster must not end the thread, and with it all alerting
            self._outbox.failed(identity, f"{type(error).__name__} while posting")
            _log.exception("alert %s waits", identity)
            return False
        self._outbox.delivered(identity)
        return True
