"""A guest behind libvirt.

libvirt's calls block in C for as long as libvirtd does, and libvirtd does for as long as a guest's QEMU: so they are
made by a thread that can be left behind. QEMU's monitor, which libvirtd holds, is never asked past it: drgn's own way
of doing so (`set_qemu_qmp`) crashes libvirtd 9.0.
"""

import contextlib
import importlib
import os
import secrets
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from beat_bridge.errors import DoorwatchError, MissingExtraError
from beat_bridge.sensors.hypervisor.guests import TIMEOUT_SECONDS, GuestGone, GuestState, definition
from beat_bridge.sensors.hypervisor.guests.patience import Worker
from beat_bridge.sensors.hypervisor.guests.peer import ram_file_of, start_time, with_uuid
from beat_bridge.sensors.hypervisor.guests.ram import Backend, Ram, open_ram
from beat_bridge.sensors.hypervisor.guests.standing import GuestMemory, Incarnation, Standing
from beat_bridge.sensors.hypervisor.guests.stillness import Stillness, attended
from beat_bridge.terminal import printable

SNAPSHOT_SECONDS = 300.0
DUMP_SECONDS = 600.0
ADVICE = (
    "put  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>  into its definition "
    "(virsh edit) and start it anew, or run Doorwatch as root"
)
T = TypeVar("T")


def open_libvirt(
    uri: str, name: str, *, timeout: float = TIMEOUT_SECONDS, backend: Backend = Backend.AUTO
) -> "LibvirtGuest":
    """The guest of a name or UUID.

    Args:
        uri: As libvirt has it: `qemu:///system`.
        name: Of the guest, or its UUID.
        timeout: Seconds that each call may take.
        backend: How its RAM is read.

    Raises:
        DoorwatchError: libvirt cannot be reached, or has no such guest; the line lists those it has.
    """
    guests = open_all(uri, timeout=timeout, backend=backend)
    found = [guest for guest in guests if name in (guest.name, guest.uuid)]
    for guest in guests:
        if guest not in found:
            guest.close()
    if not found:
        there = ", ".join(sorted(guest.name for guest in guests)) or "none"
        raise DoorwatchError(f"{uri}: there is no guest {name}; there are: {there}")
    return found[0]  # libvirt lets no two guests share a name or a UUID


def open_all(
    uri: str, *, timeout: float = TIMEOUT_SECONDS, backend: Backend = Backend.AUTO
) -> "Sequence[LibvirtGuest]":
    """Every guest of a connection, defined or running; they share it, and the last to be closed ends it.

    Raises:
        DoorwatchError: libvirt cannot be reached there.
    """
    connection = _Connection(uri, timeout)
    try:
        known = connection.ask("the list of guests", lambda libvirt: _names(libvirt.listAllDomains(0)))
    except BaseException:
        connection.close()
        raise
    if not known:
        connection.close()
    connection.users = len(known)
    return [LibvirtGuest(connection, name, uuid, backend) for name, uuid in known]


