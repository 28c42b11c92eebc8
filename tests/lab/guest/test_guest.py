"""The guest: it boots both kernels, does what it is asked, and is bounded in all it does."""

import json
import mmap
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.guest import Guest, GuestError, GuestTimeoutError, image
from tests.lab.guest.fixtures import bookworm, guest
from tests.lab.guest.frames import PAYLOAD_LIMIT
from tests.lab.guest.monitor import execute, paused
from tests.lab.guest.outside import FOUR_GIB, Outside
from tests.lab.guest.qemu import MIB

__all__ = ["bookworm", "guest"]
pytestmark = pytest.mark.guest
ROOT = Path(__file__).parents[3]
SERIES = {"bookworm": "6.1.", "trixie": "6.12."}


def _holds(path: Path, pattern: bytes) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as ram:
        return ram.find(pattern) >= 0


def test_each_release_boots_its_kernel(guest: Guest) -> None:
    """The kernel that runs is the image's, and of the series the release is known by."""
    assert guest.check("uname", "-r").strip() == guest.kernel_release
    assert guest.kernel_release.startswith(SERIES[guest.image.release])


def test_the_kernel_lies_where_chance_put_it(guest: Guest) -> None:
    """KASLR is on: nothing on the command line turns it off, and the kernel was built with it."""
    assert "nokaslr" not in guest.check("cat", "/proc/cmdline")
    assert "CONFIG_RANDOMIZE_BASE=y" in guest.check("cat", f"/boot/config-{guest.kernel_release}")


def test_commands_answer_with_code_and_outputs(guest: Guest) -> None:
    """A command's input, outputs and exit code pass through the channel as they are."""
    answer = guest.run(["sh", "-c", "cat; printf error >&2; exit 7"], stdin=b"\x00\xff")
    assert answer == (7, b"\x00\xff", b"error")


def test_files_round_trip(guest: Guest) -> None:
    """A file of more than one frame arrives in the guest, and comes back, byte for byte."""
    data = secrets.token_bytes(MIB) * 16 + b"tail"
    assert len(data) > PAYLOAD_LIMIT
    guest.put("/root/made/file", data, 0o640)
    assert guest.check("stat", "-c", "%s %a", "/root/made/file").split() == [str(len(data)), "640"]
    assert guest.get("/root/made/file") == data
    guest.check("rm", "-r", "/root/made")


def test_a_hanging_command_is_bounded(guest: Guest) -> None:
    """A command past its deadline is an error, and the guest answers afterwards."""
    with pytest.raises(GuestTimeoutError, match="did not end"):
        guest.run(["sleep", "1000"], timeout=0.5)
    assert guest.run(["true"]).code == 0


def test_a_guest_that_stands_still_is_a_time_out(guest: Guest) -> None:
    """While QEMU is stopped nobody waits for the guest for ever; it goes on where it was."""
    usual, guest._channel._grace = guest._channel._grace, 0.5
    with paused(guest.monitor_path), pytest.raises(GuestTimeoutError):
        guest.run(["true"], timeout=0.5)
    guest._channel._grace = usual
    assert guest.run(["echo", "on"]).out == b"on\n"


def test_the_ram_file_is_the_guests_memory(guest: Guest) -> None:
    """What the guest writes is found in the RAM file, and was not there before."""
    pattern = secrets.token_bytes(64)
    assert not _holds(guest.ram_file, pattern)
    guest.put("/run/pattern", pattern)
    assert _holds(guest.ram_file, pattern)
    assert guest.ram_file.stat().st_size == guest.memory


def test_a_tester_has_a_monitor_of_its_own(guest: Guest) -> None:
    """The QMP socket answers while the lab uses its own, and a refusal is told."""
    with socket.socket(socket.AF_UNIX) as connection, paused(guest.monitor_path):
        connection.connect(str(guest.qmp_path))
        with connection.makefile("rb") as stream:
            assert "QMP" in json.loads(stream.readline())
    assert execute(guest.monitor_path, "query-status")["status"] == "running"
    with pytest.raises(GuestError, match="has not been found"):
        execute(guest.monitor_path, "no-such-command")


def test_the_image_is_not_written_to(guest: Guest) -> None:
    """What a guest writes to its disk is its own."""
    before = guest.image.disk.stat()
    guest.check("sh", "-c", "echo changed > /etc/hostname; sync")
    after = guest.image.disk.stat()
    assert (after.st_mtime_ns, after.st_blocks) == (before.st_mtime_ns, before.st_blocks)


def test_large_guests_with_several_processors(bookworm: Guest) -> None:
    """Memory past the PCI hole, processors and 5-level paging are as asked for, and RAM above 4 GiB is found."""
    with Guest(bookworm.image, memory=4096 * MIB, processors=2, five_level_paging=True) as guest, Outside(guest) as ram:
        assert guest.check("nproc").strip() == "2"
        assert "la57" in guest.check("cat", "/proc/cpuinfo").split()
        assert int(guest.check("cat", "/proc/meminfo").split()[1]) > 3800 * 1024
        regions = guest.check("grep", "System RAM", "/proc/iomem")
        assert regions.splitlines()[-1].startswith(f"{FOUR_GIB:09x}-")
        guest.check("modprobe", "doorwatch_layout")
        guest.put("/sys/module/doorwatch_layout/parameters/find", b"1", mode=None)
        task = int(guest.get("/sys/module/doorwatch_layout/parameters/task"))
        assert ram.offset(task) > 2048 * MIB, "the first process's memory is had from the top"
        assert b"python3\0" in ram.read(task, 8192)
    assert "la57" not in bookworm.check("cat", "/proc/cpuinfo").split()


def test_a_reset_guest_comes_back(bookworm: Guest) -> None:
    """After a reset the guest answers as before, booted anew, in the same process and the same RAM file."""
    with Guest(bookworm.image) as guest:
        before = guest.get("/proc/sys/kernel/random/boot_id")
        guest.reboot()
        assert guest.get("/proc/sys/kernel/random/boot_id") != before
        assert guest.run(["true"]).code == 0


def test_a_kernel_that_does_not_boot_is_told(bookworm: Guest) -> None:
    """A guest that dies while it boots is one error with the kernel's last words, and leaves nothing."""
    guest = Guest(bookworm.image, append=["rdinit=/no/such/init", "root=/dev/none"])
    with pytest.raises(GuestError, match=r"(?s)bookworm does not boot.*panic"):
        guest.__enter__()
    assert not guest.directory.exists()


def test_a_guest_that_qemu_refuses_is_told(bookworm: Guest) -> None:
    """An argument that QEMU does not know is one error that quotes it."""
    with pytest.raises(GuestError, match="no-such-device"):
        Guest(bookworm.image, arguments=["-device", "no-such-device"]).__enter__()


def test_a_guest_ends_with_its_tester() -> None:
    """Where the process that started it is killed, QEMU does not live on, though its guest stands still."""
    assert image("bookworm")  # built, if need be, before the clock runs
    with subprocess.Popen(
        [sys.executable, "-m", "tests.lab.guest", "bookworm"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as tester:
        assert tester.stdout
        qemu = int(tester.stdout.readline().split()[-1])
        directory = Path(tester.stdout.readline().strip()).parent
        execute(directory / "monitor.sock", "stop")
        with os.fdopen(os.pidfd_open(qemu)) as ended:
            tester.send_signal(signal.SIGKILL)
            assert select.select([ended], [], [], 60)[0], "QEMU lives on"
    shutil.rmtree(directory, ignore_errors=True)  # unless another session's guest has removed it already
