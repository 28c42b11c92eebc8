"""A real libvirtd and its guests: the same as over QMP, by another way, with libvirt's own client as second source."""

import contextlib
import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.guests import GuestGone, GuestState
from beat_bridge.sensors.hypervisor.guests.discovery import find, list_libvirt
from beat_bridge.sensors.hypervisor.guests.libvirt import LibvirtGuest, open_libvirt
from beat_bridge.sensors.hypervisor.guests.ram import Backend
from beat_bridge.sensors.hypervisor.looking import look
from beat_bridge.sensors.hypervisor.memory.elf_dump import ElfDump
from beat_bridge.sensors.hypervisor.sight import Sight
from beat_bridge.sensors.hypervisor.symbols.profile import load_profile
from beat_bridge.sensors.hypervisor.symbols.vmcoreinfo import find_vmcoreinfo
from tests.lab.guest import Image, image
from tests.lab.libvirt import PRIVATE, SHARED_MEMFD, Booted, Libvirtd, obstacle, running

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def daemon() -> Iterator[Libvirtd]:
    """A libvirtd."""
    if why := obstacle():
        pytest.skip(why)
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def booted_from() -> Image:
    """What the guests boot."""
    return image("bookworm")


@pytest.fixture(scope="module")
def booted(daemon: Libvirtd, booted_from: Image) -> Iterator[Booted]:
    """A guest that runs; leave it as it was."""
    with daemon.guest(booted_from, "web") as guest:
        yield guest


@pytest.fixture
def guest(daemon: Libvirtd, booted: Booted) -> Iterator[LibvirtGuest]:
    """The same, through the product."""
    opened = open_libvirt(daemon.uri, booted.name, timeout=20)
    yield opened
    opened.close()


@pytest.fixture
def sight(guest: LibvirtGuest, booted_from: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sight]:
    """A look at it."""
    cache = tmp_path_factory.getbasetemp() / "libvirt-profiles"
    cache.mkdir(exist_ok=True)
    made = Sight(guest.memory, kernels=[booted_from.kernel], cache_dir=cache)
    yield made
    made.close()


def _state(daemon: Libvirtd, name: str = "web") -> str:
    return daemon.virsh("domstate", name).strip()


def test_it_is_found_by_name_and_uuid(daemon: Libvirtd, booted: Booted) -> None:
    """Both names lead to the same guest; another is told what there is; a daemon that is not there is told too."""
    for name in (booted.name, booted.uuid):
        found = find(name, uris=[daemon.uri])
        assert (found.name, found.uuid, found.state()) == (booted.name, booted.uuid, GuestState.RUNNING)
        found.close()
    with pytest.raises(DoorwatchError, match=r"there is no guest db; there are: web$"):
        open_libvirt(daemon.uri, "db")
    missing = f"qemu+unix:///session?socket={daemon.directory}/none"
    with pytest.raises(DoorwatchError, match=rf"no guest db; there are: web {booted.uuid} .*none: .*No such file"):
        find("db", uris=[daemon.uri, missing])


def test_a_paused_guest_stands_still(daemon: Libvirtd, guest: LibvirtGuest) -> None:
    """Libvirt's client says the same as the product; pausing twice is pausing."""
    guest.pause()
    guest.pause()
    assert (guest.state(), _state(daemon)) == (GuestState.PAUSED, "paused")
    guest.resume()
    assert (guest.state(), _state(daemon)) == (GuestState.RUNNING, "running")


def test_each_way_into_its_ram_finds_its_kernel(daemon: Libvirtd, booted: Booted) -> None:
    """The RAM file, QEMU's memory and libvmi lead to the kernel that the guest says it runs."""
    release = booted.check("uname", "-r").strip()
    for backend in Backend:
        guest = open_libvirt(daemon.uri, booted.name, backend=backend)
        memory = guest.memory()
        assert find_vmcoreinfo(memory).release == release
        memory.close()
        guest.close()


