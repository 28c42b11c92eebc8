"""What must wait until a guest is let go on.

A process that ends between stop and cont leaves a machine standing still for ever; one that collects garbage there
doubles the time it does.
"""

import gc
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def garbage_kept() -> Iterator[None]:
    """The garbage collector does not run within the block."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def held_back() -> Iterator[None]:
    """What would end this process takes effect when the block is left.

    Only the main thread may arrange this. Programs that look from other threads handle these signals in it, and wait
    for their threads.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[signal.Signals] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(signal.Signals(number))

    usual = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in usual.items():
        if handler not in (None, signal.SIG_IGN):
            signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in usual.items():
            if handler is not None:
                signal.signal(number, handler)
        for number in dict.fromkeys(came):
            signal.raise_signal(number)
