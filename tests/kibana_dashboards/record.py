"""Record what the pictures and the sample events show: real documents of the lab, looked at by the product itself.

    python -m tests.kibana_dashboards.record FILE

Two Debian guests, looked at from below: on one the emulator runs, and for a while a system call leads elsewhere and a
byte of kernel text is another; on the other, programs hold a raw socket and an eBPF filter, and one of them is taken
out of the list of tasks. And the demo, where the emulator is found, contained, released and proven gone. Needs what the
guest tier needs. What names the recording machine (host ids and names, the demo's kernel, the scratch directory) is
replaced; nothing else is. Documents of single kernel modules, which are many and which no panel shows, are left out.
"""

import contextlib
import queue
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from beat_bridge.detectors.cross_view import confirm
from beat_bridge.ecs.heartbeats import heartbeat_document
from beat_bridge.files import write_atomically
from beat_bridge.model.bridge import BridgeStatus, SpoolStatus
from beat_bridge.model.documents import Document
from beat_bridge.model.findings import Finding
from beat_bridge.model.inventory import Inventory
from beat_bridge.sensors.hypervisor.looking import Introspection
from beat_bridge.sensors.hypervisor.memory.layout import q35
from beat_bridge.sensors.hypervisor.memory.ram_file import RamFile
from beat_bridge.sensors.hypervisor.symbols.profile import load_profile
from doorwatch.demo.lab import open_lab
from doorwatch.demo.stage import Stage
from doorwatch.demo.story import Story
from doorwatch.run.watch import Watch
from tests.lab.guest import Guest, plants
from tests.lab.guest.accelerator import accelerator
from tests.lab.guest.image import image
from tests.lab.guest.monitor import paused
from tests.lab.guest.outside import Outside

HOSTS = {"bookworm": (1, "guest-bookworm"), "trixie": (2, "guest-trixie")}
"""By the id that the guest is looked at under: number and name."""


class _Watched:
    """A guest under a watch of its own, and every document that it led to."""

    def __init__(self, look: Callable[[], Inventory], guest: Guest, state: Path) -> None:
        self.documents: list[Document] = []

        def confirmed(findings: Sequence[Finding]) -> Sequence[Finding]:
            with paused(guest.monitor_path):
                return confirm(findings, look())

        self._watch = Watch(look, self.documents.extend, state / "ledger.json", "default", confirmed)

    def look(self) -> None:
        """Look until the look was whole, or three times."""
        for _ in range(3):
            seen = self._watch.look().inventory
            if not seen.gaps:
                break
        spool = SpoolStatus(appended=len(self.documents), delivered=len(self.documents))
        status = BridgeStatus(spool=spool, passes=1, open_findings=len(self._watch.open_findings))
        self.documents.append(heartbeat_document(seen.host, status, datetime.now(UTC)))


@contextlib.contextmanager
def _watched(release: str, state: Path) -> Iterator[tuple[Guest, _Watched]]:
    booted = image(release)
    (state / release).mkdir()
    with Guest(booted, accelerated_by=accelerator(booted)) as guest:
        memory = RamFile(Path(guest.ram_file), q35(guest.memory))
        try:
            profile = load_profile(guest.kernel_image, memory, state / release)
            yield guest, _Watched(Introspection(memory, profile, host_id=release).look, guest, state / release)
        finally:
            memory.close()


def _guests(state: Path) -> Iterator[Document]:
    with _watched("bookworm", state) as (guest, watched):
        watched.look()
        with plants.emulator(guest):
            watched.look()
            with Outside(guest) as outside, outside.changed_syscall(), outside.changed_text():
                watched.look()
            watched.look()
        watched.look()
        yield from watched.documents
    with _watched("trixie", state) as (guest, watched):
        watched.look()
        with plants.program(guest, "raw_socket") as raw, plants.program(guest, "ebpf_socket"):
            watched.look()
            with Outside(guest) as outside, outside.unlinked_task(raw.pid):
                watched.look()
        yield from watched.documents


class _Tee(queue.SimpleQueue[Document]):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Document] = []

    def put(self, item: Document, block: bool = True, timeout: float | None = None) -> None:
        self.kept.append(item)
        super().put(item, block, timeout)


def _demo(state: Path) -> list[Document]:
    with open_lab() as lab:
        story = Story(Stage(record=False), lab, state)
        story.documents = tee = _Tee()
        story.tell()
    return tee.kept


def _anonymous(body: dict[str, Any], state: Path) -> dict[str, Any]:
    """Without what is the recording machine's: ids and names of hosts, its kernel, the scratch directory."""
    host = body["host"]
    number, name = HOSTS.get(host["id"], (len(HOSTS) + 1, "demo-host"))
    identity = {"id": f"{number:032x}", "name": name, "hostname": name}
    system = {key: value for key, value in host["os"].items() if key != "kernel" or host["id"] in HOSTS}
    boot = {"id": f"{number:08x}-0000-4000-8000-000000000000"}
    text = msgspec.json.encode({**body, "host": {**host, **identity, "os": system, "boot": boot}}).decode()
    anonymous: dict[str, Any] = msgspec.json.decode(text.replace(str(state), "/var/lib/doorwatch"))
    return anonymous


def main() -> None:
    """Record into the file named on the command line."""
    with tempfile.TemporaryDirectory(prefix="doorwatch-record-") as scratch:
        state = Path(scratch)
        documents = [*_guests(state), *_demo(state)]
        bodies = [_anonymous(document.body, state) for document in documents]
    bodies = [body for body in bodies if body["event"]["action"] != "module-seen"]
    bodies.sort(key=lambda body: str(body["@timestamp"]))
    lines = b"".join(msgspec.json.encode(body) + b"\n" for body in bodies)
    write_atomically(Path(sys.argv[1]), lines, mode=0o644)


if __name__ == "__main__":
    main()