def test_it_is_seen_as_it_sees_itself(booted: Booted, sight: Sight, daemon: Libvirtd) -> None:
    """Running and paused looks name its boot and processes; it runs afterwards."""
    boot = booted.check("cat", "/proc/sys/kernel/random/boot_id").strip()
    shown = {int(pid) for pid in booted.check("ls", "/proc").split() if pid.isdecimal()}
    for found in (sight.look(), sight.look_paused()):
        assert found.host.boot_id == boot
        assert len(shown - {process.pid for process in found.processes}) <= 3, "but for those that have ended"
    assert _state(daemon) == "running"


def test_whom_somebody_else_stopped_stays_stopped(daemon: Libvirtd, sight: Sight) -> None:
    """A guest that an operator has suspended is looked at, and left suspended."""
    daemon.virsh("suspend", "web")
    try:
        assert sight.look_paused().processes
        assert _state(daemon) == "paused"
    finally:
        daemon.virsh("resume", "web")


def test_its_link_goes_down_and_up(booted: Booted, guest: LibvirtGuest) -> None:
    """With the link down no echo comes back from its gateway, and its card has no carrier; up, there are both."""
    booted.check("modprobe", "virtio_net")
    booted.check("sh", "-c", "ip link set eth0 up; ip addr replace 10.0.2.15/24 dev eth0")

    def echoes() -> bool:
        return booted.check("sh", "-c", "busybox ping -c 2 -W 2 10.0.2.2 >/dev/null && echo yes || echo no") == "yes\n"

    assert echoes()
    guest.set_link(up=False)
    assert booted.check("cat", "/sys/class/net/eth0/carrier") == "0\n"
    assert not echoes()
    guest.set_link(up=True)
    assert echoes()


