"""Calls that hang are left behind, and do nothing afterwards."""

import threading

import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.guests.patience import Worker, _Errand

SHORT = 0.05


def test_answers_and_errors_come_back() -> None:
    """What a call returns or raises, the caller gets."""
    worker = Worker("them", 30)
    assert worker.call("a question", lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        worker.call("a question", lambda: 1 // 0)
    worker.end()


def test_a_hanging_call_is_left_and_undone() -> None:
    """The caller goes on when its time is up; when the call ends after all, it is undone, even if it failed."""
    for failing in (False, True):
        worker = Worker("them", SHORT)
        go, undone = threading.Event(), threading.Event()

        def hang(go: threading.Event = go, failing: bool = failing) -> None:
            go.wait(30)
            if failing:
                raise OSError("too late")

        with pytest.raises(DoorwatchError, match=r"^them: stopping did not end in 0\.05 s: libvirtd hangs"):
            worker.call("stopping", hang, too_late=undone.set)
        assert not undone.is_set()
        go.set()
        assert undone.wait(30)
        assert worker.call("a question", lambda: 1, seconds=30) == 1, "the worker works on"
        worker.end()


def test_what_was_not_begun_is_never_done() -> None:
    """A call behind one that hangs is given up too, and does not happen when the first has ended."""
    worker = Worker("them", SHORT)
    go, done = threading.Event(), []
    with pytest.raises(DoorwatchError):
        worker.call("the first", lambda: go.wait(30))
    with pytest.raises(DoorwatchError):
        worker.call("the second", lambda: done.append("second"), too_late=lambda: done.append("undone"))
    go.set()
    assert worker.call("the third", lambda: 3, seconds=30) == 3
    assert done == []
    worker.end()


def test_what_ends_in_time_is_not_undone() -> None:
    """Undoing is for what came too late only, also where the two nearly meet."""
    undone: list[int] = []
    worker = Worker("them", 30)
    for number in range(200):
        assert worker.call("a question", number.bit_length, too_late=lambda: undone.append(1)) == number.bit_length()
    assert undone == []
    worker.end()


def test_an_interrupted_wait_gives_up() -> None:
    """Ctrl-C while waiting means that what is under way is undone when it ends."""
    worker = Worker("them", 30)
    began, go, undone = threading.Event(), threading.Event(), threading.Event()

    def interrupt(_self: object, _seconds: float) -> bool:
        assert began.wait(30)
        raise KeyboardInterrupt

    def stop() -> None:
        began.set()
        go.wait(30)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Errand, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            worker.call("stopping", stop, too_late=undone.set)
    go.set()
    assert undone.wait(30)
    worker.end()
