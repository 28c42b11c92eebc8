"""One guest, watched from below: what is new is told, what cannot be seen is told too."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from beat_bridge.detectors.cross_view import confirm
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Reason, Viewpoint
from beat_bridge.model.bridge import GuestStatus
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.documents import Document
from beat_bridge.model.findings import Finding
from beat_bridge.model.host import Host
from beat_bridge.model.inventory import Inventory
from beat_bridge.sensors.host.identity import identity
from beat_bridge.sensors.hypervisor.guests import Guest
from beat_bridge.sensors.hypervisor.guests.naming import assigned_id
from beat_bridge.sensors.hypervisor.options import GuestOptions
from beat_bridge.sensors.hypervisor.sight import Sight
from doorwatch.run.watch import Watch

log = logging.getLogger(__name__)
PAUSE_SECONDS = 60.0
"""The least time between two pauses of one guest: who controls it must not be able to make it stutter."""
MOST_BACKOFF = 16
"""A guest that cannot be looked at is tried again after up to so many intervals."""
SENSOR = "introspection"
"""The name in `coverage` of the look as a whole."""


class GuestWatch:
    """Looks at one guest, whatever happens to it."""

    def __init__(
        self,
        guest: Guest,
        options: GuestOptions,
        publish: Callable[[Iterable[Document]], None],
        state: Path,
        namespace: str,
    ) -> None:
        """Take up where the last process ended.

        Args:
            guest: The guest; closed with this.
            options: How to look.
            publish: Makes documents durable, or raises DoorwatchError and takes none.
            state: A private directory for what was told of this guest, and for the kernels of all.
            namespace: Last part of the data streams' names.

        Raises:
            DoorwatchError: What was told before cannot be read.
        """
        self.name = guest.name
        self._guest = guest
        self._id = options.host_ids.get(guest.name) or options.host_ids.get(guest.uuid) or assigned_id(guest)
        self._sight = Sight(
            guest.memory,
            kernels=[Path(place) for place in options.kernels],
            modules_dir=Path(options.modules) if options.modules else None,
            cache_dir=state / "kernels",
            baseline_file=state / f"{_file_name(guest)}.baseline.json",
            host_id=self._id,
            budget_seconds=options.budget,
        )
        self._interval = options.interval
        self._watch = Watch(
            self._look,
            publish,
            state / f"{_file_name(guest)}.json",
            namespace,
            confirm=self._confirm if options.confirm else None,
            observer=identity(),
        )
        self._host: Host | None = None
        self._paused_at = -PAUSE_SECONDS
        self._failures = 0
        self._status = GuestStatus(name=guest.name)
        self.due = time.monotonic()
        """When the next look should begin."""

    @property
    def status(self) -> GuestStatus:
        """How it stands."""
        return self._status

    def look(self) -> float:
        """Look once, tell what is new, and settle when to look again.

        Returns:
            Seconds of processor time that it took.
        """
        began, before = time.monotonic(), time.process_time()
        self._error = ""
        try:
            look = self._watch.look()
        except DoorwatchError as error:  # what was seen could not be made durable: the next look tells it again
            self._error = str(error)
            log.error("%s: %s", self.name, error)  # noqa: TRY400 - one line; no traceback for a full disk
        else:
            for event in look.events:
                finding = event.finding
                log.warning(
                    "%s: finding %s: %s %s: %s",
                    *(self.name, event.change, finding.verdict, finding.kind, finding.explanation),
                )
        took = time.monotonic() - began
        self._failures = self._failures + 1 if self._error else 0
        self._status = GuestStatus(
            name=self.name,
            id=self._host.id if self._host is not None else self._id,
            passes=self._status.passes + 1,
            open_findings=len(self._watch.open_findings),
            last_error=self._error,
            look_seconds=took,
        )
        self.due = began + self._interval * min(2**self._failures, MOST_BACKOFF)
        return time.process_time() - before

    def close(self) -> None:
        """Give back what is open; what was told stays known."""
        self._sight.close()
        self._guest.close()

    def _look(self) -> Inventory:
        """What is seen; of a guest that cannot be looked at, that it cannot."""
        try:
            inventory = self._sight.look()
        except DoorwatchError as error:
            if str(error) != self._status.last_error:
                log.warning("%s: %s", self.name, error)
            self._error = str(error)
            return self._blind(str(error))
        self._host = inventory.host
        seen = Coverage(sensor=SENSOR, status=CoverageStatus.COMPLETE, examined=1)
        return msgspec.structs.replace(inventory, coverage=(*inventory.coverage, seen))

    def _blind(self, why: str) -> Inventory:
        host = self._host or Host(id=self._id or self.name, name=self.name, boot_id="")
        unseen = Coverage(sensor=SENSOR, status=CoverageStatus.NONE, reason=Reason.FAILED, detail=why, missed=1)
        return Inventory(host=host, viewpoint=Viewpoint.HYPERVISOR, taken_at=datetime.now(UTC), coverage=(unseen,))

    def _confirm(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """Look while the guest stands still, unless it did a moment ago."""
        if time.monotonic() - self._paused_at < PAUSE_SECONDS:
            return tuple(findings)
        self._paused_at = time.monotonic()
        try:
            still = self._sight.look_paused()
        except DoorwatchError as error:
            log.warning("%s: a finding stays unconfirmed: %s", self.name, error)
            return tuple(findings)
        log.info("%s stood still for %.0f ms to confirm a finding", self.name, self._sight.stood_still_seconds * 1000)
        return confirm(findings, still)


def _file_name(guest: Guest) -> str:
    """A name for a guest's file that no other guest's name can reach."""
    return guest.uuid or "".join(c if c.isalnum() else f"_{ord(c):x}_" for c in guest.name)
