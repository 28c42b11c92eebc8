"""Processes that do not let themselves be looked at."""

import os

import pytest

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.sensors.host import processes
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
