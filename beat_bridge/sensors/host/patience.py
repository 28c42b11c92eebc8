"""Work on things that may never answer.

Any look at a process can hang for as long as that process likes: its arguments may lie in memory backed by a FUSE
server that does not answer, its executable on a file server that died, its socket may be locked by a sender stuck in
such memory. A system call that hangs cannot be called back; the thread that made it can be left behind.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

PATIENCE_SECONDS = 2.0
MAX_STUCK = 8


class Stuck:
    """Stands where a result would, had it come in time."""


STUCK = Stuck()


def each(
    work: Callable[[T], R], things: Sequence[T], patience: float = PATIENCE_SECONDS, max_stuck: int = MAX_STUCK
) -> list[R | Stuck]:
    """Do `work` on each thing, in order, in a thread that is abandoned where it hangs.

    Args:
        work: Called with one thing at a time, never two at once except for a call left behind.
        things: What to work on.
        patience: Seconds without progress after which the present thing is given up.
        max_stuck: After so many given up, the rest is given up too.

    Returns:
        For each thing its result, or STUCK.

    Raises:
        Exception: What `work` raised.
    """
    results: list[R | Stuck] = [STUCK] * len(things)
    begin = 0
    for _ in range(max_stuck):
        run = _Run(work, things, results, begin)
        if run.finished_within(patience):
            return results
        begin = run.position + 1
    return results


class _Run(Generic[T, R]):
    """One thread's way through the things, until it ends or is left behind."""

    def __init__(self, work: Callable[[T], R], things: Sequence[T], results: list[R | Stuck], begin: int) -> None:
        self.position = begin
        self._work, self._things, self._results = work, things, results
        self._abandoned = False
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._go, name="doorwatch-look", daemon=True)
        self._thread.start()

    def _go(self) -> None:
        try:
            while self.position < len(self._things):
                result = self._work(self._things[self.position])
                with self._lock:
                    if self._abandoned:
                        return
                    self._results[self.position] = result
                    self.position += 1
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread, whatever it is
            self._error = error

    def finished_within(self, patience: float) -> bool:
        """Wait as long as there is progress; False, and the thread left behind, where there is none."""
        while True:
            before = self.position
            self._thread.join(patience)
            if not self._thread.is_alive():
                if self._error is not None:
                    raise self._error
                return True
            with self._lock:
                if self.position == before:
                    self._abandoned = True
                    return False
