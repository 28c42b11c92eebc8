"""All guests of the configuration: found, watched in turn within a share of one processor, and let go when they end."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import ensure_private_directory
from beat_bridge.model.bridge import GuestStatus
from beat_bridge.model.documents import Document
from beat_bridge.sensors.hypervisor.guests import GuestState
from beat_bridge.sensors.hypervisor.guests.discovery import Listed, list_all, open_listed
from beat_bridge.sensors.hypervisor.options import GuestOptions
from doorwatch.run.guest_watch import GuestWatch

log = logging.getLogger(__name__)
DISCOVER_SECONDS = 30.0
STOP_SECONDS = 30.0


class Guests:
    """Looks at every guest on its interval, from a thread of its own."""

    def __init__(
        self, options: GuestOptions, publish: Callable[[Iterable[Document]], None], state: Path, namespace: str
    ) -> None:
        """Prepare; nothing is looked for before `start`.

        Args:
            options: Which guests, and how.
            publish: Makes documents durable, or raises DoorwatchError and takes none; called from this thread.
            state: A directory for what was told of each guest; made if need be.
            namespace: Last part of the data streams' names.

        Raises:
            DoorwatchError: The directory cannot be made.
        """
        self._options = options
        self._publish = publish
        self._state = ensure_private_directory(state)
        self._namespace = namespace
        self._watches: dict[str, GuestWatch] = {}
        self._unreachable: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guests", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look that is under way."""
        self._stop.set()
        self._thread.join(STOP_SECONDS)

    def statuses(self) -> tuple[GuestStatus, ...]:
        """How each guest stands, by name; of those that cannot be reached, why."""
        seen = [watch.status for watch in list(self._watches.values())]
        unseen = [GuestStatus(name=name, last_error=why) for name, why in list(self._unreachable.items())]
        return tuple(sorted([*seen, *unseen], key=lambda status: status.name))

    def _run(self) -> None:
        next_discovery = time.monotonic()
        try:
            while not self._stop.is_set():
                if time.monotonic() >= next_discovery:
                    self._discover()
                    next_discovery = time.monotonic() + DISCOVER_SECONDS
                watch = min(self._watches.values(), key=lambda each: each.due, default=None)
                if watch is None or watch.due > time.monotonic():
                    upcoming = next_discovery if watch is None else min(watch.due, next_discovery)
                    self._stop.wait(max(0.0, upcoming - time.monotonic()))
                    continue
                spent = watch.look()
                self._stop.wait(spent * (1 - self._options.cpu_share) / self._options.cpu_share)
        finally:
            for watch in self._watches.values():
                watch.close()

    def _discover(self) -> None:
        """Take up guests that run, and let go of those that do not any more."""
        options = self._options
        listed, silent = list_all(
            uris=options.libvirt, qmp=[Path(each) for each in options.qmp], backend=options.backend
        )
        running = {
            _key(entry): entry for entry in listed if entry.state is not GuestState.OFF and self._is_wanted(entry)
        }
        unreachable = {each.place: each.why for each in silent}
        if not silent:  # a hypervisor that did not answer has not said that its guests ended
            for key in self._watches.keys() - running.keys():
                log.info("%s runs no more", self._watches[key].name)
                self._watches.pop(key).close()
        for key in running.keys() - self._watches.keys():
            try:
                self._take_up(key, running[key])
            except DoorwatchError as error:
                unreachable[running[key].name] = str(error)
        for name, why in unreachable.items():
            if self._unreachable.get(name) != why:
                log.warning("%s: %s", name, why)
        self._unreachable = unreachable

    def _take_up(self, key: str, entry: Listed) -> None:
        guest = open_listed(entry, backend=self._options.backend)
        self._watches[key] = GuestWatch(guest, self._options, self._publish, self._state, self._namespace)
        log.info("%s is watched from below", entry.name)

    def _is_wanted(self, entry: Listed) -> bool:
        return not self._options.only or entry.name in self._options.only or entry.uuid in self._options.only


def _key(entry: Listed) -> str:
    return entry.uuid or f"{entry.route} {entry.name}"
