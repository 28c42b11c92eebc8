"""One look at the host for all who ask within a few seconds, and its failure as a value."""

import threading
import time
from collections.abc import Callable

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.inventory import Inventory

FRESH_SECONDS = 5.0
"""A query that joins our tables sees one moment, and a burst of queries costs one look."""
PATIENCE_SECONDS = 30.0
"""How long a query waits for a look that another began; osquery's own watchdog is no more patient."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What came of looking."""

    inventory: Inventory | None = None
    problem: str = ""
    """Why there is no inventory, in one line."""
    at: float
    """Seconds since the epoch."""


class Looks:
    """Keeps the last look for FRESH_SECONDS; never two at once."""

    def __init__(self, look: Callable[[], Inventory], *, fresh: float = FRESH_SECONDS) -> None:
        self._look = look
        self._fresh = fresh
        self._mutex = threading.Lock()
        self._kept: tuple[float, Look] | None = None

    def latest(self, patience: float = PATIENCE_SECONDS) -> Look:
        """The last look where it is fresh, else a new one. Never raises: a failure is a look too."""
        if not self._mutex.acquire(timeout=patience):
            return Look(problem=f"a look is still under way after {patience:g} s", at=time.time())
        try:
            if self._kept is not None and time.monotonic() - self._kept[0] < self._fresh:
                return self._kept[1]
            taken = self._take()
            self._kept = (time.monotonic(), taken)
            return taken
        finally:
            self._mutex.release()

    def _take(self) -> Look:
        try:
            return Look(inventory=self._look(), at=time.time())
        except DoorwatchError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - osquery must live on whatever a sensor meets; the row says what
            problem = f"a sensor failed: {type(error).__name__}: {error}"
        return Look(problem=" ".join(problem.split())[:500], at=time.time())