class LibvirtGuest:
    """A Guest."""

    def __init__(self, connection: "_Connection", name: str, uuid: str, backend: Backend) -> None:
        self._connection = connection
        self.name = name
        self.uuid = uuid
        self._backend = backend
        self._closed = False
        self._process = (-1, 0)
        """libvirt's number of this run, and QEMU's process id."""

    def state(self) -> GuestState:
        """As Guest."""
        try:
            return self._ask("its state", _state)
        except GuestGone:
            return GuestState.GONE

    def memory(self) -> GuestMemory:
        """As Guest."""
        text = self._ask("its definition", lambda domain: str(domain.XMLDesc(0)))
        backing = definition.backing(definition.parse(text, self.name), self.name)
        pid = self._qemu(self._ask("its number", lambda domain: int(domain.ID())))
        file = ram_file_of(pid) if pid else None
        ram = Ram(self.name, backing.layout, backing.shared, file, pid, ADVICE)
        self._connection.count_resets(self.uuid)
        stillness = _LibvirtStillness(self)
        return attended(open_ram(ram, self._backend, stillness), self.standing, stillness)

    def standing(self) -> Standing:
        """How it stands. libvirt does not tell its processors' page tables."""
        resets = self._connection.resets(self.uuid)
        try:
            state, number = self._ask("its state", lambda domain: (_state(domain), int(domain.ID())))
        except GuestGone:
            state, number = GuestState.GONE, -1
        return Standing(state, Incarnation((number, start_time(self._qemu(number))), resets))

    def pause(self) -> None:
        """As Guest."""
        self.hold()

    def hold(self) -> bool:
        """The same; whether it ran before.

        Raises:
            DoorwatchError: It could not be stopped.
        """
        if self.state() is not GuestState.RUNNING:
            return False
        self._ask("stopping it", lambda domain: domain.suspend(), too_late=lambda domain: domain.resume())
        return True

    def resume(self) -> None:
        """As Guest."""
        self._ask("letting it go on", lambda domain: domain.resume())

    def set_link(self, up: bool) -> None:
        """As Guest."""

        def set_each(domain: Any) -> int:
            root = definition.parse(str(domain.XMLDesc(0)), self.name)
            return sum(domain.updateDeviceFlags(card, _LIVE) == 0 for card in definition.with_link(root, up))

        if not self._ask("setting its links", set_each):
            raise DoorwatchError(f"{self.name}: this guest has no network card")

    def snapshot(self, name: str) -> None:
        """As Guest."""
        text = definition.snapshot(name)
        self._ask("a snapshot", lambda domain: domain.snapshotCreateXML(text, 0), seconds=SNAPSHOT_SECONDS)

    def revert(self, name: str) -> None:
        """As Guest: it runs on if it ran."""

        def put_back(domain: Any) -> None:
            flag = _REVERT_RUNNING if _state(domain) is GuestState.RUNNING else _REVERT_PAUSED
            domain.revertToSnapshot(domain.snapshotLookupByName(name, 0), flag)

        self._ask(f"the return to snapshot {name}", put_back, seconds=SNAPSHOT_SECONDS)

    def dump_memory(self, path: Path) -> None:
        """As Guest. libvirtd writes the file: it must be allowed to, on this machine."""
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            self._ask(
                f"a memory dump to {path}",
                lambda domain: domain.coreDumpWithFormat(str(temporary), _DUMP_ELF, _DUMP_MEMORY_ONLY),
                seconds=DUMP_SECONDS,
            )
            temporary.chmod(0o600)
            if os.geteuid() == 0:
                os.chown(temporary, 0, 0)
            temporary.replace(path)
        except OSError as error:
            raise DoorwatchError(f"{path}: cannot put the memory dump in place: {error.strerror}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def close(self) -> None:
        """As Guest."""
        if not self._closed:
            self._closed = True
            self._connection.leave()

    def _ask(
        self,
        what: str,
        question: Callable[[Any], T],
        *,
        seconds: float | None = None,
        too_late: Callable[[Any], object] | None = None,
    ) -> T:
        def looked_up(then: Callable[[Any], T]) -> Callable[[Any], T]:
            return lambda libvirt: then(libvirt.lookupByUUIDString(self.uuid))

        undo = None if too_late is None else looked_up(too_late)  # type: ignore[arg-type]  # its answer is dropped
        return self._connection.ask(f"{self.name}: {what}", looked_up(question), seconds=seconds, too_late=undo)

    def _qemu(self, number: int) -> int:
        """The process id of the QEMU of its present run; 0 where it is not to be found here."""
        if number < 0:
            return 0
        if self._process[0] != number:
            self._process = (number, with_uuid(self.uuid))
        return self._process[1]


class _LibvirtStillness(Stillness):
    def __init__(self, guest: LibvirtGuest) -> None:
        self._guest = guest
        self._ours = False

    def pause(self) -> None:
        self._ours = self._guest.hold()

    def resume(self) -> None:
        if self._ours:
            self._guest.resume()
            self._ours = False

    def standing(self) -> Standing | None:
        return None


class _Connection:
    """One connection, made again when it breaks."""

    def __init__(self, uri: str, timeout: float) -> None:
        self._uri = uri
        self._library = _library()
        self._worker = Worker(uri, timeout)
        self._libvirt: Any = None
        self._resets: dict[str, int] = {}
        self._counting: set[str] = set()
        self.users = 1

    def ask(
        self,
        what: str,
        question: Callable[[Any], T],
        *,
        seconds: float | None = None,
        too_late: Callable[[Any], object] | None = None,
    ) -> T:
        """Put a question to libvirt.

        Raises:
            GuestGone: It knows no such guest.
            DoorwatchError: It refuses, cannot be reached, or does not answer.
        """
        undo = (lambda: None) if too_late is None else (lambda: too_late(self._connected()))
        try:
            return self._worker.call(what, lambda: self._put(question), seconds=seconds, too_late=undo)
        except self._library.libvirtError as error:
            message = printable(str(error).splitlines()[0])[:300] if str(error) else "no reason given"
            if error.get_error_code() == self._library.VIR_ERR_NO_DOMAIN:
                raise GuestGone(f"{self._uri}: {what}: {message}") from error
            raise DoorwatchError(f"{self._uri}: libvirt refuses {what}: {message}") from error

    def count_resets(self, uuid: str) -> None:
        """From now on, count how often a guest is reset."""
        if uuid not in self._counting:
            self._counting.add(uuid)
            self.ask("word of resets", lambda libvirt: self._register(libvirt, uuid))

    def resets(self, uuid: str) -> int:
        """How often it has been; a connection that broke counts as one, for what it may have missed."""
        return self._resets.get(uuid, 0)

    def leave(self) -> None:
        """One guest is closed."""
        self.users -= 1
        if self.users == 0:
            self.close()

    def close(self) -> None:
        """Hang up, when what was asked has been answered."""
        threading.Thread(target=self._hang_up, name="doorwatch libvirt close", daemon=True).start()

    def _hang_up(self) -> None:
        with contextlib.suppress(DoorwatchError, self._library.libvirtError):  # what hangs ends with this process
            self._worker.call("hanging up", self._disconnect)
        self._worker.end()

    def _put(self, question: Callable[[Any], T]) -> T:
        """In the worker: ask once more over a new connection where the old one turns out to be broken."""
        libvirt = self._connected()
        try:
            return question(libvirt)
        except self._library.libvirtError:
            if libvirt.isAlive():
                raise
        return question(self._connected())

    def _connected(self) -> Any:
        if self._libvirt is not None and self._libvirt.isAlive():
            return self._libvirt
        self._libvirt = None
        self._libvirt = self._library.open(self._uri)
        for uuid in self._counting:
            self._resets[uuid] = self._resets.get(uuid, 0) + 1
            self._register(self._libvirt, uuid)
        return self._libvirt

    def _register(self, libvirt: Any, uuid: str) -> None:
        def count(*_: object) -> None:
            self._resets[uuid] = self._resets.get(uuid, 0) + 1

        domain = libvirt.lookupByUUIDString(uuid)
        libvirt.domainEventRegisterAny(domain, self._library.VIR_DOMAIN_EVENT_ID_REBOOT, count, None)

    def _disconnect(self) -> None:
        if self._libvirt is not None:
            self._libvirt.close()
            self._libvirt = None


_LIVE = 1
"""VIR_DOMAIN_AFFECT_LIVE; numbers of libvirt's interface, which never change."""
_REVERT_RUNNING, _REVERT_PAUSED = 1, 2
_DUMP_ELF, _DUMP_MEMORY_ONLY = 0, 16
_STATES = {3: GuestState.PAUSED, 6: GuestState.PAUSED, 7: GuestState.PAUSED}
"""VIR_DOMAIN_PAUSED, _CRASHED (kept as it was) and _PMSUSPENDED; an active guest in any other state runs."""


def _state(domain: Any) -> GuestState:
    if not domain.isActive():
        return GuestState.OFF
    return _STATES.get(domain.state()[0], GuestState.RUNNING)


def _names(domains: Sequence[Any]) -> list[tuple[str, str]]:
    return sorted((str(domain.name()), str(domain.UUIDString())) for domain in domains)


@cache
def _library() -> Any:
    """The binding, which has no types; it prints no errors, and its events are received.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        library = importlib.import_module("libvirt")
    except ImportError as error:
        raise MissingExtraError("libvirt-python", "libvirt", "reaching guests through libvirt") from error
    library.registerErrorHandler(lambda *_: None, None)
    library.virEventRegisterDefaultImpl()
    threading.Thread(target=_receive, args=(library,), name="doorwatch libvirt events", daemon=True).start()
    return library


def _receive(library: Any) -> None:
    while True:
        library.virEventRunDefaultImpl()
