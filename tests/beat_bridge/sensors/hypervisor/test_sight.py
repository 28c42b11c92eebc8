"""A guest is looked at through all that happens to it; no look is stale, mixed, or leaves it standing still."""

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.kernel import Hook
from beat_bridge.sensors.hypervisor.guests import GuestGone, GuestState
from beat_bridge.sensors.hypervisor.guests.qmp import open_qmp
from beat_bridge.sensors.hypervisor.looking import Introspection
from beat_bridge.sensors.hypervisor.sight import Sight
from tests.beat_bridge.sensors.hypervisor.guests.conftest import Wired, wired
from tests.lab.guest import Guest, image
from tests.lab.guest.bytes_changed import stopped
from tests.lab.guest.fixtures import bookworm
from tests.lab.guest.monitor import execute

__all__ = ["bookworm", "wired"]
pytestmark = pytest.mark.guest


@pytest.fixture(scope="session")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of kernels' symbols."""
    return tmp_path_factory.mktemp("profiles")


@pytest.fixture
def sight(wired: Wired, profiles: Path) -> Iterator[Sight]:
    """Of the shared guest."""
    made = wired.sight(profiles)
    yield made
    made.close()


def _boot_id(guest: Guest) -> str:
    return guest.get("/proc/sys/kernel/random/boot_id").decode().strip()


def _awaited(look: Callable[[], Inventory]) -> Inventory:
    """The first look that succeeds while a guest boots, at most some hundreds later."""
    for _ in range(600):
        try:
            return look()
        except DoorwatchError as error:
            last = error
            threading.Event().wait(0.05)
    raise last


def test_a_guest_is_seen_as_it_sees_itself(wired: Wired, sight: Sight) -> None:
    """The look names the guest's boot and the processes that it lists."""
    boot = _boot_id(wired.guest)
    shown = {int(pid) for pid in wired.guest.check("sh", "-c", "ls /proc").split() if pid.isdecimal()}
    found = sight.look()
    assert found.host.boot_id == boot
    assert len(shown - {process.pid for process in found.processes}) <= 3, "but for those that have ended"


def test_it_goes_on_after_a_paused_look(wired: Wired, sight: Sight) -> None:
    """While the look lasts QEMU says `paused`, and afterwards `running`; the time it stood still is told."""
    seen: list[tuple[str, bool]] = []
    usual = Introspection.look

    def look(self: Introspection, *, whole: bool) -> Inventory:
        seen.append((execute(wired.guest.monitor_path, "query-status")["status"], gc.isenabled()))
        return usual(self, whole=whole)

    sight.look()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Introspection, "look", look)
        found = sight.look_paused()
    assert seen == [("paused", False)], "it stands still, and not for the sake of collecting garbage"
    assert gc.isenabled()
    assert wired.qmp.state() is GuestState.RUNNING
    assert sight.stood_still_seconds > 0
    assert len(found.processes) > 10


def test_whom_somebody_else_stopped_stays_stopped(wired: Wired, sight: Sight) -> None:
    """A guest that an operator has paused is looked at, and left paused."""
    wired.qmp.pause()
    try:
        assert sight.look_paused().processes
        assert sight.look().processes
        assert wired.qmp.state() is GuestState.PAUSED
    finally:
        wired.qmp.resume()


@pytest.mark.parametrize("failure", [DoorwatchError("the look fails"), KeyboardInterrupt(), MemoryError()])
def test_a_look_that_fails_lets_it_go_on(wired: Wired, sight: Sight, failure: BaseException) -> None:
    """Whatever ends a look while the guest stands still, the guest goes on."""
    sight.look()

    def fail(_self: Introspection, **_how: bool) -> Inventory:
        raise failure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Introspection, "look", fail)
        with pytest.raises(type(failure)):
            sight.look_paused()
    assert wired.qmp.state() is GuestState.RUNNING
    assert sight.look().processes


