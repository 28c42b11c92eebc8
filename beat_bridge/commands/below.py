"""Looking at guests and memory images from below, for `doorwatch scan`."""

import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from beat_bridge.commands.seen import Seen
from beat_bridge.detectors import detect
from beat_bridge.detectors.cross_view import compare, confirm, reportable, single, undecided
from beat_bridge.errors import DoorwatchError
from beat_bridge.model import inventory as inventories
from beat_bridge.model.base import Value
from beat_bridge.model.findings import Finding, Standing
from beat_bridge.model.inventory import Inventory
from beat_bridge.sensors.hypervisor.guests import Guest, GuestState
from beat_bridge.sensors.hypervisor.guests.discovery import DEFAULT_URIS, Listed, find, list_all, open_listed
from beat_bridge.sensors.hypervisor.guests.naming import assigned_id
from beat_bridge.sensors.hypervisor.images import OpenMemory, look_at
from beat_bridge.sensors.hypervisor.sight import Sight
from beat_bridge.terminal import one_line

INSIDE_SECONDS = 120.0
"""What taking the view from inside may take."""
MAX_INSIDE_BYTES = 256 << 20
LAST_TICK = timedelta(seconds=10)
"""How long ago the last tick of an idle guest's clock may lie."""


class Below(Value, frozen=True, kw_only=True):
    """What is to be looked at from below, and how."""

    memory: Path | None = None
    """A memory image."""
    guest: str = ""
    """Name or UUID of a guest; empty for all of the connections that are named."""
    libvirt: tuple[str, ...] = ()
    """Connection URIs."""
    qmp: tuple[Path, ...] = ()
    """Sockets."""
    kernels: tuple[Path, ...] = ()
    """Images, or directories of them."""
    modules: Path | None = None
    """The directory of its module files."""
    host_id: str = ""
    """`/etc/machine-id` of the guest."""
    pause: bool = True
    """Let a guest stand still to confirm what a running one may have shown by chance."""
    budget_seconds: float = 10.0


class Inside(Value, frozen=True, kw_only=True):
    """Where the view from inside the same guest comes from."""

    recorded: Inventory | None = None
    """Taken earlier: what has no start time cannot be decided."""
    take: Callable[[], Inventory] | None = None
    """Takes it now, so that it lies between two looks from outside."""

    @property
    def given(self) -> bool:
        """Whether there is one."""
        return self.recorded is not None or self.take is not None


def asked_below(asked: Mapping[str, Any], read: Callable[[Path], Inventory]) -> list[Seen | DoorwatchError]:
    """What the options of `doorwatch scan` ask to be looked at from below.

    Args:
        asked: The options by name.
        read: Reads a recorded inventory.

    Raises:
        DoorwatchError: See `look_below`.
    """
    below = Below(
        memory=asked["memory"],
        guest=asked["guest"],
        libvirt=tuple(asked["libvirt"]),
        qmp=tuple(asked["qmp"]),
        kernels=tuple(asked["kernels"]),
        modules=asked["modules"],
        host_id=asked["host_id"],
        pause=asked["pause"],
        budget_seconds=asked["budget"],
    )
    file, command = asked["inside"], asked["inside_command"]
    if file is not None and command:
        raise DoorwatchError("--inside and --inside-command both give the view from inside: leave one out")
    inside = Inside(
        recorded=None if file is None else read(file),
        take=partial(run_inside, command) if command else None,
    )
    return list(look_below(below, inside))


