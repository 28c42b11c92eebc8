"""What can be looked at from below here: libraries, hypervisors, and, of a configuration, each guest by one look."""

import importlib.metadata
import importlib.util
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from beat_bridge.commands.doctor import Check, State
from beat_bridge.errors import DoorwatchError

if TYPE_CHECKING:
    from beat_bridge.sensors.hypervisor.guests.discovery import Listed
    from beat_bridge.sensors.hypervisor.options import GuestOptions

LIBVIRT_SOCKETS = ("/run/libvirt/libvirt-sock-ro", "/run/libvirt/virtqemud-sock-ro")
"""Where a libvirt of this machine listens; none is asked on a machine that has none."""


def hypervisors() -> Iterator[Check]:
    """The guests of this machine's libvirt, and the library that reads RAM through a hypervisor's interface."""
    if importlib.util.find_spec("drgn") is None:
        return  # `extra hypervisor` says so
    yield _libvmi()
    if not any(Path(path).exists() for path in LIBVIRT_SOCKETS):
        yield Check(name="libvirt", state=State.NO, detail="no libvirtd listens on this machine")
        return
    yield from _libvirt()


def local_hypervisors() -> tuple[Check, ...]:
    """`hypervisors`, all of them."""
    return tuple(hypervisors())


def _libvmi() -> Check:
    if importlib.util.find_spec("libvmi") is None:
        detail = "not installed: backend libvmi needs it; RAM files and QEMU's memory are read without"
        return Check(name="backend libvmi", state=State.NO, detail=detail)
    version = importlib.metadata.version("libvmi")
    return Check(name="backend libvmi", state=State.WORKS, detail=f"libvmi {version}")


def _libvirt() -> Iterator[Check]:
    from beat_bridge.sensors.hypervisor.guests.discovery import DEFAULT_URIS, list_libvirt  # noqa: PLC0415 - an extra

    for uri in DEFAULT_URIS:
        try:
            listed = list_libvirt(uri)
        except DoorwatchError as error:
            yield Check(name=f"libvirt {uri}", state=State.NO, detail=str(error))
            continue
        yield Check(name=f"libvirt {uri}", state=State.WORKS, detail=f"{len(listed)} guests")
        for guest in listed:
            state = State.WORKS if guest.readable else State.NO
            yield Check(name=f"guest {guest.name}", state=state, detail=guest.obstacle or "its RAM can be read")


def guests(options: "GuestOptions", cache_dir: Path) -> tuple[Check, ...]:
    """Each guest that a configuration names, by one look at it.

    Args:
        options: Which guests, and how.
        cache_dir: Where kernels that were taken apart are kept.
    """
    from beat_bridge.sensors.hypervisor.guests import GuestState  # noqa: PLC0415 - an extra
    from beat_bridge.sensors.hypervisor.guests.discovery import list_all  # noqa: PLC0415

    qmp = [Path(place) for place in options.qmp]
    listed, silent = list_all(uris=options.libvirt, qmp=qmp, backend=options.backend)
    checks = [Check(name=f"guests of {each.place}", state=State.NO, detail=each.why) for each in silent]
    checks += (_look_at(each, options, cache_dir) for each in listed if each.state is not GuestState.OFF)
    checks += (
        Check(name=f"guest {each.name}", state=State.NO, detail="it does not run")
        for each in listed
        if each.state is GuestState.OFF
    )
    return tuple(checks)


def _look_at(listed: "Listed", options: "GuestOptions", cache_dir: Path) -> Check:
    from beat_bridge.sensors.hypervisor.guests.discovery import open_listed  # noqa: PLC0415 - an extra
    from beat_bridge.sensors.hypervisor.sight import Sight  # noqa: PLC0415

    name = f"guest {listed.name}"
    try:
        with (
            closing(open_listed(listed, backend=options.backend)) as guest,
            closing(
                Sight(guest.memory, kernels=[Path(each) for each in options.kernels], cache_dir=cache_dir)
            ) as sight,
        ):
            sight.look()
            began = time.perf_counter()
            inventory = sight.look()
            took = time.perf_counter() - began
    except DoorwatchError as error:
        return Check(name=name, state=State.NO, detail=str(error))
    told = f"{inventory.host.kernel_release}, {len(inventory.processes)} processes, one look {took * 1000:.0f} ms"
    gaps = [f"{gap.sensor}: {gap.detail}" for gap in inventory.gaps if gap.sensor != "pid_files"]
    return Check(name=name, state=State.PARTLY if gaps else State.WORKS, detail="; ".join([told, *gaps]))
