"""Calls into C libraries that may never return, made in a thread that may be left waiting."""

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from beat_bridge.errors import DoorwatchError

T = TypeVar("T")


class _Errand(Generic[T]):
    """One call, and who waits for it."""

    def __init__(self, call: Callable[[], T], too_late: Callable[[], object]) -> None:
        self._call = call
        self._too_late = too_late
        self._lock = threading.Lock()
        self._given_up = False
        self._done = threading.Event()
        self.value: T
        self.error: BaseException | None = None

    def run(self) -> None:
        """In the worker."""
        with self._lock:
            if self._given_up:
                return  # nobody waits any more: what was not begun is not done
        try:
            self.value = self._call()
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits for it
            self.error = error
        if self._ended_too_late():
            with contextlib.suppress(Exception):  # whoever gave it up has told so; nobody is left to be told more
                self._too_late()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it came in time."""
        return self._done.wait(seconds)

    def _ended_too_late(self) -> bool:
        with self._lock:
            self._done.set()
            return self._given_up

    def give_up(self) -> bool:
        """Wait no longer; False if it has ended after all."""
        with self._lock:
            self._given_up = not self._done.is_set()
            return self._given_up


def _nothing() -> None:
    return


class Worker:
    """Makes calls one after another, each with a time-out."""

    def __init__(self, name: str, seconds: float) -> None:
        """Begin a thread.

        Args:
            name: Of whom is called, for error lines.
            seconds: What a call may take.
        """
        self._name = name
        self._seconds = seconds
        self._errands: queue.SimpleQueue[_Errand[Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=f"doorwatch {name}", daemon=True).start()

    def call(
        self,
        what: str,
        call: Callable[[], T],
        *,
        seconds: float | None = None,
        too_late: Callable[[], object] = _nothing,
    ) -> T:
        """Make a call and wait for it.

        Args:
            what: It is, for the error line.
            call: Run in the worker.
            seconds: What it may take, where that is more than usual.
            too_late: Run in the worker if the call ends after it was given up, however it ends: undoes it.

        Raises:
            DoorwatchError: It did not end in time. If it had not begun, it never will.
        """
        errand = _Errand(call, too_late)
        self._errands.put(errand)
        limit = seconds or self._seconds
        try:
            errand.wait(limit)
        finally:
            given_up = errand.give_up()  # also where waiting was interrupted
        if given_up:
            raise DoorwatchError(
                f"{self._name}: {what} did not end in {limit:g} s: libvirtd hangs, or waits for a QEMU that does"
            )
        if errand.error is not None:
            raise errand.error
        return errand.value

    def end(self) -> None:
        """Let the thread end when it has done what it was given."""
        self._errands.put(None)

    def _work(self) -> None:
        while (errand := self._errands.get()) is not None:
            errand.run()
