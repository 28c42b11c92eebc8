"""Processes that do not let themselves be looked at."""

import errno
import os

import pytest

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.sensors.host import proc, processes
from beat_bridge.sensors.host.descriptors import Descriptors
from beat_bridge.sensors.host.network import Namespaces
from beat_bridge.sensors.host.patience import STUCK


def test_a_process_that_does_not_answer_is_told_with_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hangs whoever looks at it stays in the inventory, its details failed, and coverage counts it."""
    monkeypatch.setattr(processes, "each", lambda _, things: [STUCK] * len(things))
    look = processes.look_at_processes(Descriptors(), Namespaces())
    ours = next(each for each in look.processes if each.pid == os.getpid())
    assert ours.parent_pid == os.getppid()
    for field in (ours.executable, ours.args, ours.environment, ours.user_id):
        assert isinstance(field, Unavailable)
        assert field.reason is Reason.FAILED
    assert (look.coverage.status, look.coverage.missed) == (CoverageStatus.PARTIAL, len(look.processes))
    assert "gave no answer" in look.coverage.detail


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EACCES, "refused"), Reason.REFUSED),
        (OSError(errno.EPERM, "refused"), Reason.REFUSED),
        (OSError(errno.EIO, "failed"), Reason.FAILED),
        (ValueError("not a stat line"), Reason.FAILED),
    ],
)
@pytest.mark.parametrize("readings", [0, 1])
def test_a_process_whose_state_may_not_be_read_is_a_gap(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: Reason, readings: int
) -> None:
    """A process that /proc lists and a security module keeps from being told is missed, and the list is not whole."""
    whole, ours, left = proc.stat, os.getpid(), [readings]

    def stat(pid: int) -> proc.Stat:
        if pid == ours:
            left[0] -= 1
            if left[0] < 0:
                raise error
        return whole(pid)

    monkeypatch.setattr(proc, "stat", stat)
    monkeypatch.setattr(proc, "pids", lambda: [os.getppid(), ours])
    look = processes.look_at_processes(Descriptors(), Namespaces())
    assert [each.pid for each in look.processes] == [os.getppid()]
    assert (look.coverage.status, look.coverage.reason) == (CoverageStatus.PARTIAL, reason)
    assert (look.coverage.missed, look.coverage.listed) == (1, False)
    assert "1 processes are there and cannot be told" in look.coverage.detail


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESRCH])
def test_a_process_that_ended_meanwhile_is_no_gap(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """What /proc listed and is not there any more is left out, and nothing was missed."""

    def stat(_pid: int) -> proc.Stat:
        raise OSError(number, "gone")

    monkeypatch.setattr(proc, "stat", stat)
    monkeypatch.setattr(proc, "blind_spot", lambda: "")
    look = processes.look_at_processes(Descriptors(), Namespaces())
    assert (look.processes, look.coverage.status) == ((), CoverageStatus.COMPLETE)
