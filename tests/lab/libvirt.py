"""A libvirtd of the tests' own: unprivileged, its sockets, settings and guests' files in a private directory.

    with running() as daemon, daemon.guest(image("bookworm"), "one") as name:
        domain = libvirt.open(daemon.uri).lookupByName(name)

As root it runs as an ordinary user, for whom libvirt needs nothing outside that directory.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid5

from tests.lab.capabilities import NOBODY
from tests.lab.guest import GuestError, Image
from tests.lab.guest.channel import Channel
from tests.lab.guest.directories import held
from tests.lab.guest.qemu import BOOT_SECONDS

LIBVIRTD = "/usr/sbin/libvirtd"
START_SECONDS = 60.0
_NAMESPACE = UUID("6f1d3a52-57a5-4d0c-8d0b-5f5a3c1a7e11")
"""Guests get a UUID made of their name, the same in every run."""
_SETTINGS = """
memory_backing_dir = "{directory}/ram"
security_driver = "none"
stdio_handler = "file"
"""
SHARED_FILE = '<memoryBacking><source type="file"/><access mode="shared"/></memoryBacking>'
PRIVATE = ""
SHARED_MEMFD = '<memoryBacking><source type="memfd"/><access mode="shared"/></memoryBacking>'
_DOMAIN = """
<domain type="qemu">
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit="MiB">{memory}</memory>
  {backing}
  <vcpu>1</vcpu>
  <os>
    <type arch="x86_64" machine="{machine}">hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>console=ttyS0 quiet panic=-1</cmdline>
  </os>
  <cpu mode="maximum"><feature policy="disable" name="la57"/></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type="file" device="disk">
      <driver name="qemu" type="qcow2"/><source file="{disk}"/><target dev="vda" bus="virtio"/>
    </disk>
    <interface type="user"><mac address="52:54:00:00:00:01"/><model type="virtio"/></interface>
    <channel type="unix">
      <source mode="bind" path="{channel}"/><target type="virtio" name="doorwatch.lab"/>
    </channel>
    <serial type="file"><source path="{console}"/></serial>
    <memballoon model="none"/>
  </devices>
</domain>
"""


@cache
def obstacle() -> str:
    """Why libvirt cannot be tried here; empty where it can."""
    for path, package in (
        (LIBVIRTD, "libvirt-daemon"),
        ("/usr/bin/virsh", "libvirt-clients"),
        ("/usr/bin/qemu-img", "qemu-utils"),
    ):
        if not Path(path).exists():
            return f"{path} is not installed (Debian: apt install {package})"
    if not list(Path("/usr/lib").glob("*/libvirt/connection-driver/libvirt_driver_qemu.so")):
        return "libvirt has no driver for QEMU (Debian: apt install libvirt-daemon-driver-qemu)"
    if importlib.util.find_spec("libvirt") is None:
        return "the Python package libvirt-python is not installed (make libvirt)"
    return ""


class Booted(NamedTuple):
    """A guest of libvirt's that has started."""

    name: str
    uuid: str
    channel: Channel

    def check(self, *argv: str, timeout: float = 30) -> str:
        """Run a command in the guest that must succeed; its standard output.

        Raises:
            GuestError: It failed.
        """
        answer = self.channel.ask("run", b"", timeout, argv=list(argv))
        if answer.header["code"]:
            raise GuestError(f"{' '.join(argv)} ended with {answer.header['code']}: {answer.payload!r}")
        return answer.payload[: answer.header["out"]].decode(errors="replace")


