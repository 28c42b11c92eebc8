"""Which guests there are, and finding one by its name."""

import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.guests import TIMEOUT_SECONDS, Guest, GuestState
from beat_bridge.sensors.hypervisor.guests.qmp import open_qmp
from beat_bridge.sensors.hypervisor.guests.ram import Backend

DEFAULT_URIS = ("qemu:///system",)
MAX_SOCKETS = 1024
_AT_ONCE = 8
"""Sockets asked at a time: one that hangs must not delay all others."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One guest in a list."""

    name: str
    uuid: str
    """Empty where unknown."""
    state: GuestState
    route: str
    """Where it was found: a libvirt URI, or the path of a QMP socket."""
    readable: bool
    """Whether its RAM can be read now."""
    obstacle: str
    """Why not, and what to change; empty where it can."""


def list_qmp(
    directory_or_sockets: Path | Sequence[Path], *, timeout: float = TIMEOUT_SECONDS, backend: Backend = Backend.AUTO
) -> tuple[Listed, ...]:
    """The guests behind QMP sockets, those that do not answer included.

    Args:
        directory_or_sockets: The sockets; or a directory, in which each socket with `qmp` in its name is asked. Others
            are left alone: whoever connects to a socket may be taken for its client.
        timeout: Seconds that each call may take.
        backend: How RAM would be read.

    Raises:
        DoorwatchError: The directory cannot be listed.
    """
    sockets = _sockets(directory_or_sockets) if isinstance(directory_or_sockets, Path) else directory_or_sockets
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return tuple(pool.map(lambda path: _qmp(path, timeout, backend), sockets))


def list_libvirt(
    uri: str = DEFAULT_URIS[0], *, timeout: float = TIMEOUT_SECONDS, backend: Backend = Backend.AUTO
) -> tuple[Listed, ...]:
    """The guests of a libvirt connection, defined or running.

    Raises:
        DoorwatchError: libvirt cannot be reached there.
    """
    from beat_bridge.sensors.hypervisor.guests.libvirt import open_all  # noqa: PLC0415 - an optional library

    return tuple(_listed(guest, uri) for guest in open_all(uri, timeout=timeout, backend=backend))


@dataclass(frozen=True, slots=True)
class Silent:
    """A place that did not say which guests it has."""

    place: str
    why: str


def list_all(
    *,
    uris: Sequence[str] = (),
    qmp: Sequence[Path] = (),
    timeout: float = TIMEOUT_SECONDS,
    backend: Backend = Backend.AUTO,
) -> tuple[tuple[Listed, ...], tuple[Silent, ...]]:
    """The guests of several places, and which of the places did not answer.

    Args:
        uris: libvirt connections.
        qmp: QMP sockets, or directories of them.
        timeout: Seconds that each call may take.
        backend: How RAM would be read.
    """
    asked: list[tuple[str, Callable[[], Iterable[Listed]]]] = [
        *(
            (str(path), partial(list_qmp, path if path.is_dir() else (path,), timeout=timeout, backend=backend))
            for path in qmp
        ),
        *((uri, partial(list_libvirt, uri, timeout=timeout, backend=backend)) for uri in uris),
    ]
    listed: list[Listed] = []
    silent: list[Silent] = []
    for place, ask in asked:
        try:
            listed += ask()
        except DoorwatchError as error:
            silent.append(Silent(place, str(error)))
    return tuple(listed), tuple(silent)


def open_listed(listed: Listed, *, timeout: float = TIMEOUT_SECONDS, backend: Backend = Backend.AUTO) -> Guest:
    """The guest of an entry in a list.

    Raises:
        DoorwatchError: It cannot be reached any more, or its RAM cannot be read: the obstacle, as the list has it.
    """
    if not listed.readable:
        raise DoorwatchError(listed.obstacle)
    if listed.route.startswith("/"):
        return open_qmp(Path(listed.route), timeout=timeout, backend=backend)
    from beat_bridge.sensors.hypervisor.guests.libvirt import open_libvirt  # noqa: PLC0415 - an optional library

    return open_libvirt(listed.route, listed.uuid or listed.name, timeout=timeout, backend=backend)


def find(
    name: str,
    *,
    uris: Sequence[str] = DEFAULT_URIS,
    sockets: Sequence[Path] = (),
    timeout: float = TIMEOUT_SECONDS,
    backend: Backend = Backend.AUTO,
) -> Guest:
    """The guest of a name or UUID; a QMP guest may also be named by its socket's path.

    Args:
        name: Of the guest, its UUID, or its socket.
        uris: libvirt connections.
        sockets: QMP sockets, or directories of them.
        timeout: Seconds that each call may take.
        backend: How its RAM is read.

    Raises:
        DoorwatchError: There is none, or more than one; the line lists what there is.
    """
    from beat_bridge.sensors.hypervisor.guests.libvirt import open_all  # noqa: PLC0415 - an optional library

    found: list[tuple[Guest, str]] = []
    obstacles: list[str] = []
    for path in (each for place in sockets for each in (_sockets(place) if place.is_dir() else (place,))):
        route = str(path.absolute())
        _collect(lambda route: [open_qmp(Path(route), timeout=timeout, backend=backend)], route, found, obstacles)
    for uri in uris:
        _collect(lambda route: open_all(route, timeout=timeout, backend=backend), uri, found, obstacles)
    names = {name, str(Path(name).absolute())}
    matching = [(guest, route) for guest, route in found if names & {guest.name, guest.uuid, route}]
    for guest, _ in found:
        if len(matching) != 1 or guest is not matching[0][0]:
            guest.close()
    if len(matching) == 1:
        return matching[0][0]
    what = "more than one guest" if matching else "no guest"
    there = ", ".join(sorted(f"{guest.name} {guest.uuid} ({route})".replace("  ", " ") for guest, route in found))
    nobody = "not known" if obstacles else "none"
    raise DoorwatchError(f"{what} {name}; there are: {'; '.join([there or nobody, *obstacles])}")


def _collect(
    ask: Callable[[str], Iterable[Guest]], route: str, found: list[tuple[Guest, str]], obstacles: list[str]
) -> None:
    try:
        found += ((guest, route) for guest in ask(route))
    except DoorwatchError as error:
        obstacles.append(str(error))


def _sockets(directory: Path) -> list[Path]:
    try:
        named = [path for path in directory.iterdir() if "qmp" in path.name]
        return sorted(path for path in named if stat.S_ISSOCK(path.lstat().st_mode))[:MAX_SOCKETS]
    except OSError as error:
        raise DoorwatchError(f"{directory}: cannot list this directory: {error.strerror}") from error


def _qmp(socket: Path, timeout: float, backend: Backend) -> Listed:
    path = socket.absolute()  # a route that begins with a slash is a socket's, else a URI
    try:
        guest = open_qmp(path, timeout=timeout, backend=backend)
    except DoorwatchError as error:
        return Listed(path.stem, "", GuestState.UNKNOWN, str(path), readable=False, obstacle=str(error))
    return _listed(guest, str(path))


def _listed(guest: Guest, route: str) -> Listed:
    state = GuestState.UNKNOWN
    obstacle = ""
    try:
        state = guest.state()
        if state in (GuestState.RUNNING, GuestState.PAUSED):
            guest.memory().close()
        else:
            obstacle = "it does not run"
    except DoorwatchError as error:
        obstacle = str(error)
    finally:
        guest.close()
    return Listed(guest.name, guest.uuid, state, route, readable=not obstacle, obstacle=obstacle)
