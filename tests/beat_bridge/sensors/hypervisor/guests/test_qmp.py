"""A real guest behind a QMP socket obeys, and what it is left as is proven by something else than the call."""

import contextlib
import os
import signal
import stat
from pathlib import Path

import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.guests import GuestGone, GuestState
from beat_bridge.sensors.hypervisor.guests.discovery import find, list_qmp
from beat_bridge.sensors.hypervisor.guests.qmp import open_qmp
from beat_bridge.sensors.hypervisor.guests.ram import Backend
from beat_bridge.sensors.hypervisor.looking import look
from beat_bridge.sensors.hypervisor.memory.elf_dump import ElfDump
from beat_bridge.sensors.hypervisor.symbols.profile import load_profile
from beat_bridge.sensors.hypervisor.symbols.vmcoreinfo import find_vmcoreinfo
from tests.beat_bridge.sensors.hypervisor.guests.conftest import Wired
from tests.beat_bridge.sensors.hypervisor.guests.peers import answering, impostor, qemu
from tests.lab.capabilities import NOBODY
from tests.lab.guest import Guest, GuestTimeoutError
from tests.lab.guest.monitor import execute
from tests.lab.guest.qemu import MIB
from tests.lab.processes import within

pytestmark = pytest.mark.guest
MEMFD = ["-object", "memory-backend-memfd,id=ram,size=16M,share=on", "-machine", "q35,memory-backend=ram"]


def _status(guest: Guest) -> str:
    return str(execute(guest.monitor_path, "query-status")["status"])


def test_a_paused_guest_stands_still(wired: Wired) -> None:
    """Paused it answers nothing, and QEMU's own account agrees; resumed it goes on."""
    wired.qmp.pause()
    assert wired.qmp.state() is GuestState.PAUSED
    assert _status(wired.guest) == "paused"
    usual, wired.guest._channel._grace = wired.guest._channel._grace, 0.3
    with pytest.raises(GuestTimeoutError):
        wired.guest.run(["true"], timeout=0.3)
    wired.guest._channel._grace = usual
    wired.qmp.resume()
    assert wired.qmp.state() is GuestState.RUNNING
    assert wired.guest.run(["echo", "on"]).out == b"on\n"


def test_no_frame_leaves_a_guest_whose_links_are_down(wired: Wired) -> None:
    """What the guest sends arrives at the far end of both cables, of neither when they are pulled, of both again."""
    assert wired.heard() == [True, True]
    wired.qmp.set_link(False)
    assert wired.heard() == [False, False]
    assert wired.guest.get("/sys/class/net/eth1/carrier") == b"0\n"
    wired.qmp.set_link(True)
    assert wired.heard() == [True, True]


def test_a_guest_without_a_network_card_is_told(tmp_path: Path) -> None:
    """Pulling no cable is not isolation."""
    with qemu(tmp_path), pytest.raises(DoorwatchError, match="idle: this guest has no network card"):
        open_qmp(tmp_path / "idle.qmp").set_link(False)


def test_a_dump_is_the_guests_memory(wired: Wired, tmp_path: Path) -> None:
    """The dump is ELF, readable by its owner only, and the kernel in it has the processes the guest lists."""
    path = tmp_path / "evidence.elf"
    path.write_bytes(b"what stood there before")
    path.chmod(0o644)
    shown = {int(pid) for pid in wired.guest.check("sh", "-c", "ls /proc").split() if pid.isdecimal()}
    wired.qmp.dump_memory(path)
    assert wired.qmp.state() is GuestState.RUNNING
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [left.name for left in tmp_path.iterdir()] == [path.name]
    memory = ElfDump(path)
    found = look(memory, load_profile(wired.guest.kernel_image, memory))
    memory.close()
    assert len(shown & {process.pid for process in found.processes}) >= len(shown) - 3, "but for those that have ended"


def test_a_dump_that_cannot_be_written_leaves_nothing(wired: Wired, tmp_path: Path) -> None:
    """A directory that is not there, and a disk too small, are one line each; what stood there stays."""
    with pytest.raises(DoorwatchError, match="cannot write there"):
        wired.qmp.dump_memory(tmp_path / "none" / "evidence")


def test_a_dump_that_qemu_gives_up_leaves_what_was_there(tmp_path: Path) -> None:
    """Where QEMU says that it failed, as on a full disk, neither a part of the dump nor a scratch file remains."""
    answers: dict[str, object] = {
        "query-name": {"name": "full"},
        "query-uuid": {"UUID": ""},
        "query-memdev": [],
        "getfd": {},
        "dump-guest-memory": {},
        "query-dump": {"status": "failed"},
    }
    (tmp_path / "evidence").write_bytes(b"older")
    with (
        impostor(tmp_path / "s", answering(answers)) as path,
        pytest.raises(DoorwatchError, match="evidence: QEMU could not write this memory dump: is the disk full"),
    ):
        open_qmp(path).dump_memory(tmp_path / "evidence")
    assert (tmp_path / "evidence").read_bytes() == b"older"
    assert sorted(left.name for left in tmp_path.iterdir()) == ["evidence", "s"]


