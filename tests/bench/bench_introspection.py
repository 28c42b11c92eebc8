"""One full pass over a 512 MiB guest from its RAM file, idle and crowded, and what it leaves resident."""

import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from beat_bridge.sensors.hypervisor.looking import Introspection
from beat_bridge.sensors.hypervisor.memory.layout import q35
from beat_bridge.sensors.hypervisor.memory.ram_file import RamFile
from beat_bridge.sensors.hypervisor.symbols.profile import load_profile
from tests.bench.figures import Figure, seconds
from tests.lab.guest import RELEASES, Guest, image, plants

_TARGET_MILLISECONDS = 30
_TARGET_MEBIBYTES = 200
_CROWD = 1000
_RUNS = 41
_WATCH = """
import sys
from pathlib import Path
from beat_bridge.sensors.hypervisor.looking import Introspection
from beat_bridge.sensors.hypervisor.memory.layout import q35
from beat_bridge.sensors.hypervisor.memory.ram_file import RamFile
from beat_bridge.sensors.hypervisor.symbols.profile import load_profile

ram, size, image, cache = sys.argv[1:]
memory = RamFile(Path(ram), q35(int(size)))
introspection = Introspection(memory, load_profile(Path(image), memory, Path(cache)))
for _ in range(10):
    introspection.look()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def figures() -> Sequence[Figure]:
    """A pass over each release, idle; over a crowd of processes in one; and the memory that watching takes."""
    found = []
    for release in RELEASES:
        with Guest(image(release)) as guest, TemporaryDirectory() as cache:
            memory = RamFile(guest.ram_file, q35(guest.memory))
            introspection = Introspection(memory, load_profile(guest.kernel_image, memory, Path(cache)))
            found.append(_pass(introspection, f"full pass, {release}, 512 MiB", "idle", target=True))
            if release == RELEASES[0]:
                with plants.program(guest, "crowd", str(_CROWD)):
                    found.append(_pass(introspection, f"full pass, {release}, 512 MiB", "crowded", target=False))
                    found.append(_resident(guest, Path(cache)))
            memory.close()
    return found


def _resident(guest: Guest, cache: Path) -> Figure:
    """The memory of a process that does nothing but watch this guest, its kernel's build in the cache."""
    argv = [sys.executable, "-c", _WATCH, str(guest.ram_file), str(guest.memory), str(guest.kernel_image), str(cache)]
    ended = subprocess.run(argv, check=True, capture_output=True, text=True)
    resident = int(ended.stdout) / 1024
    return Figure(
        name="resident memory while watching",
        value=resident,
        unit="MiB",
        target=f"<= {_TARGET_MEBIBYTES} MiB",
        met=resident <= _TARGET_MEBIBYTES,
        note="highest of a process of its own, ten passes",
    )


def _pass(introspection: Introspection, name: str, state: str, *, target: bool) -> Figure:
    seen = introspection.look()
    median = statistics.median(seconds(introspection.look, _RUNS)) * 1000
    examined = sum(each.examined for each in seen.coverage)
    return Figure(
        name=f"{name}, {state}",
        value=median,
        unit="ms",
        target=f"<= {_TARGET_MILLISECONDS} ms" if target else "",
        met=median <= _TARGET_MILLISECONDS if target else None,
        note=f"{len(seen.processes):,} processes, {examined:,} objects, the guest running",
    )
