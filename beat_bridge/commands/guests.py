"""`doorwatch guests`: which guests there are, whether they can be looked at, and holding them by their hypervisor."""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from beat_bridge.commands.scan import EXIT_NOT_EVERYTHING_CHECKED
from beat_bridge.errors import DoorwatchError
from beat_bridge.terminal import format_option, one_line, print_json_lines, print_table, working

if TYPE_CHECKING:
    from beat_bridge.sensors.hypervisor.guests import Guest

F = TypeVar("F", bound=Callable[..., Any])


class Route(msgspec.Struct, frozen=True):
    """Where guests are looked for, and how long each of their hypervisor's answers may take."""

    libvirt: tuple[str, ...]
    """Connection URIs."""
    qmp: tuple[Path, ...]
    """Sockets, or directories of them."""
    timeout: float
    """Seconds."""

    @property
    def uris(self) -> tuple[str, ...]:
        """The connections to ask: this machine's own libvirt where nothing is named."""
        from beat_bridge.sensors.hypervisor.guests.discovery import DEFAULT_URIS  # noqa: PLC0415 - an extra

        return self.libvirt if self.libvirt or self.qmp else DEFAULT_URIS

    def command(self, *words: str) -> str:
        """A command that goes the same way, to be pasted into a shell."""
        ways = [f"--libvirt={uri}" for uri in self.libvirt] + [f"--qmp={path}" for path in self.qmp]
        return shlex.join(["doorwatch", "guests", *words, *ways])


