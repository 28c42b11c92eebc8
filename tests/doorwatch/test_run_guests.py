"""`doorwatch run` watches guests from below: what it tells of them, and of those it cannot see."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from beat_bridge.model.bridge import BridgeStatus, GuestStatus, SpoolStatus
from beat_bridge.model.documents import Document
from beat_bridge.sensors.host.identity import identity
from beat_bridge.sensors.hypervisor.options import GuestOptions
from doorwatch.run import guests as watching
from doorwatch.run.guests import Guests
from doorwatch.run.progress import MOST_ROWS, view
from tests.lab.guest import Guest, GuestError, image, plants
from tests.lab.guest.accelerator import accelerator
from tests.lab.guest.fixtures import bookworm

__all__ = ["bookworm"]
ROOT = Path(__file__).parent.parent.parent
PATIENCE = 90.0


class Told:
    """Documents as they are published, for a test that waits for one."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self._arrived = threading.Condition()

    def publish(self, documents: Iterable[Document]) -> None:
        """Take them all."""
        with self._arrived:
            self.documents.extend(documents)
            self._arrived.notify_all()

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first document of a kind, as soon as it is there."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: any(wanted(each.body) for each in self.documents), PATIENCE)
            return next(each.body for each in self.documents if wanted(each.body))


@contextlib.contextmanager
def _watched(options: GuestOptions, directory: Path) -> Iterator[tuple[Guests, Told]]:
    told = Told()
    guests = Guests(options, told.publish, directory / "guests", "default")
    guests.start()
    try:
        yield guests, told
    finally:
        guests.stop()


def _finding(action: str, kind: str = "backdoor_process") -> Callable[[dict[str, Any]], bool]:
    return lambda body: body["event"]["action"] == f"finding-{action}" and body["doorwatch"]["finding"]["kind"] == kind


def _introspection(status: str) -> Callable[[dict[str, Any]], bool]:
    def wanted(body: dict[str, Any]) -> bool:
        coverage = body["doorwatch"].get("coverage", {})
        return bool(coverage.get("sensor") == "introspection" and coverage["status"] == status)

    return wanted


@pytest.mark.guest
def test_a_backdoor_in_a_guest_is_told_and_told_gone(bookworm: Guest, tmp_path: Path) -> None:
    """It is told under the guest's name while it runs, and gone once it has ended."""
    options = GuestOptions(qmp=(str(bookworm.qmp_path),), kernels=(str(bookworm.kernel_image),), interval=0.2)
    with _watched(options, tmp_path) as (guests, told):
        with plants.emulator(bookworm) as planted:
            opened = told.wait_for(_finding("opened"))
            assert opened["process"]["pid"] == planted.pid
        gone = told.wait_for(_finding("gone"))
        assert gone["doorwatch"]["finding"]["key"] == opened["doorwatch"]["finding"]["key"]
    (status,) = guests.statuses()
    # the hypervisor's word: a guest that chose its id could have another host cut off
    assert opened["host"]["id"] == f"{identity().id}/qmp"
    assert opened["host"]["name"] == bookworm.check("uname", "-n").strip()
    assert opened["observer"]["hostname"] == identity().name
    assert status.passes >= 2
    assert status.last_error == ""


@pytest.mark.guest
def test_a_guest_that_ends_is_told_as_unseen_not_as_clean(tmp_path: Path) -> None:
    """After QEMU is gone no finding is called gone: that nobody can look any more becomes a document."""
    booted = image("bookworm")
    with Guest(booted, accelerated_by=accelerator(booted)) as guest:
        options = GuestOptions(qmp=(str(guest.qmp_path),), interval=0.2)
        with _watched(options, tmp_path) as (_, told):
            told.wait_for(_introspection("complete"))
            # what is planted cannot be taken out of a guest that is gone
            with contextlib.suppress(GuestError), plants.emulator(guest):
                told.wait_for(_finding("opened"))
                os.kill(guest.pid, signal.SIGKILL)
                told.wait_for(_introspection("none"))
                assert not any(_finding("gone")(each.body) for each in told.documents)


