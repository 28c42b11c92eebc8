"""`doorwatch scan`: one look at this host, or a second judgement of a recorded one."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from beat_bridge.commands.seen import Seen
from beat_bridge.detectors import detect
from beat_bridge.detectors.cross_view import reportable
from beat_bridge.detectors.lifecycle import Ledger, advance
from beat_bridge.ecs.findings import finding_document
from beat_bridge.ecs.inventories import inventory_documents
from beat_bridge.errors import DoorwatchError
from beat_bridge.files import write_atomically
from beat_bridge.model import inventory as inventories
from beat_bridge.model.base import Verdict
from beat_bridge.model.findings import Finding
from beat_bridge.model.inventory import Inventory
from beat_bridge.sensors.host import look
from beat_bridge.sensors.host.identity import identity
from beat_bridge.terminal import format_option, plain_console, print_json_lines, recording, save_picture, working

_PATH = click.Path(path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
EXIT_NOTHING_FOUND, EXIT_FINDINGS, EXIT_NOT_EVERYTHING_CHECKED = 0, 1, 3
_OF_A_GUEST = ("kernels", "modules", "host_id", "inside", "inside_command")
"""Options that say something of a guest, and nothing of this host."""
MAX_INVENTORY_BYTES = 256 << 20


@click.command()
@format_option
@click.option("--memory", type=_FILE, help="Look at a memory image: an ELF dump, a raw one, a RAM file.")
@click.option("--guest", default="", metavar="NAME", help="Look at a guest from outside, by its name or UUID.")
@click.option(
    "--libvirt",
    multiple=True,
    metavar="URI",
    help="Look at guests of this libvirt connection: at all, or at --guest. [default with --guest: qemu:///system]",
)
@click.option("--qmp", multiple=True, type=_FILE, metavar="SOCKET", help="Look at the guest behind a QMP socket.")
@click.option(
    "--kernel",
    "kernels",
    multiple=True,
    type=_PATH,
    help="The guest's kernel image (vmlinuz), or a directory of images: its code is compared with that.",
)
@click.option("--modules", type=_PATH, help="The directory of the guest's modules, to compare their code with.")
@click.option("--host-id", default="", help="The guest's /etc/machine-id: ties findings to those from inside it.")
@click.option("--inside", type=_FILE, help="A view recorded inside the guest (scan --save), to compare with.")
@click.option(
    "--inside-command",
    default="",
    metavar="COMMAND",
    help="Prints a view from inside the guest now: 'ssh GUEST doorwatch scan --save -'. Finds what is hidden.",
)
@click.option(
    "--pause/--no-pause",
    default=True,
    show_default=True,
    help="Let the guest stand still for some 50 ms to confirm a difference between views.",
)
@click.option(
    "--budget", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True, help="Seconds one look may take."
)
@click.option(
    "--inventory",
    "recorded",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Judge a recorded inventory in place of this host; - reads standard input.",
)
@click.option(
    "--drakvuf",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Judge what DRAKVUF saw of a guest: its JSON lines; - reads standard input.",
)
@click.option("--host-name", default="", metavar="NAME", help="The guest's name, which DRAKVUF's lines do not tell.")
@click.option(
    "--save",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Record the inventory in a file that only you can read; - writes it, and nothing else, to standard output.",
)
@click.option("--picture", type=_FILE, hidden=True, help="Also write the table as an SVG file.")
def scan(output: str, recorded: Path | None, save: Path | None, picture: Path | None, **asked: Any) -> None:
    """Look once at this host, at a guest from outside, or at a memory image.

    Exits with 0 when nothing was found, 1 when something was, and 3 when nothing was found but something could not
    be checked.
    """
    with working("looking at processes, sockets and files ..."):
        looks = _looks(recorded, asked)
    seen = [look for look in looks if not isinstance(look, DoorwatchError)]
    if save is not None:
        _save([look.inventory for look in seen], save)
    if save is None or str(save) != "-":
        _show(seen, output, picture)
    for error in looks:
        if isinstance(error, DoorwatchError):
            click.echo(f"doorwatch: {error}", err=True)
    codes = {exit_code(look.findings, look.inventory) for look in seen}
    if len(seen) < len(looks):
        codes.add(EXIT_NOT_EVERYTHING_CHECKED)
    sys.exit(next(code for code in (EXIT_FINDINGS, EXIT_NOT_EVERYTHING_CHECKED, EXIT_NOTHING_FOUND) if code in codes))


def _looks(recorded: Path | None, asked: Mapping[str, Any]) -> list[Seen | DoorwatchError]:
    """What was asked for was looked at; in the place of a guest that could not be, why."""
    if asked["drakvuf"] is not None:
        from beat_bridge.commands.drakvuf import asked_of_drakvuf  # noqa: PLC0415 - of use to few

        judged = asked_of_drakvuf(asked["drakvuf"], {**asked, "inventory": recorded})
        return [msgspec.structs.replace(judged, findings=noteworthy(judged.findings))]
    if asked["host_name"]:
        raise click.UsageError("--host-name names the guest of DRAKVUF's lines: give it beside --drakvuf")
    from_below = any(asked[name] for name in ("memory", "guest", "libvirt", "qmp"))
    if from_below and recorded is not None:
        raise click.UsageError("--inventory judges a record: leave out --memory, --guest, --libvirt and --qmp")
    if not from_below:
        if needless := [name for name in _OF_A_GUEST if asked[name]]:
            option = needless[0].replace("kernels", "kernel").replace("_", "-")
            raise click.UsageError(f"--{option} is of a guest: name it with --guest, --libvirt, --qmp or --memory")
        began = time.monotonic()
        inventory = look() if recorded is None else read_inventory(recorded)
        seen = Seen(inventory=inventory, findings=noteworthy(reportable(detect(inventory))))
        if recorded is not None:
            return [msgspec.structs.replace(seen, what=f"record of {inventory.taken_at:%Y-%m-%d %H:%M:%S %Z}")]
        return [msgspec.structs.replace(seen, took_seconds=time.monotonic() - began)]
    from beat_bridge.commands.below import asked_below  # noqa: PLC0415 - loads what reads guests, an extra

    looks, here = asked_below(asked, read_inventory), identity()
    return [
        each
        if isinstance(each, DoorwatchError)
        else msgspec.structs.replace(each, findings=noteworthy(each.findings), observer=here)
        for each in looks
    ]


def noteworthy(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings that call for a person, most severe first; what is benign is inventory."""
    found = [finding for finding in findings if finding.verdict is not Verdict.BENIGN]
    return tuple(sorted(found, key=lambda finding: (-finding.verdict.rank, -finding.confidence)))


