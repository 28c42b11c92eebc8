"""One look at one host."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value, Viewpoint
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.host import Host
from beat_bridge.model.kernel import BpfLink, BpfMap, BpfProgram, Hook, KernelModule
from beat_bridge.model.pid_files import PidFile
from beat_bridge.model.processes import Process
from beat_bridge.model.sockets import Socket

EARLIEST, LATEST = 1970, 9998
"""Years: with a moment at the ends of what a datetime holds nothing can be reckoned. A clock never set says 1970."""


class Inventory(Value, frozen=True, kw_only=True):
    """Everything one pass saw, and everything it could not see."""

    host: Host
    viewpoint: Viewpoint
    taken_at: datetime
    """With time zone, of a year in EARLIEST to LATEST."""
    processes: tuple[Process, ...] = ()
    sockets: tuple[Socket, ...] = ()
    pid_files: tuple[PidFile, ...] = ()
    hooks: tuple[Hook, ...] = ()
    network_namespaces: tuple[int, ...] = ()
    """Inodes of the network namespaces whose packet sockets were listed by the kernel, sorted: one of theirs that is
    not in `sockets` does not exist, whatever other namespaces could not be looked into."""
    modules: tuple[KernelModule, ...] = ()
    bpf_programs: tuple[BpfProgram, ...] = ()
    bpf_maps: tuple[BpfMap, ...] = ()
    bpf_links: tuple[BpfLink, ...] = ()
    coverage: tuple[Coverage, ...] = ()

    def by_pid(self) -> Mapping[int, Process]:
        """Processes by pid."""
        return {process.pid: process for process in self.processes}

    @property
    def gaps(self) -> tuple[Coverage, ...]:
        """The sensors that could not look, or not everywhere."""
        return tuple(entry for entry in self.coverage if entry.status is not CoverageStatus.COMPLETE)


def encode(inventory: Inventory) -> bytes:
    """The inventory as one JSON object."""
    return msgspec.json.encode(inventory)


def decode(data: bytes, source: str) -> Inventory:
    """Read what `encode` wrote.

    Args:
        data: JSON.
        source: Where it came from, for the error line.

    Raises:
        DoorwatchError: It is not an inventory; the line says where in the document.
    """
    try:
        inventory = msgspec.json.decode(data, type=Inventory)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DoorwatchError(f"{source}: not a Doorwatch inventory: {error}") from error
    taken_at = inventory.taken_at
    if taken_at.tzinfo is None or not EARLIEST <= taken_at.year <= LATEST:
        raise DoorwatchError(
            f"{source}: not a Doorwatch inventory: `$.taken_at` is no moment with a time zone between {EARLIEST} and "
            f"{LATEST}"
        )
    return inventory
