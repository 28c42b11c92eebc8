"""A guest of these tests' own, with two network cards whose frames arrive here."""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from beat_bridge.sensors.hypervisor.guests.qmp import QmpGuest, open_qmp
from beat_bridge.sensors.hypervisor.sight import Sight
from tests.lab.guest import Guest, accelerator, image

MARK = b"\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x88\xb5doorwatch"
"""A broadcast frame of a local experiment's type (IEEE 802, 0x88B5)."""
_SEND = f"""
import socket
for name in ("eth0", "eth1"):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((name, 0))
        try:
            out.send({MARK!r})
        except OSError as error:
            print(error)
"""


@dataclass
class Wired:
    """A guest, and the other ends of its two cables."""

    guest: Guest
    qmp: QmpGuest
    cables: tuple[socket.socket, socket.socket]

    def heard(self) -> list[bool]:
        """Let the guest send a frame on each card, and say which arrived."""
        for cable in self.cables:
            with contextlib.suppress(BlockingIOError):
                while True:
                    cable.recv(65536)
        self.guest.check("python3", "-S", "-c", _SEND)
        return [self._arrived(cable) for cable in self.cables]

    def sight(self, directory: Path) -> Sight:
        """A look at it from outside."""
        return Sight(self.qmp.memory, kernels=(self.guest.kernel_image,), cache_dir=directory)

    @staticmethod
    def _arrived(cable: socket.socket) -> bool:
        cable.settimeout(1.0)  # what arrives has been sent before the guest's command ended
        try:
            while True:
                if cable.recv(65536).startswith(MARK):
                    return True
        except TimeoutError:
            return False
        finally:
            cable.setblocking(False)


@pytest.fixture(scope="session")
def wired() -> Iterator[Wired]:
    """A running guest with its cables plugged in; leave it as it was."""
    booted = image("bookworm")
    with contextlib.ExitStack() as stack:
        ours = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(4)]
        for end in ours:
            end.bind(("127.0.0.1", 0))
        ports = [end.getsockname()[1] for end in ours]
        for unused in ours[2:]:
            unused.close()  # QEMU binds these
        arguments = [
            word
            for number in range(2)
            for word in (
                "-netdev",
                f"socket,id=net{number},udp=127.0.0.1:{ports[number]},localaddr=127.0.0.1:{ports[number + 2]}",
                "-device",
                f"virtio-net-pci,netdev=net{number}",
            )
        ]
        guest = stack.enter_context(Guest(booted, arguments=arguments, accelerated_by=accelerator(booted)))
        guest.check("modprobe", "virtio_net")
        guest.check("modprobe", "af_packet")
        for name in ("eth0", "eth1"):
            guest.check("ip", "link", "set", name, "up")
        for cable in ours[:2]:
            cable.setblocking(False)
        yield Wired(guest, open_qmp(guest.qmp_path), (ours[0], ours[1]))