def exit_code(findings: Sequence[Finding], inventory: Inventory) -> int:
    """What the command says to scripts."""
    if findings:
        return EXIT_FINDINGS
    return EXIT_NOT_EVERYTHING_CHECKED if inventory.gaps or not inventory.coverage else EXIT_NOTHING_FOUND


def read_inventory(path: Path) -> Inventory:
    """Read what `--save` wrote.

    Args:
        path: `-` for standard input.

    Raises:
        DoorwatchError: It cannot be read, is too large, or is no inventory.
    """
    source = "standard input" if str(path) == "-" else str(path)
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(MAX_INVENTORY_BYTES + 1)
        else:
            with path.open("rb") as stream:
                data = stream.read(MAX_INVENTORY_BYTES + 1)
    except OSError as error:
        raise DoorwatchError(f"{source}: cannot read: {error.strerror}") from error
    if len(data) > MAX_INVENTORY_BYTES:
        raise DoorwatchError(f"{source}: larger than {MAX_INVENTORY_BYTES >> 20} MiB; this is not an inventory")
    return inventories.decode(data, source)


def _save(looks: Sequence[Inventory], path: Path) -> None:
    if len(looks) != 1:
        raise DoorwatchError(f"--save records one inventory, and {len(looks)} hosts were looked at: name one: --guest")
    data = inventories.encode(looks[0])
    if str(path) == "-":
        sys.stdout.buffer.write(data + b"\n")
        return
    try:
        write_atomically(path, data)
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot record the inventory: {error.strerror}") from error


def _show(looks: Sequence[Seen], output: str, picture: Path | None) -> None:
    if output == "json":
        for seen in looks:
            print_json_lines(_documents(seen))
        return
    from beat_bridge.commands.findings_view import print_seen  # noqa: PLC0415 - loads rich, for people only

    console = recording() if picture is not None else plain_console()
    for number, seen in enumerate(looks):
        if number:
            console.print()
        print_seen(console, seen)
    if picture is not None:
        save_picture(console, picture, "doorwatch scan")


def _documents(seen: Seen) -> Iterator[dict[str, object]]:
    _, events = advance(Ledger(), seen.findings, seen.inventory)
    yield from (finding_document(event, observer=seen.observer).body for event in events)
    yield from (document.body for document in inventory_documents(seen.inventory, observer=seen.observer))
