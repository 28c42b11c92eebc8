"""One batch on its way: sent again until each of its documents is delivered or is a dead letter."""

import random
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from beat_bridge.model.base import Value
from beat_bridge.shipping.letters import Letter, Refusal, write_letter
from beat_bridge.shipping.records import Record
from beat_bridge.shipping.target import (
    Answered,
    ItemFate,
    Malformed,
    NotNow,
    Outcome,
    Target,
    TooLarge,
    Trouble,
    fate,
)


class Pace(Value, frozen=True, kw_only=True):
    """How long to wait before asking again, in seconds. Each wait is between a half and the whole of these."""

    first: float = 0.25
    longest: float = 30.0
    denied: float = 10.0

    def delay(self, trouble: Trouble, attempt: int) -> float:
        """Seconds before the next attempt; `attempt` counts from 0 since something last went well."""
        whole = self.denied if trouble is Trouble.DENIED else min(self.longest, self.first * 2.0 ** min(attempt, 30))
        return whole * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing


class StoppedError(Exception):
    """The delivery was told to stop before every document was settled; all of them are still in the spool."""


class Delivery:
    """Settles one batch's records with a target."""

    def __init__(
        self, target: Target, pace: Pace, stop: threading.Event, report: Callable[[Trouble | None, str], None]
    ) -> None:
        """Prepare.

        Args:
            target: Where to.
            pace: How patiently.
            stop: Set to give up between two attempts.
            report: Is told when trouble begins, changes, and (None) is over.
        """
        self._target = target
        self._pace = pace
        self._stop = stop
        self._report = report
        self._letters: list[Letter] = []
        self._attempt = 0

    def settle(self, records: Sequence[Record]) -> tuple[Letter, ...]:
        """Send records until none is left.

        Returns:
            Letters for those the target will not have; every other one is delivered.

        Raises:
            StoppedError: `stop` was set first.
        """
        parts = [list(records)] if records else []
        while parts:
            if self._stop.is_set():
                raise StoppedError
            part = parts.pop()
            outcome = self._target.send([record.lines for record in part])
            parts.extend(self._after(part, outcome))
        return tuple(sorted(self._letters, key=lambda letter: letter.sequence))

    def _after(self, part: list[Record], outcome: Outcome) -> list[list[Record]]:
        """What is still to be sent of a part, in reverse order of sending; waits first where that is wise."""
        match outcome:
            case Answered():
                return self._sort(part, outcome.items)
            case NotNow():
                self._wait(outcome.trouble, outcome.detail)
                return [part]
            case TooLarge() | Malformed() if len(part) > 1:
                middle = len(part) // 2
                return [part[middle:], part[:middle]]
            case Malformed() if not self._target.understands():
                reason = outcome.refusal.reason
                self._wait(Trouble.DENIED, f"every request is refused, also a well-formed one: {reason}")
                return [part]
            case TooLarge() | Malformed():
                self._bury(part[0], outcome.refusal)
                return []

    def _sort(self, part: list[Record], items: Sequence[Refusal | None]) -> list[list[Record]]:
        """Deal with each item's answer; what is left to send again."""
        again: list[Record] = []
        worst: tuple[Trouble, Refusal] | None = None
        for record, refusal in zip(part, items, strict=True):
            if refusal is None:
                continue
            match fate(refusal.status, refusal.type):
                case ItemFate.DELIVERED:
                    continue
                case ItemFate.DEAD:
                    self._bury(record, refusal)
                    continue
                case ItemFate.DENIED:
                    worst = (Trouble.DENIED, refusal)
                case ItemFate.RETRY:
                    worst = worst or (Trouble.RETRYING, refusal)
            again.append(record)
        if len(again) < len(part):
            self._attempt = 0
        if worst is None:
            self._report(None, "")
            return []
        trouble, refusal = worst
        self._wait(trouble, f"{len(again)} documents are put off: {refusal.status} {refusal.type}: {refusal.reason}")
        return [again]

    def _bury(self, record: Record, refusal: Refusal) -> None:
        self._letters.append(write_letter(record.document(), record.sequence, datetime.now(UTC), refusal))

    def _wait(self, trouble: Trouble, detail: str) -> None:
        self._report(trouble, detail)
        if self._stop.wait(self._pace.delay(trouble, self._attempt)):
            raise StoppedError
        self._attempt += 1
