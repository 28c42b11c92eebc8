"""`doorwatch scan`: one look at this host, or a second judgement of a recorded one."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click

from beat_bridge.detectors import detect
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
from beat_bridge.terminal import format_option, print_json_lines

EXIT_NOTHING_FOUND, EXIT_FINDINGS, EXIT_NOT_EVERYTHING_CHECKED = 0, 1, 3
MAX_INVENTORY_BYTES = 256 << 20


@click.command()
@format_option
@click.option(
    "--inventory",
    "recorded",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Judge a recorded inventory in place of this host; - reads standard input.",
)
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Record the inventory in a file that only you can read.",
)
def scan(output: str, recorded: Path | None, save: Path | None) -> None:
    """Look at this host once: what was found, and what could not be checked.

    Exits with 0 when nothing was found, 1 when something was, and 3 when nothing was found but something could not
    be checked.
    """
    if recorded is None:
        with _progress():
            inventory = look()
    else:
        inventory = read_inventory(recorded)
    if save is not None:
        _save(inventory, save)
    findings = noteworthy(detect(inventory))
    if output == "json":
        print_json_lines(_documents(inventory, findings))
    else:
        from beat_bridge.commands.findings_view import print_findings  # noqa: PLC0415 - loads rich, for people only

        print_findings(inventory, findings)
    sys.exit(exit_code(findings, inventory))


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


def _save(inventory: Inventory, path: Path) -> None:
    try:
        write_atomically(path, inventories.encode(inventory))
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot record the inventory: {error.strerror}") from error


def _documents(inventory: Inventory, findings: Sequence[Finding]) -> Iterator[dict[str, object]]:
    _, events = advance(Ledger(), findings, inventory)
    yield from (finding_document(event).body for event in events)
    yield from (document.body for document in inventory_documents(inventory))


def _progress() -> AbstractContextManager[object]:
    """A spinner on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console  # noqa: PLC0415 - loaded only where somebody watches

    return Console(stderr=True).status("looking at processes, sockets and files ...")
