"""Which guests are watched from below, and how."""

from typing import Annotated

import msgspec

from beat_bridge.model.base import Value
from beat_bridge.sensors.hypervisor.guests.ram import Backend

Seconds = Annotated[float, msgspec.Meta(ge=0.1, le=86_400)]
Share = Annotated[float, msgspec.Meta(ge=0.01, le=1.0)]


class GuestOptions(Value, frozen=True, kw_only=True):
    """The guests of this hypervisor, looked at from outside."""

    libvirt: tuple[str, ...] = ()
    """libvirt connections whose guests are watched: `qemu:///system`. Needs the extra `libvirt`."""
    qmp: tuple[str, ...] = ()
    """QMP sockets of guests, or directories of such sockets (those with `qmp` in their name)."""
    only: tuple[str, ...] = ()
    """Names or UUIDs of the guests to watch; empty for all."""
    interval: Seconds = 10.0
    """Seconds from the start of one look at a guest to the start of the next."""
    cpu_share: Share = 0.25
    """How much of one processor all looks together may take; where more guests want more, each is seen less often."""
    budget: Seconds = 10.0
    """Seconds that one look may take; what was not seen by then is told as coverage."""
    kernels: tuple[str, ...] = ()
    """Kernel images (vmlinuz) of the guests, or directories of them: kernel code is compared with these. Without, only
    changes since the first look are seen."""
    modules: str = ""
    """A directory with the guests' modules (as `/lib/modules`), to compare the modules' code with."""
    confirm: bool = True
    """Let a guest stand still for some 50 ms to confirm what a running one may have shown by chance."""
    backend: Backend = Backend.AUTO
    """How RAM is read: `auto` takes the shared RAM file where there is one, else QEMU's memory; `libvmi` needs its
    library."""
    host_ids: dict[str, str] = msgspec.field(default_factory=dict)
    """`/etc/machine-id` of guests by name or UUID, which ties what is seen from outside to what Elastic Agent reports
    from inside; a guest that is not named here gets its UUID."""