_WATCHER = """
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever started the tests may ignore it
from pathlib import Path
from beat_bridge.sensors.hypervisor.guests.qmp import open_qmp
from beat_bridge.sensors.hypervisor.looking import Introspection
from beat_bridge.sensors.hypervisor.sight import Sight
qmp, image, cache = map(Path, sys.argv[1:])
usual = Introspection.look
def look(self, **how):
    print("paused", flush=True)
    sys.stdin.readline()
    return usual(self, **how)
Introspection.look = look
Sight(open_qmp(qmp).memory, kernels=[image], cache_dir=cache).look_paused()
print("went on", flush=True)
"""


_LOOKER = """
import sys
from pathlib import Path
import msgspec
from beat_bridge.sensors.hypervisor.guests.qmp import open_qmp
from beat_bridge.sensors.hypervisor.sight import Sight
sight = Sight(open_qmp(Path(sys.argv[1])).memory, baseline_file=Path(sys.argv[2]))
found = [hook for hook in sight.look().hooks if hook.actual != hook.expected and not hook.explained]
sys.stdout.buffer.write(msgspec.json.encode(found))
"""


def _looked(guest: Guest, baseline: Path) -> list[Hook]:
    """What a process of its own, with nothing but the guest's RAM and a baseline, tells."""
    argv = [sys.executable, "-c", _LOOKER, str(guest.qmp_path), str(baseline)]
    ended = subprocess.run(argv, cwd=Path(__file__).parents[4], capture_output=True, check=True)
    return msgspec.json.decode(ended.stdout, type=list[Hook])


def test_what_changes_while_nobody_looks_is_told_by_the_next_process(wired: Wired, tmp_path: Path) -> None:
    """Of a guest whose image nobody has, the first process keeps a baseline; a byte changed after it ended is drift."""
    _boot_id(wired.guest)  # a kernel makes its id when it is first asked for
    baseline = tmp_path / "baseline.json"
    assert _looked(wired.guest, baseline) == []
    kept = baseline.read_bytes()
    assert baseline.stat().st_mode & 0o777 == 0o600
    assert _looked(wired.guest, baseline) == []
    with stopped(wired.guest) as still:
        (place,) = still.places(1, seed=11)
        with still.changed(place.address, still.flipped(place, 5)):
            (found,) = _looked(wired.guest, baseline)
    assert found.symbol.startswith("page ")
    assert (found.surface, found.expected.split()[0]) == ("kernel_text", "baseline")
    assert baseline.read_bytes() == kept, "what has drifted is not what is kept"
    assert _looked(wired.guest, baseline) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_waits_until_it_goes_on(wired: Wired, profiles: Path, number: signal.Signals) -> None:
    """A process told to end while the guest stands still lets it go on first, and then ends by that signal."""
    argv = [sys.executable, "-c", _WATCHER, str(wired.guest.qmp_path), str(wired.guest.kernel_image), str(profiles)]
    root = Path(__file__).parents[4]
    with subprocess.Popen(
        argv, cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as watcher:
        assert watcher.stdout
        assert watcher.stdout.readline() == "paused\n"
        assert execute(wired.guest.monitor_path, "query-status")["status"] == "paused"
        watcher.send_signal(number)
        out, err = watcher.communicate("on\n", timeout=60)
    assert "went on" not in out
    assert watcher.returncode == -number, err
    assert execute(wired.guest.monitor_path, "query-status")["status"] == "running"


def test_a_process_that_is_killed_leaves_no_guest_standing(wired: Wired, profiles: Path) -> None:
    """Killed outright while the guest stands still, it is outlived by a process that lets the guest go on."""
    argv = [sys.executable, "-c", _WATCHER, str(wired.guest.qmp_path), str(wired.guest.kernel_image), str(profiles)]
    with subprocess.Popen(
        argv, cwd=Path(__file__).parents[4], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as watcher:
        assert watcher.stdout
        assert watcher.stdout.readline() == "paused\n"
        assert execute(wired.guest.monitor_path, "query-status")["status"] == "paused"
        watcher.kill()
    for _ in range(100):
        status = execute(wired.guest.monitor_path, "query-status")["status"]
        if status == "running":
            break
        threading.Event().wait(0.1)
    assert status == "running"
    assert wired.qmp.state() is GuestState.RUNNING, "and the socket is free again"


def test_a_look_disturbed_by_a_return_to_a_snapshot_is_taken_anew(wired: Wired, sight: Sight) -> None:
    """A guest put back in the middle of a look is looked at again, as it is then."""
    sight.look()
    wired.qmp.snapshot("sight")
    wired.guest.check("sleep", "0.5")
    usual = Introspection.look
    looks: list[Inventory] = []

    def look(self: Introspection, *, whole: bool) -> Inventory:
        found = usual(self, whole=whole)
        looks.append(found)
        if len(looks) == 1:
            wired.qmp.revert("sight")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Introspection, "look", look)
        found = sight.look()
    assert len(looks) == 2
    assert found is looks[1]


def test_a_reset_never_gives_the_past(profiles: Path) -> None:
    """From the reset on, each look is an error or of the new boot, though the old kernel still lies in RAM.

    A reset in the middle of a look spoils that look too.
    """
    with Guest(image("bookworm")) as guest:
        sight = Sight(open_qmp(guest.qmp_path).memory, kernels=[guest.kernel_image], cache_dir=profiles)
        before = _boot_id(guest)
        assert sight.look().host.boot_id == before
        usual = Introspection.look
        rebooting = threading.Thread(target=guest.reboot)

        def look(self: Introspection, *, whole: bool) -> Inventory:
            found = usual(self, whole=whole)
            if rebooting.ident is None:
                execute(guest.monitor_path, "set-action", reboot="reset")
                execute(guest.monitor_path, "system_reset")
                rebooting.start()
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Introspection, "look", look)
            with pytest.raises(DoorwatchError, match=r"restart|boot|VMCOREINFO"):
                sight.look()
        lines = set()
        while rebooting.is_alive():
            try:
                assert sight.look().host.boot_id != before
            except DoorwatchError as error:
                lines.add(str(error))
            threading.Event().wait(0.05)
        rebooting.join()
        after = _boot_id(guest)
        assert after != before
        assert _awaited(sight.look).host.boot_id == after
        assert lines
        assert not [line for line in lines if "\n" in line]
        sight.close()