def test_a_guest_that_cannot_be_reached_is_named_with_its_reason(tmp_path: Path) -> None:
    """A dead socket is no guest that is well: its status says why, and watching goes on."""
    path = tmp_path / "qmp.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.close()
    with _watched(GuestOptions(qmp=(str(path),)), tmp_path) as (guests, _):
        deadline = time.monotonic() + PATIENCE
        while not guests.statuses() and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        (status,) = guests.statuses()
    assert status.passes == 0
    assert str(path) in status.last_error


class Costly:
    """A guest of which each look takes half a second of processor time, and the clock it is watched by."""

    def __init__(self, name: str, clock: "Clock") -> None:
        self.name, self.due, self.looks = name, 0.0, 0
        self._clock = clock

    def look(self) -> float:
        """Let time pass."""
        self.looks += 1
        self._clock.now += 0.5
        self._clock.spent += 0.5
        self.due = self._clock.now + 1.0
        return 0.5

    def close(self) -> None:
        """Nothing is open."""


class Clock:
    """Time that passes only where somebody works or waits."""

    def __init__(self, end: float) -> None:
        self.now, self.spent, self._end = 0.0, 0.0, end

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def wait(self, seconds: float) -> bool:
        """In the place of Event.wait."""
        self.now += max(seconds, 0.001)
        return self.is_set()

    def is_set(self) -> bool:
        """In the place of Event.is_set: over at the end."""
        return self.now >= self._end


@pytest.mark.parametrize("share", [0.1, 0.25, 1.0])
def test_looks_take_no_more_than_their_share(share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten guests that want far more than the share get it in turn, evenly, and no more than it."""
    clock = Clock(end=1000.0)
    monkeypatch.setattr(watching, "time", clock)
    guests = Guests(GuestOptions(cpu_share=share), lambda _: None, tmp_path / "guests", "default")
    costly = {str(number): Costly(str(number), clock) for number in range(10)}
    guests._watches = dict(costly)  # type: ignore[arg-type] # stands in for GuestWatch
    guests._stop = clock  # type: ignore[assignment] # stands in for an Event
    monkeypatch.setattr(guests, "_discover", lambda: None)
    guests._run()
    assert clock.spent / clock.now <= share * 1.01
    assert clock.spent / clock.now >= share * 0.9
    looks = [each.looks for each in costly.values()]
    assert max(looks) - min(looks) <= 1


def test_progress_names_each_guest_and_puts_trouble_first() -> None:
    """The table has a line for each guest up to a bound, those that could not be looked at on top, controls escaped."""
    many = tuple(GuestStatus(name=f"guest-{number:03}", passes=3) for number in range(40))
    troubled = GuestStatus(name="web\x1b[2J", last_error="its RAM cannot be read")
    console = Console(record=True, width=120, force_terminal=False)
    console.print(view(BridgeStatus(spool=SpoolStatus(), passes=7, guests=(*many, troubled))))
    lines = console.export_text().splitlines()
    assert "\x1b" not in "".join(lines)
    assert "its RAM cannot be read" in lines[2]
    assert sum("guest-" in line for line in lines) == MOST_ROWS - 1
    assert "and 21 more" in lines[-1]


@pytest.mark.guest
def test_one_file_runs_it_and_sigterm_ends_it(bookworm: Guest, tmp_path: Path) -> None:
    """With `host: null` and a guest, the guest's findings reach the local store, and the process ends in order."""
    path = tmp_path / "doorwatch.yml"
    path.write_text(f"state: {tmp_path}/state\nhost: null\nguests:\n  qmp: [{bookworm.qmp_path}]\n  interval: 0.5\n")
    doorwatch = [sys.executable, "-m", "doorwatch"]
    with plants.emulator(bookworm):
        process = subprocess.Popen(
            [*doorwatch, "run", "--config", str(path)], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        log: list[str] = []
        try:
            assert process.stderr is not None
            for line in process.stderr:
                log.append(line)
                if "backdoor_process" in line:
                    break
        finally:
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, rest
    assert "Traceback" not in "".join(log) + rest
    search = [*doorwatch, "documents", "search", "doorwatch.finding.kind: backdoor_process"]
    search += ["--state", str(tmp_path / "state"), "--format", "json"]
    found = subprocess.run(search, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE, check=True)
    told = [json.loads(line) for line in found.stdout.splitlines()]
    assert [each["host"]["name"] for each in told] == [bookworm.check("uname", "-n").strip()]