def _routed(command: F) -> F:
    """Add the options that say where guests are; they become the argument `route`."""
    options = (
        click.option(
            "--libvirt",
            multiple=True,
            metavar="URI",
            help="Guests of this libvirt connection. [default, where nothing is named: qemu:///system]",
        ),
        click.option(
            "--qmp",
            multiple=True,
            type=click.Path(path_type=Path),
            metavar="PATH",
            help="The guest behind a QMP socket, or those of a directory: each socket with `qmp` in its name.",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(0.1, 600),
            default=5.0,
            show_default=True,
            help="Seconds that each answer of the hypervisor may take; snapshots and dumps have limits of their own.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


_YES = click.option("--yes", is_flag=True, help="Do it without asking.")


@click.group()
def guests() -> None:
    """List the guests of this hypervisor, and hold one: pause, dump, snapshot, revert, or pull its network cable.

    NAME is a guest's name, its UUID, or the path of its QMP socket.
    """


@guests.command("list", short_help="Which there are, and which can be looked at.")
@format_option
@_routed
def list_guests(output: str, libvirt: tuple[str, ...], qmp: tuple[Path, ...], timeout: float) -> None:
    """Which guests there are, and whether their memory can be read, or what to change.

    Exits with 3 where a place did not answer.
    """
    from beat_bridge.sensors.hypervisor.guests.discovery import list_all  # noqa: PLC0415 - an extra

    route = Route(libvirt, qmp, timeout)
    with working("asking the hypervisors ..."):
        listed, silent = list_all(uris=route.uris, qmp=qmp, timeout=timeout)
    if output == "json":
        print_json_lines(listed)
    else:
        rows = [
            (
                "\n".join(filter(None, (one_line(each.name), each.uuid))),
                each.state.value,
                one_line(each.route),
                "yes" if each.readable else f"no: {one_line(each.obstacle)}",
            )
            for each in listed
        ]
        empty = "not known: a place did not answer" if silent else "none"
        print_table("Guests", ("guest, UUID", "state", "route", "readable, or what to change"), rows, empty=empty)
    for each in silent:
        click.echo(f"doorwatch: {each.why if each.place in each.why else f'{each.place}: {each.why}'}", err=True)
    if silent:
        sys.exit(EXIT_NOT_EVERYTHING_CHECKED)


@guests.command()
@click.argument("name")
@_routed
def pause(name: str, **where: Any) -> None:
    """Stop a guest's processors, until somebody lets it go on."""
    from beat_bridge.sensors.hypervisor.guests import GuestState  # noqa: PLC0415 - an extra

    with _guest(name, where) as (guest, route):
        if guest.state() is GuestState.PAUSED:
            click.echo(f"{_named(guest)} stood still already.")
            return
        guest.pause()
        click.echo(f"{_named(guest)} stands still. Let it go on:\n  {route.command('resume', name)}")


@guests.command()
@click.argument("name")
@_routed
def resume(name: str, **where: Any) -> None:
    """Let a guest go on, whoever stopped it."""
    from beat_bridge.sensors.hypervisor.guests import GuestState  # noqa: PLC0415 - an extra

    with _guest(name, where) as (guest, _):
        if guest.state() is GuestState.RUNNING:
            click.echo(f"{_named(guest)} runs already.")
            return
        guest.resume()
        click.echo(f"{_named(guest)} runs.")


@guests.command(short_help="Write its memory to a file, for later looks.")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@_routed
def dump(name: str, file: Path, **where: Any) -> None:
    """Write a guest's RAM to FILE as an ELF core that only you can read. The guest stands still meanwhile."""
    if file.exists() or file.is_symlink():
        raise DoorwatchError(f"{file}: something stands there already, maybe evidence: name another file")
    with _guest(name, where) as (guest, _):
        with working(f"writing the memory of {one_line(guest.name)} ..."):
            guest.dump_memory(file.absolute())
        size = file.stat().st_size
        click.echo(f"The memory of {_named(guest)} is in {file}, {size / (1 << 20):,.0f} MiB. Look at it:")
        click.echo(f"  {shlex.join(['doorwatch', 'scan', '--memory', str(file)])} --kernel DIRECTORY_OF_KERNELS")


@guests.command(short_help="Pull, or plug in, its network cable.")
@click.argument("name")
@click.argument("state", type=click.Choice(["up", "down"]))
@_YES
@_routed
def link(name: str, state: str, yes: bool, **where: Any) -> None:
    """Pull the cable of every network card of a guest (down), or plug it in (up)."""
    with _guest(name, where) as (guest, route):
        undo = route.command("link", name, "up")
        if state == "down":
            _ask(f"{_named(guest)} loses its network: every card's cable is pulled, until\n  {undo}\n", yes)
        guest.set_link(state == "up")
        if state == "up":
            click.echo(f"{_named(guest)} has its network again.")
        else:
            click.echo(f"{_named(guest)} has no network. Plug it in again:\n  {undo}")


@guests.command(short_help="Keep its disks and memory as they are now.")
@click.argument("name")
@click.argument("snapshot")
@_routed
def snapshot(name: str, snapshot: str, **where: Any) -> None:
    """Keep a guest's disks and memory as they are now, under the name SNAPSHOT."""
    with _guest(name, where) as (guest, route):
        with working(f"keeping {one_line(guest.name)} ..."):
            guest.snapshot(snapshot)
        click.echo(
            f"{_named(guest)} is kept as {snapshot}. Go back to it:\n  {route.command('revert', name, snapshot)}"
        )


@guests.command(short_help="Put it back to a snapshot.")
@click.argument("name")
@click.argument("snapshot")
@_YES
@_routed
def revert(name: str, snapshot: str, yes: bool, **where: Any) -> None:
    """Put a guest's disks and memory back to SNAPSHOT. What it did since is lost."""
    with _guest(name, where) as (guest, route):
        keep = route.command("snapshot", name, f"before-{snapshot}")
        _ask(
            f"{_named(guest)} goes back to {snapshot}: what its disks and memory hold now is lost, and cannot be "
            f"brought back unless it is kept first:\n  {keep}\n",
            yes,
        )
        with working(f"putting {one_line(guest.name)} back ..."):
            guest.revert(snapshot)
        click.echo(f"{_named(guest)} is back at {snapshot}, and is {guest.state().value}.")


@contextmanager
def _guest(name: str, where: dict[str, Any]) -> Iterator[tuple["Guest", Route]]:
    """The only guest of a name, and the way to it."""
    from beat_bridge.sensors.hypervisor.guests.discovery import find  # noqa: PLC0415 - an extra

    route = Route(**where)
    guest = find(name, uris=route.uris, sockets=route.qmp, timeout=route.timeout)
    try:
        yield guest, route
    except DoorwatchError as error:
        if guest.name in str(error):
            raise
        raise DoorwatchError(f"{guest.name}: {error}") from error
    finally:
        guest.close()


def _named(guest: "Guest") -> str:
    """By name and UUID: names are given twice, and a hypervisor's operator holds the wrong machine only once."""
    return f"{one_line(guest.name)} ({guest.uuid or 'no UUID'})"


def _ask(what: str, yes: bool) -> None:
    """Do not go on unless somebody wants it.

    Raises:
        DoorwatchError: Nobody can be asked.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        first = " ".join(what.split())
        raise DoorwatchError(f"{first}: nobody can be asked here, so nothing was done; say --yes to do it")
    click.echo(what, err=True)
    click.confirm("Do it?", abort=True, err=True)
