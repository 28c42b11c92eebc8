"""Work on things that never answer."""

import threading

import pytest

from beat_bridge.sensors.host.patience import STUCK, each


def test_results_come_in_order() -> None:
    """Each thing has its result at its place, and no thread stays behind."""
    before = threading.active_count()
    assert each(lambda number: number * 2, range(100)) == [number * 2 for number in range(100)]
    assert threading.active_count() == before


def test_what_hangs_is_left_behind_and_the_rest_is_done() -> None:
    """A thing that never answers costs its own result only, and what it says later is not listened to."""
    release = threading.Event()

    def work(number: int) -> int:
        if number == 2:
            release.wait()
        return number

    results = each(work, range(5), patience=0.05)
    release.set()
    assert results == [0, 1, STUCK, 3, 4]


def test_after_too_many_the_rest_is_given_up() -> None:
    """The time spent on a host full of traps is bounded."""
    release = threading.Event()
    results = each(lambda _: release.wait(), range(50), patience=0.01, max_stuck=3)
    release.set()
    assert results == [STUCK] * 50


def test_errors_reach_the_caller() -> None:
    """What the work raises is raised where it was asked for."""
    with pytest.raises(ZeroDivisionError):
        each(lambda number: 1 // number, [1, 0])
