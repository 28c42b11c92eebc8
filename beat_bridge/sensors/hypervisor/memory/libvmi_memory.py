"""A guest's RAM through libvmi: a file, or a Xen or KVM domain where the site's libvmi has that driver.

libvmi keeps pages it has read for good: without a flush at the beginning of each pass one reads the past.
The wheel has the FILE and Xen drivers; KVM needs libvmi built with it.
"""

import os
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from beat_bridge.errors import DoorwatchError, MissingExtraError
from beat_bridge.sensors.hypervisor.memory import MAX_READ, MemoryFault, Region
from beat_bridge.sensors.hypervisor.memory.layout import Extent, Layout, fitting, flat
from beat_bridge.sensors.hypervisor.memory.opening import open_regular
from beat_bridge.sensors.hypervisor.memory.pausing import Pauser, Uncontrolled

if TYPE_CHECKING:
    from libvmi import Libvmi  # type: ignore[import-untyped]  # it has no types


class Driver(StrEnum):
    """How libvmi reaches the guest."""

    FILE = "file"
    KVM = "kvm"
    XEN = "xen"


class LibvmiMemory:
    """A PhysicalMemory over a libvmi instance, without libvmi's own idea of the guest's operating system."""

    def __init__(self, domain: str, driver: Driver, layout: Layout | None = None, pauser: Pauser | None = None) -> None:
        """Attach to a guest.

        Args:
            domain: A domain's name, or the path of a RAM file for FILE.
            driver: Which of libvmi's drivers.
            layout: For FILE, where the file's bytes lie for the guest: the driver takes offsets for addresses, which
                holds only below the PCI hole. The other drivers know their guest's addresses.
            pauser: For FILE, who can stop the guest: libvmi then pretends that it can. The other drivers do it.

        Raises:
            DoorwatchError: libvmi is not installed, lacks the driver, or cannot reach the guest.
        """
        self._name = f"libvmi ({driver.value}) {domain}"
        vmi = _attach_file(Path(domain), self._name) if driver is Driver.FILE else _attach(domain, driver, self._name)
        self._vmi: Libvmi | None = vmi
        size = int(vmi.get_memsize() if driver is Driver.FILE else vmi.get_max_physical_address())
        self._layout = flat(size) if layout is None else fitting(layout, size, self._name)
        self._pauser = (pauser or Uncontrolled(self._name)) if driver is Driver.FILE else _Domain(vmi, self._name)

    def read(self, address: int, size: int) -> bytes:
        """As PhysicalMemory."""
        from libvmi import LibvmiError  # noqa: PLC0415 - an optional library; attaching has loaded it

        if not 0 <= size <= MAX_READ:
            raise MemoryFault(f"{size} bytes at {address:#x}: no read is larger than {MAX_READ} bytes")
        if self._vmi is None:
            raise MemoryFault(f"{self._name}: closed")
        parts = []
        at, end = address, address + size
        while at < end:
            extent = self._extent(at)
            count = min(end, extent.end) - at
            try:
                data, got = self._vmi.read_pa(extent.offset + at - extent.start, count)
            except LibvmiError as error:
                raise MemoryFault(f"{self._name}: {count} bytes at {at:#x}: libvmi cannot read them") from error
            if got != count:
                raise MemoryFault(f"{self._name}: {got} of {count} bytes at {at:#x} could be read")
            parts.append(bytes(data))
            at += count
        return b"".join(parts)

    def _extent(self, address: int) -> Extent:
        for extent in self._layout:
            if extent.start <= address < extent.end:
                return extent
        raise MemoryFault(f"{self._name}: the guest has no RAM at {address:#x}")

    def regions(self) -> Sequence[Region]:
        """As PhysicalMemory."""
        return [extent.region for extent in self._layout]

    def populated(self) -> Sequence[Region]:
        """As PhysicalMemory: libvmi cannot tell."""
        return self.regions()

    def refresh(self) -> None:
        """As PhysicalMemory: drop the pages and the translations that libvmi keeps."""
        if self._vmi is not None:
            self._vmi.pagecache_flush()
            self._vmi.v2pcache_flush()

    def pause(self) -> None:
        """As PhysicalMemory."""
        self._pauser.pause()

    def resume(self) -> None:
        """As PhysicalMemory."""
        self._pauser.resume()

    def close(self) -> None:
        """As PhysicalMemory."""
        if self._vmi is not None:
            self._vmi.destroy()
            self._vmi = None  # libvmi would follow its freed pointer


class _Domain:
    """A domain that libvmi controls."""

    def __init__(self, vmi: "Libvmi", name: str) -> None:
        self._vmi = vmi
        self._name = name

    def pause(self) -> None:
        self._ask(self._vmi.pause_vm, "paused")

    def resume(self) -> None:
        self._ask(self._vmi.resume_vm, "resumed")

    def _ask(self, action: Callable[[], None], what: str) -> None:
        from libvmi import LibvmiError  # noqa: PLC0415 - an optional library; attaching has loaded it

        try:
            action()
        except LibvmiError as error:
            raise DoorwatchError(f"{self._name}: this guest could not be {what}: libvmi refuses") from error


def _attach_file(path: Path, name: str) -> "Libvmi":
    """The same for a file, which must be there: libvmi 0.14 crashes the process where it is not."""
    descriptor, _ = open_regular(path, "RAM file")
    try:
        return _attach(f"/proc/self/fd/{descriptor}", Driver.FILE, name)
    finally:
        os.close(descriptor)


def _attach(domain: str, driver: Driver, name: str) -> "Libvmi":
    try:
        from libvmi import Libvmi, LibvmiError, VMIMode  # noqa: PLC0415 - an optional library
    except ImportError as error:
        raise MissingExtraError("libvmi", "hypervisor", "reading guests through libvmi") from error
    try:
        return Libvmi(domain, mode=VMIMode[driver.name], partial=True)
    except LibvmiError as error:
        raise DoorwatchError(
            f"{name}: libvmi cannot reach this guest ({error}): does it exist, and has this libvmi the {driver.value} "
            "driver?"
        ) from error
