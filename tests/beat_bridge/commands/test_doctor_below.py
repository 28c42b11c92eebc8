"""`doorwatch doctor` on what can be looked at from below."""

import socket
from pathlib import Path

import pytest

from beat_bridge.commands import doctor_below
from beat_bridge.commands.doctor import State
from beat_bridge.sensors.hypervisor.options import GuestOptions
from tests.lab.guest import Guest
from tests.lab.guest.fixtures import bookworm

__all__ = ["bookworm"]


@pytest.mark.guest
def test_each_guest_is_tried_by_one_look(bookworm: Guest, tmp_path: Path) -> None:
    """A guest with its kernel's image works whole; without the image it works partly, and the line says why."""
    whole = GuestOptions(qmp=(str(bookworm.qmp_path),), kernels=(str(bookworm.kernel_image),))
    (told,) = doctor_below.guests(whole, tmp_path)
    assert told.state is State.PARTLY or told.state is State.WORKS
    assert "kernel_text" not in told.detail
    assert bookworm.kernel_release in told.detail
    (without,) = doctor_below.guests(GuestOptions(qmp=(str(bookworm.qmp_path),)), tmp_path / "other")
    assert without.state is State.PARTLY
    assert "kernel_text" in without.detail


def test_a_guest_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """A socket nobody listens at, and a directory that is not there, are told with their reason."""
    dead = tmp_path / "qmp.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(dead))
    listener.close()
    told = doctor_below.guests(GuestOptions(qmp=(str(dead), str(tmp_path / "absent"))), tmp_path)
    assert [check.state for check in told] == [State.NO, State.NO]
    assert str(dead) in told[0].detail
    assert str(tmp_path / "absent") in told[1].detail


def test_a_machine_without_libvirt_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no libvirtd listens none is asked, and the line says that."""
    monkeypatch.setattr(doctor_below, "LIBVIRT_SOCKETS", ("/nonexistent/libvirt-sock",))
    told = {check.name: check for check in doctor_below.local_hypervisors()}
    assert told["libvirt"].state is State.NO
    assert told["backend libvmi"].state is State.WORKS