class Libvirtd:
    """A running libvirtd."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.process = process
        self.directory = directory
        self.socket = directory / "run" / "libvirt" / "libvirt-sock"
        self.uri = f"qemu+unix:///session?socket={self.socket}"

    def virsh(self, *arguments: str, stdin: str = "") -> str:
        """Run libvirt's own client, the tests' second source.

        Raises:
            GuestError: It failed.
        """
        ended = subprocess.run(
            ["virsh", "--quiet", "--connect", self.uri, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if ended.returncode:
            raise GuestError(f"virsh {' '.join(arguments)}: {ended.stderr.strip()}")
        return ended.stdout

    def define(
        self, image: Image, name: str, *, memory: int = 512, backing: str = SHARED_FILE, machine: str = "q35"
    ) -> str:
        """Define a guest, which does not run; its UUID.

        Args:
            image: What it boots; its disk is not written to.
            name: For libvirt.
            memory: MiB.
            backing: What its definition says about its RAM.
            machine: As QEMU names it.
        """
        here = self.directory
        shutil.copyfile(image.kernel, here / "vmlinuz")
        (here / "initrd").write_bytes(image.initrd())
        disk = here / f"{name}.qcow2"
        backed = ["-F", "raw", "-b", str(image.disk)]
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backed, str(disk)], check=True)
        for path in (here / "vmlinuz", here / "initrd", disk):
            path.chmod(0o666)
        uuid = str(uuid5(_NAMESPACE, name))
        text = _DOMAIN.format(
            name=name,
            uuid=uuid,
            memory=memory,
            backing=backing,
            machine=machine,
            kernel=here / "vmlinuz",
            initrd=here / "initrd",
            disk=disk,
            channel=here / f"{name}.channel",
            console=here / f"{name}.console",
        )
        (here / "domain.xml").write_text(text)
        self.virsh("define", str(here / "domain.xml"))
        return uuid

    @contextlib.contextmanager
    def guest(
        self, image: Image, name: str, *, memory: int = 512, backing: str = SHARED_FILE, machine: str = "q35"
    ) -> Iterator[Booted]:
        """A guest that has booted; see `define`. It is gone afterwards."""
        uuid = self.define(image, name, memory=memory, backing=backing, machine=machine)
        try:
            self.virsh("start", name)
            with contextlib.closing(Channel(self.connect(name))) as channel:
                channel.wait_ready(BOOT_SECONDS)
                yield Booted(name, uuid, channel)
        finally:
            with contextlib.suppress(GuestError):
                self.virsh("destroy", name)
            self.virsh("undefine", name, "--snapshots-metadata")

    def connect(self, name: str) -> socket.socket:
        """A connection to a guest's command channel."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.directory / f"{name}.channel"))
        return connection


@contextlib.contextmanager
def running() -> Iterator[Libvirtd]:
    """A libvirtd, which is gone afterwards with all its guests."""
    with held() as directory:
        for name in ("run", "config", "cache", "data", "ram", "config/libvirt"):
            (directory / name).mkdir()
        (directory / "config" / "libvirt" / "qemu.conf").write_text(_SETTINGS.format(directory=directory))
        if os.geteuid() == 0:
            for path in (directory, *directory.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        with (directory / "output").open("wb") as output:
            process = subprocess.Popen(
                [*_as_somebody(), LIBVIRTD],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(directory),
            )
        daemon = Libvirtd(process, directory)
        try:
            _wait(daemon)
            yield daemon
        finally:
            process.kill()
            process.wait()
            _end_guests(directory)


def _as_somebody() -> Sequence[str]:
    drop = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", "--pdeathsig", "KILL", *drop]


def _environment(directory: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "XDG_RUNTIME_DIR": str(directory / "run"),
        "XDG_CONFIG_HOME": str(directory / "config"),
        "XDG_CACHE_HOME": str(directory / "cache"),
        "XDG_DATA_HOME": str(directory / "data"),
    }


def _wait(daemon: Libvirtd) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(GuestError):
            daemon.virsh("list")
            return
        if daemon.process.poll() is not None or time.monotonic() > deadline:
            said = (daemon.directory / "output").read_text(errors="replace")[-2000:]
            raise GuestError(f"libvirtd does not start: {said}")
        time.sleep(0.05)  # nothing tells of a socket that is not there yet


def _end_guests(directory: Path) -> None:
    """Kill the QEMUs that libvirtd has left: they live on without it."""
    for file in (directory / "run").rglob("*.pid"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(file.read_text())
            if str(directory).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
