"""From the spool to a target: several batches on their way at once, settled in order."""

import logging
import queue
import threading
from collections import deque
from concurrent.futures import Future, wait
from enum import StrEnum

from beat_bridge.model.base import Value
from beat_bridge.shipping.delivery import Delivery, Pace, StoppedError
from beat_bridge.shipping.letters import Letter
from beat_bridge.shipping.reader import Batch
from beat_bridge.shipping.spool import Spool
from beat_bridge.shipping.target import Target, Trouble

LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 0.25
"""How long the stop event, or a document that arrives while others are on their way, may go unnoticed."""


class ForwarderState(StrEnum):
    """In one word how shipping goes."""

    IDLE = "idle"
    SHIPPING = "shipping"
    RETRYING = "retrying"
    DENIED = "denied"
    STOPPED = "stopped"


class ForwarderStatus(Value, frozen=True, kw_only=True):
    """How shipping goes."""

    state: ForwarderState
    detail: str = ""
    """What is wrong and what answered, in one line; empty where nothing is wrong."""


class Limits(Value, frozen=True, kw_only=True):
    """The size of one request, and how many are under way together."""

    documents: int = 2000
    bytes: int = 5 << 20
    in_flight: int = 2
    """While Elasticsearch works at one request, the next is sent; a further one lies ready."""


_Settled = Future[tuple[Letter, ...]]


class Forwarder:
    """Sends what is in a spool, for as long as it runs. One forwarder to a spool."""

    def __init__(self, spool: Spool, target: Target, *, limits: Limits | None = None, pace: Pace | None = None) -> None:
        self._spool = spool
        self._target = target
        self._limits = limits or Limits()
        self._pace = pace or Pace()
        self._troubles: dict[int, tuple[Trouble, str]] = {}
        """By the batch's end; written by the couriers."""
        self._state = ForwarderState.STOPPED
        self._stop = threading.Event()

    def status(self) -> ForwarderStatus:
        """How it goes now; may be asked from any thread."""
        troubles = tuple(self._troubles.values())
        if self._state is not ForwarderState.STOPPED and troubles:
            trouble, detail = max(troubles, key=lambda entry: entry[0] is Trouble.DENIED)
            return ForwarderStatus(state=ForwarderState(trouble.value), detail=detail)
        return ForwarderStatus(state=self._state)

    def run(self, stop: threading.Event, *, until_empty: bool = False, grace: float = 5.0) -> None:
        """Ship until told to stop. What is then not settled stays in the spool.

        Args:
            stop: Set it from anywhere to end this.
            until_empty: Also end when the spool has nothing left.
            grace: Seconds that requests under way get to finish after `stop`.

        Raises:
            DoorwatchError: The spool cannot be read.
        """
        self._stop = stop
        self._state = ForwarderState.IDLE
        jobs: queue.SimpleQueue[tuple[Batch, _Settled] | None] = queue.SimpleQueue()
        under_way: deque[tuple[Batch, _Settled]] = deque()
        for number in range(self._limits.in_flight):
            threading.Thread(target=self._courier, args=(jobs,), name=f"courier-{number}", daemon=True).start()
        try:
            while not stop.is_set():
                self._fill(under_way, jobs)
                if under_way:
                    wait([under_way[0][1]], timeout=_LOOK_SECONDS)
                    self._settle_finished(under_way)
                elif until_empty:
                    break
                else:
                    self._state = ForwarderState.IDLE
                    self._spool.wait(_LOOK_SECONDS)
            wait([settled for _, settled in under_way], timeout=grace)
            self._settle_finished(under_way)
        finally:
            for _ in range(self._limits.in_flight):
                jobs.put(None)
            self._state = ForwarderState.STOPPED
            self._troubles.clear()
            self._spool.rewind()

    def _fill(
        self,
        under_way: deque[tuple[Batch, _Settled]],
        jobs: queue.SimpleQueue[tuple[Batch, _Settled] | None],
    ) -> None:
        """Give the couriers work, as far as there is some, and one batch more: none of them waits for the disk."""
        while len(under_way) <= self._limits.in_flight:
            batch = self._spool.next_batch(self._limits.documents, self._limits.bytes)
            if batch is None:
                return
            self._state = ForwarderState.SHIPPING
            under_way.append((batch, Future()))
            jobs.put(under_way[-1])

    def _courier(self, jobs: queue.SimpleQueue[tuple[Batch, _Settled] | None]) -> None:
        """A thread that settles one batch after another. A daemon: a request that hangs does not hold up the exit."""
        while (job := jobs.get()) is not None:
            batch, settled = job
            try:
                settled.set_result(self._deliver(batch))
            except BaseException as error:  # noqa: BLE001 - whoever waits for the result gets it
                settled.set_exception(error)

    def _deliver(self, batch: Batch) -> tuple[Letter, ...]:
        delivery = Delivery(
            self._target, self._pace, self._stop, lambda trouble, detail: self._note(batch.end, trouble, detail)
        )
        return delivery.settle(batch.records)

    def _settle_finished(self, under_way: deque[tuple[Batch, _Settled]]) -> None:
        """Commit the batches at the head that are done, in order."""
        while under_way and under_way[0][1].done():
            batch, settled = under_way[0]
            try:
                letters = settled.result()
            except StoppedError:
                return
            if letters:
                first = letters[0]
                LOG.warning(
                    "%d documents become dead letters; the first is %s of %s: %s: %s",
                    len(letters),
                    first.id,
                    first.data_stream,
                    first.reason.type,
                    first.reason.reason,
                )
            if not self._commit(batch, letters):
                return
            under_way.popleft()

    def _commit(self, batch: Batch, letters: tuple[Letter, ...]) -> bool:
        """Commit, however long the disk has no room for the letters; False where that did not come before the end."""
        while True:
            try:
                self._spool.commit(batch, letters)
            except OSError as error:
                self._note(batch.end, Trouble.DENIED, f"{self._spool.directory}: cannot be written: {error.strerror}")
                if self._stop.wait(self._pace.delay(Trouble.DENIED, 0)):
                    return False
            else:
                self._note(batch.end, None, "")
                return True

    def _note(self, batch_end: int, trouble: Trouble | None, detail: str) -> None:
        """Remember a batch's trouble, and log it where it is new."""
        before = self._troubles.pop(batch_end, None)
        if trouble is not None:
            self._troubles[batch_end] = (trouble, detail)
            if before is None or before[0] is not trouble:
                LOG.warning("shipping is %s: %s", trouble, detail)
        elif before is not None:
            LOG.info("shipping goes on")