def test_a_dump_is_the_guests_memory(daemon: Libvirtd, booted: Booted, guest: LibvirtGuest, booted_from: Image) -> None:
    """The dump is ELF, readable by its owner only, and the kernel in it has the processes the guest lists."""
    path = daemon.directory / "evidence.elf"
    shown = {int(pid) for pid in booted.check("ls", "/proc").split() if pid.isdecimal()}
    guest.dump_memory(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [left.name for left in daemon.directory.glob("*evidence*")] == [path.name]
    memory = ElfDump(path)
    found = look(memory, load_profile(booted_from.kernel, memory))
    memory.close()
    path.unlink()
    assert len(shown & {process.pid for process in found.processes}) >= len(shown) - 3
    with pytest.raises(DoorwatchError, match="a memory dump to /no/such/place/file"):
        guest.dump_memory(Path("/no/such/place/file"))


def test_a_guest_returns_to_its_snapshot(daemon: Libvirtd, booted_from: Image, tmp_path: Path) -> None:
    """Put back, its RAM lies in another file, and the look shows it there as it was: a later process is not in it."""
    with daemon.guest(booted_from, "moved") as booted:
        guest = open_libvirt(daemon.uri, "moved", timeout=20)
        sight = Sight(guest.memory, kernels=[booted_from.kernel], cache_dir=tmp_path)
        guest.snapshot("clean")
        with pytest.raises(DoorwatchError, match="already exists"):
            guest.snapshot("clean")
        with pytest.raises(DoorwatchError, match="no domain snapshot"):
            guest.revert("other")
        assert _state(daemon, "moved") == "running"
        booted.check("sh", "-c", "sleep 1000 >/dev/null 2>&1 &")
        assert "sleep" in {process.name for process in sight.look().processes}
        before = {file: file.stat().st_ino for file in daemon.directory.glob("ram/libvirt/qemu/*-moved/pc.ram")}
        guest.pause()
        guest.revert("clean")
        after = {file: file.stat().st_ino for file in daemon.directory.glob("ram/libvirt/qemu/*-moved/pc.ram")}
        assert before.keys().isdisjoint(after), "libvirt has moved it"
        assert _state(daemon, "moved") == "paused"
        for found in (sight.look(), sight.look_paused()):
            assert len(found.processes) > 10
            assert "sleep" not in {process.name for process in found.processes}
        guest.revert("clean")
        guest.resume()
        guest.revert("clean")
        assert _state(daemon, "moved") == "running"
        sight.close()
        guest.close()


def test_a_reset_never_gives_the_past(daemon: Libvirtd, booted_from: Image, tmp_path: Path) -> None:
    """From the reset on each look is an error or of the new boot, though libvirt does not tell what runs."""
    with daemon.guest(booted_from, "reset", backing=SHARED_MEMFD) as booted:
        opened = open_libvirt(daemon.uri, "reset", timeout=20)
        sight = Sight(opened.memory, kernels=[booted_from.kernel], cache_dir=tmp_path)
        before = booted.check("cat", "/proc/sys/kernel/random/boot_id").strip()
        assert sight.look().host.boot_id == before
        daemon.virsh("reset", "reset")
        ready = threading.Thread(target=booted.channel.wait_ready, args=(120,))
        ready.start()
        refused = 0
        while ready.is_alive():
            try:
                assert sight.look().host.boot_id != before
            except DoorwatchError:
                refused += 1
            threading.Event().wait(0.05)
        after = booted.check("cat", "/proc/sys/kernel/random/boot_id").strip()
        assert refused
        assert sight.look().host.boot_id == after != before
        daemon.virsh("destroy", "reset")
        assert opened.state() is GuestState.OFF
        with pytest.raises(GuestGone, match="is off"):
            sight.look()
        sight.close()
        opened.close()


def test_guests_are_listed_with_what_to_change(daemon: Libvirtd, booted: Booted, booted_from: Image) -> None:
    """Running and defined guests are listed; of one that cannot be read the line names the XML that makes it so."""
    daemon.define(booted_from, "asleep")
    daemon.define(booted_from, "private", backing=PRIVATE, memory=64)
    daemon.virsh("start", "private", "--paused")
    try:
        listed = {each.name: each for each in list_libvirt(daemon.uri, backend=Backend.RAM_FILE)}
    finally:
        daemon.virsh("destroy", "private")
        for name in ("asleep", "private"):
            daemon.virsh("undefine", name)
    assert {name: each.state for name, each in listed.items()} == {
        "asleep": GuestState.OFF,
        "private": GuestState.PAUSED,
        "web": GuestState.RUNNING,
    }
    assert [name for name, each in listed.items() if each.readable] == ["web"]
    assert listed["web"].uuid == booted.uuid
    assert "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>" in listed["private"].obstacle


def test_a_hung_libvirtd_is_a_time_out(daemon: Libvirtd, booted: Booted) -> None:
    """While libvirtd is stopped, calls end with one line; a pause it carries out later is undone."""
    impatient = open_libvirt(daemon.uri, booted.name, timeout=0.5)
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(DoorwatchError, match=r"did not end in 0\.5 s: libvirtd hangs"):
            impatient.pause()
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
    with contextlib.closing(open_libvirt(daemon.uri, booted.name, timeout=30)) as patient:
        assert patient.state() is GuestState.RUNNING
    impatient.close()


def test_a_hung_qemu_is_not_left_paused(daemon: Libvirtd, booted: Booted) -> None:
    """A pause that QEMU takes only after it was given up is undone by whoever asked for it."""
    guest = open_libvirt(daemon.uri, booted.name, timeout=1)
    pid = int((daemon.directory / "run/libvirt/qemu/run/web.pid").read_text())
    assert guest.state() is GuestState.RUNNING
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(DoorwatchError, match="stopping it did not end in 1 s"):
            guest.pause()
    finally:
        os.kill(pid, signal.SIGCONT)
    guest.close()  # waits its turn behind the stop and what undoes it
    for _ in range(600):
        events = daemon.virsh("domstate", "web", "--reason").strip()
        if events == "running (unpaused)":
            break
        threading.Event().wait(0.1)
    assert events == "running (unpaused)", "it was stopped, and let go on"
    assert booted.check("echo", "on") == "on\n"


def test_a_connection_that_breaks_is_made_anew(daemon: Libvirtd, booted: Booted) -> None:
    """After libvirt has closed the connection the next call opens another, and counts it as a possible reset."""
    guest = open_libvirt(daemon.uri, booted.name, timeout=20)
    memory = guest.memory()
    before = memory.standing().incarnation.resets
    guest._connection._worker.call("breaking", guest._connection._disconnect)
    assert guest.state() is GuestState.RUNNING
    assert memory.standing().incarnation.resets == before + 1
    memory.close()
    guest.close()
