"""All guests of the configuration: found, watched in turn within a share of one processor, and let go when they end."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import ensure_private_directory
from beat_bridge.model.bridge import GuestStatus
from beat_bridge.model.documents import Document
from beat_bridge.sensors.hypervisor.guests import GuestState
from beat_bridge.sensors.hypervisor.guests.discovery import Listed, find, list_libvirt, list_qmp
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
        self._answered = True
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
        self._unreachable = {}
        self._answered = True
        running = {}
        for entry in self._listed():
            if entry.state is GuestState.OFF or not self._is_wanted(entry):
                continue
            running[_key(entry)] = entry
        for key in self._watches.keys() - running.keys():
            if self._answered:  # a hypervisor that did not answer has not said that its guests ended
                log.info("%s runs no more", self._watches[key].name)
                self._watches.pop(key).close()
        for key, entry in running.items():
            if key not in self._watches:
                self._take_up(key, entry)

    def _take_up(self, key: str, entry: Listed) -> None:
        try:
            if not entry.mappable:
                raise DoorwatchError(entry.obstacle)  # noqa: TRY301 - told in the same way as what follows
            by_socket = "://" not in entry.route and entry.route.startswith("/")
            guest = find(
                entry.route if by_socket else entry.uuid or entry.name,
                uris=() if by_socket else (entry.route,),
                sockets=(Path(entry.route),) if by_socket else (),
                backend=self._options.backend,
            )
            self._watches[key] = GuestWatch(guest, self._options, self._publish, self._state, self._namespace)
        except DoorwatchError as error:
            self._unreachable[entry.name] = str(error)
            log.warning("%s: %s", entry.name, error)
        else:
            log.info("%s is watched from below", entry.name)

    def _listed(self) -> Iterator[Listed]:
        for place in self._options.qmp:
            path = Path(place)
            yield from self._ask(place, partial(list_qmp, path if path.is_dir() else (path,)))
        for uri in self._options.libvirt:
            yield from self._ask(uri, partial(list_libvirt, uri))

    def _ask(self, place: str, ask: Callable[[], Iterable[Listed]]) -> Iterable[Listed]:
        try:
            return ask()
        except DoorwatchError as error:
            self._answered = False
            self._unreachable[place] = str(error)
            log.warning("%s", error)
            return ()

    def _is_wanted(self, entry: Listed) -> bool:
        return not self._options.only or entry.name in self._options.only or entry.uuid in self._options.only


def _key(entry: Listed) -> str:
    return entry.uuid or f"{entry.route} {entry.name}"