def test_a_guest_returns_to_its_snapshot(wired: Wired) -> None:
    """What was written after the snapshot is gone, what was before is there, and it runs on; names are minded."""
    wired.guest.put("/run/before", b"1")
    wired.qmp.snapshot("clean")
    with pytest.raises(DoorwatchError, match="has a snapshot clean already"):
        wired.qmp.snapshot("clean")
    wired.guest.put("/run/after", b"1")
    with pytest.raises(DoorwatchError, match=r"no snapshot other \(there are: clean\)"):
        wired.qmp.revert("other")
    assert wired.qmp.state() is GuestState.RUNNING, "a refusal changes nothing"
    wired.qmp.revert("clean")
    assert wired.qmp.state() is GuestState.RUNNING
    assert wired.guest.run(["sh", "-c", "cd /run; ls before after"]).out == b"before\n"


@pytest.mark.parametrize("backend", Backend)
def test_each_way_into_its_ram_finds_its_kernel(wired: Wired, backend: Backend) -> None:
    """File, process and libvmi, chosen by their names, lead to the kernel that the guest says it runs."""
    guest = open_qmp(wired.guest.qmp_path, backend=backend)
    memory = guest.memory()
    assert find_vmcoreinfo(memory).release == wired.guest.kernel_release
    memory.close()


def test_a_memory_without_a_name_is_read_through_qemu(tmp_path: Path) -> None:
    """A memfd is opened through QEMU's descriptor; private memory is read in QEMU itself; both have RAM to give."""
    with qemu(tmp_path, *MEMFD):
        for backend in (Backend.RAM_FILE, Backend.AUTO):
            memory = open_qmp(tmp_path / "idle.qmp", backend=backend).memory()
            assert len(memory.read(1 * MIB, 4096)) == 4096
            memory.close()
    with qemu(tmp_path, name="private"):
        memory = open_qmp(tmp_path / "private.qmp").memory()
        assert memory.regions()[-1].end == 16 * MIB
        assert len(memory.read(1 * MIB, 4096)) == 4096
        memory.close()
        with pytest.raises(
            DoorwatchError, match=r"not in a shared file\): start QEMU with  -object memory-backend-memfd"
        ):
            open_qmp(tmp_path / "private.qmp", backend=Backend.RAM_FILE).memory()


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming an ordinary user needs root")
def test_who_may_not_read_is_told_what_to_change(tmp_path: Path) -> None:
    """An ordinary user without rights to QEMU's memory is told which option makes it readable."""
    tmp_path.chmod(0o755)
    for directory in tmp_path.parents[:2]:
        directory.chmod(0o755)

    def attempt() -> bytes:
        try:
            open_qmp(tmp_path / "idle.qmp").memory()
        except DoorwatchError as error:
            return str(error).encode()
        return b"it could"

    with qemu(tmp_path):
        (tmp_path / "idle.qmp").chmod(0o777)
        said = within(attempt, NOBODY).decode()
    assert "its RAM cannot be read" in said
    assert "memory-backend-memfd,id=ram,size=SIZE,share=on" in said
    assert "\n" not in said


def test_ram_beyond_the_pci_hole_is_where_it_belongs(tmp_path: Path) -> None:
    """Of 4 GiB, QEMU's own account puts what is above the hole at 4 GiB."""
    large = [
        "-m",
        "4G",
        "-object",
        "memory-backend-memfd,id=ram,size=4G,share=on",
        "-machine",
        "q35,memory-backend=ram",
    ]
    with qemu(tmp_path, *large):
        memory = open_qmp(tmp_path / "idle.qmp").memory()
        regions = memory.regions()
        assert (regions[-1].start, regions[-1].end) == (4096 * MIB, 6144 * MIB)
        assert regions[-2].end == 2048 * MIB
        memory.close()


def test_ten_guests_are_listed_with_what_can_be_done(tmp_path: Path) -> None:
    """Each guest is listed under its name with whether its RAM can be read; one that hangs delays no other."""
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(qemu(tmp_path, *MEMFD, name=f"web{n}", uuid=f"00000000-0000-4000-8000-{n:012}"))
            for n in range(10)
        ]
        os.kill(processes[3].pid, signal.SIGSTOP)
        listed = list_qmp(tmp_path, timeout=2)
        assert [each.name for each in listed] == [f"web{n}" for n in range(10)]
        assert {each.state for each in listed if each.readable} == {GuestState.PAUSED}
        assert [each.name for each in listed if not each.readable] == ["web3"]
        assert listed[3].state is GuestState.UNKNOWN
        assert "is stopped" in listed[3].obstacle
        sockets = [Path(each.route) for each in listed]
        assert find("web7", uris=(), sockets=sockets[4:]).uuid.endswith("7")
        assert find(listed[5].uuid, uris=(), sockets=sockets[4:]).name == "web5"
        assert find(str(sockets[6]), uris=(), sockets=sockets[4:]).name == "web6"
        with pytest.raises(DoorwatchError, match=r"no guest db; there are: web4 .*web9 [^;]*$"):
            find("db", uris=(), sockets=sockets[4:])
        with pytest.raises(DoorwatchError, match="more than one guest web4"):
            find("web4", uris=(), sockets=[sockets[4], sockets[4]])


def test_a_guest_that_has_ended_is_gone(tmp_path: Path) -> None:
    """When QEMU ends, the state is gone, and every call says so."""
    with qemu(tmp_path):
        guest = open_qmp(tmp_path / "idle.qmp")
        memory = guest.memory()
    assert guest.state() is GuestState.GONE
    for call in (guest.pause, guest.resume, guest.memory, lambda: guest.set_link(False)):
        with pytest.raises(GuestGone, match="the guest has ended"):
            call()
    memory.close()