def run_inside(command: str) -> Inventory:
    """The view that a command prints; it is run without a shell, and gets no input.

    Raises:
        DoorwatchError: It failed, took too long, or printed something else.
    """
    try:
        with (
            TemporaryFile() as said,
            subprocess.Popen(
                shlex.split(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said
            ) as ran,
        ):
            ending = threading.Timer(INSIDE_SECONDS, ran.kill)
            ending.start()
            try:
                out = ran.stdout.read(MAX_INSIDE_BYTES + 1) if ran.stdout is not None else b""
                if len(out) > MAX_INSIDE_BYTES:
                    ran.kill()
                ran.wait()
            finally:
                ran.kill()
                ending.cancel()
            said.seek(0)
            last = said.read(4096).decode(errors="replace").strip().splitlines()
    except (OSError, ValueError) as error:
        raise DoorwatchError(f"--inside-command: `{command}` cannot be run: {error}") from error
    if len(out) > MAX_INSIDE_BYTES:
        raise DoorwatchError(f"--inside-command: `{command}` prints more than {MAX_INSIDE_BYTES >> 20} MiB")
    if ran.returncode == -signal.SIGKILL:
        raise DoorwatchError(f"--inside-command: `{command}` was ended: it took more than {INSIDE_SECONDS:.0f} s")
    if ran.returncode not in (0, 1, 3):  # found nothing, found something, could not look everywhere
        raise DoorwatchError(f"--inside-command: `{command}` ended with {ran.returncode}: {last[-1] if last else ''}")
    return inventories.decode(out, "--inside-command")


def look_below(below: Below, inside: Inside) -> Iterator[Seen | DoorwatchError]:
    """Look at what was asked for, one after the other.

    Yields:
        For each guest what was seen, or why it could not be looked at.

    Raises:
        DoorwatchError: There is no such guest, no Linux kernel in the image, or a file cannot be read.
    """
    if below.memory is not None:
        if below.guest or below.libvirt or below.qmp:
            raise DoorwatchError("--memory looks at an image: leave out --guest, --libvirt and --qmp, or --memory")
        if inside.take is not None:
            raise DoorwatchError("--inside-command needs a running guest: give --inside FILE beside --memory")
        yield _image(below, below.memory, inside.recorded)
        return
    guests = list(_guests(below))
    if inside.given and len(guests) != 1:
        raise DoorwatchError(f"a view from inside is of one guest, and {len(guests)} are looked at: name it: --guest")
    for guest in guests:
        yield guest if isinstance(guest, DoorwatchError) else _told_by_name(below, guest, inside)


def cache_dir() -> Path:
    """Where kernels that were taken apart are kept for the next look."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "doorwatch" / "kernels"


def _guests(below: Below) -> Iterator[Guest | DoorwatchError]:
    """The guests that were asked for; in the place of one that cannot be read, why."""
    named_routes = bool(below.libvirt or below.qmp)
    uris = below.libvirt if named_routes else DEFAULT_URIS
    if below.guest:
        yield find(below.guest, uris=uris, sockets=below.qmp)
        return
    listed, silent = list_all(uris=uris, qmp=below.qmp)
    yield from (DoorwatchError(each.why) for each in silent)
    for entry in listed:
        if entry.state is not GuestState.OFF:  # nothing runs in those that could be looked at
            yield _opened(entry)


def _opened(entry: Listed) -> Guest | DoorwatchError:
    try:
        return open_listed(entry)
    except DoorwatchError as error:
        return error


def _told_by_name(below: Below, guest: Guest, inside: Inside) -> Seen | DoorwatchError:
    with closing(guest):
        try:
            return _guest(below, guest, inside)
        except DoorwatchError as error:
            return error if guest.name in str(error) else DoorwatchError(f"{guest.name}: {error}")


def _sight(below: Below, open_memory: OpenMemory, assigned: str = "") -> Sight:
    return Sight(
        open_memory,
        kernels=below.kernels,
        modules_dir=below.modules,
        cache_dir=cache_dir(),
        host_id=below.host_id or assigned,
        budget_seconds=below.budget_seconds,
    )


def _image(below: Below, path: Path, recorded: Inventory | None) -> Seen:
    began = time.monotonic()
    image = look_at(path, partial(_sight, below))
    inventory, findings = image.inventory, detect(image.inventory)
    if recorded is not None:
        if image.imaged_at is None:
            raise DoorwatchError(f"{path}: the guest's clock in it cannot be read: it cannot be compared with --inside")
        compared = single(recorded, inventory, imaged_at=image.imaged_at)
        inventory, findings = compared.told_of(inventory), (*findings, *compared.findings)
    # an image stands still: what its lists disagree on was so at one moment
    return Seen(
        inventory=inventory,
        findings=confirm(findings, inventory),
        what=f"memory image {path.name}",
        took_seconds=time.monotonic() - began,
    )


def _guest(below: Below, guest: Guest, inside: Inside) -> Seen:
    began = time.monotonic()
    what = f"guest {one_line(guest.name)} ({guest.uuid or 'no UUID'}), from outside"
    with closing(_sight(below, guest.memory, assigned_id(guest))) as sight:
        inventory = sight.look()
        findings = detect(inventory)
        if inside.take is not None:
            shown = _taken_now(sight, inside.take)
            after = sight.look()
            compared = compare(inventory, shown, after)
            inventory, findings = compared.told_of(after), (*detect(after), *compared.findings)
        elif inside.recorded is not None:
            # the record was there before this look; an idle guest's clock, as of its last tick, may lag behind it
            compared = single(inside.recorded, inventory, imaged_at=sight.clock() + LAST_TICK)
            inventory, findings = compared.told_of(inventory), (*findings, *compared.findings)
        if not below.pause or not any(unconfirmed(finding) for finding in findings):
            return Seen(
                inventory=undecided(inventory, findings),
                findings=reportable(findings),
                what=what,
                took_seconds=time.monotonic() - began,
            )
        settled = confirm(findings, sight.look_paused())
        return Seen(
            inventory=undecided(inventory, settled),
            findings=reportable(settled),
            what=what,
            took_seconds=time.monotonic() - began,
            stood_still_seconds=sight.stood_still_seconds,
        )


def _taken_now(sight: Sight, take: Callable[[], Inventory]) -> Inventory:
    """A view from inside that lies between the looks from outside, by the guest's own clock.

    Raises:
        DoorwatchError: It is of another moment: what began since then would seem to be hidden.
    """
    before = sight.clock()  # as of its last tick: never ahead of what the guest tells as its time
    shown = take()
    after = sight.clock()
    if not before <= shown.taken_at <= after + LAST_TICK:
        raise DoorwatchError(
            f"--inside-command gives a view of {shown.taken_at:%Y-%m-%d %H:%M:%S}, and was asked at "
            f"{before:%Y-%m-%d %H:%M:%S} by the guest's clock: let it look now, or give a recorded view with --inside"
        )
    return shown


def unconfirmed(finding: Finding) -> bool:
    """Whether a look at the guest while it stands still would say more."""
    return finding.standing in (Standing.CANDIDATE, Standing.SAMPLED)
