"""Visits to other network namespaces, and how they fail."""

import os
import sys

import pytest

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.sensors.sock_diag.namespaces import Visit, enter_directly


def test_a_namespace_that_is_gone_is_absent() -> None:
    """A path that leads nowhere, or to another namespace than the one that was meant, is not entered."""
    wanted = {1: ["/proc/self/ns/net"], 2: ["/nonexistent"], 3: []}
    for found in (Visit(wanted).surveys(), enter_directly(wanted)):
        for answer in found.values():
            assert isinstance(answer, Unavailable)
            assert answer.reason is Reason.ABSENT
        assert list(found) == [1, 2, 3]


def test_a_helper_that_cannot_start_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an interpreter to start, every namespace is told as failed, with the reason."""
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    (answer,) = Visit({1: ["/proc/self/ns/net"]}).surveys().values()
    assert isinstance(answer, Unavailable)
    assert (answer.reason, "cannot start the helper" in answer.detail) == (Reason.FAILED, True)


@pytest.mark.parametrize("helper", ["/bin/true", "/bin/echo"])
def test_a_helper_that_says_nonsense_is_a_failure(helper: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is cut short, or is none, is told as a failure and never as an empty namespace."""
    monkeypatch.setattr(sys, "executable", helper)
    (answer,) = Visit({1: ["/proc/self/ns/net"]}).surveys().values()
    assert isinstance(answer, Unavailable)
    assert answer.reason is Reason.FAILED


def test_visits_leave_no_descriptor_behind() -> None:
    """Looking again and again does not use up descriptors."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the number only
    for _ in range(3):
        Visit({1: ["/nonexistent"]}).surveys()
        enter_directly({1: ["/nonexistent"]})
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