def test_a_guest_that_dies_in_mid_look_is_gone(profiles: Path) -> None:
    """Killed in the middle of a look, it is gone, in one line; the next look says the same."""
    with Guest(image("bookworm")) as guest:
        sight = Sight(open_qmp(guest.qmp_path).memory, kernels=[guest.kernel_image], cache_dir=profiles)
        sight.look()
        usual = Introspection.look

        def look(self: Introspection, *, whole: bool) -> Inventory:
            os.kill(guest.pid, signal.SIGKILL)
            os.waitid(os.P_PID, guest.pid, os.WEXITED | os.WNOWAIT)
            return usual(self, whole=whole)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Introspection, "look", look)
            with pytest.raises(GuestGone):
                sight.look()
        with pytest.raises(GuestGone, match="has ended"):
            sight.look()
        with pytest.raises(GuestGone, match="has ended"):
            sight.look_paused()


def test_a_hung_qemu_is_a_time_out(profiles: Path) -> None:
    """While QEMU itself is stopped each look is one line that says so; when it goes on, so do the looks.

    Nobody then stops the guest after all.
    """
    with Guest(image("bookworm")) as guest:
        sight = Sight(open_qmp(guest.qmp_path, timeout=1).memory, kernels=[guest.kernel_image], cache_dir=profiles)
        sight.look()
        os.kill(guest.pid, signal.SIGSTOP)
        try:
            for look in (sight.look, sight.look_paused):
                with pytest.raises(DoorwatchError, match=f"process {guest.pid} is stopped"):
                    look()
        finally:
            os.kill(guest.pid, signal.SIGCONT)
        assert _awaited(sight.look).processes
        assert execute(guest.monitor_path, "query-status")["status"] == "running"
        sight.close()
