"""How long a guest stands still for a look that confirms, and what asking its hypervisor costs."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from beat_bridge.sensors.hypervisor.guests import Guest
from beat_bridge.sensors.hypervisor.guests.libvirt import open_libvirt
from beat_bridge.sensors.hypervisor.guests.qmp import open_qmp
from beat_bridge.sensors.hypervisor.sight import Sight
from tests.bench.figures import Figure, seconds
from tests.lab import libvirt
from tests.lab.guest import Guest as LabGuest
from tests.lab.guest import image

_TARGET_MILLISECONDS = 60
_RUNS = 41


def figures() -> Sequence[Figure]:
    """Over QMP, and through libvirt where there is one."""
    booted = image("bookworm")
    with LabGuest(booted) as guest:
        found = _of(open_qmp(guest.qmp_path), booted.kernel, "QMP")
    if not libvirt.obstacle():
        with libvirt.running() as daemon, daemon.guest(booted, "bench"):
            found += _of(open_libvirt(daemon.uri, "bench"), booted.kernel, "libvirt")
    return found


def stood_still(sight: Sight, runs: int = _RUNS) -> list[float]:
    """Milliseconds that a guest stood still, for each of so many looks, ascending."""
    sight.look()
    times = []
    for _ in range(runs):
        sight.look_paused()
        times.append(sight.stood_still_seconds * 1000)
    return sorted(times)


def _of(guest: Guest, kernel: Path, route: str) -> list[Figure]:
    with TemporaryDirectory() as cache:
        sight = Sight(guest.memory, kernels=[kernel], cache_dir=Path(cache))
        times = stood_still(sight)
        sight.close()
    median = statistics.median(times)
    asked = statistics.median(seconds(guest.state, _RUNS)) * 1000
    guest.close()
    return [
        Figure(
            name=f"guest stands still while a finding is confirmed, {route}",
            value=median,
            unit="ms",
            target=f"<= {_TARGET_MILLISECONDS} ms",
            met=median <= _TARGET_MILLISECONDS,
            note=f"bookworm, 512 MiB; {times[0]:.0f} to {times[-1]:.0f} ms in {len(times)} looks",
        ),
        Figure(name=f"asking a guest's state, {route}", value=asked, unit="ms", target="", met=None, note="one call"),
    ]
