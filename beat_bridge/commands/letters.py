"""`doorwatch letters`: what Elasticsearch refused."""

from pathlib import Path

import click

from beat_bridge.errors import DoorwatchError
from beat_bridge.shipping.letters import DeadLetters, Letter
from beat_bridge.shipping.spool import Spool
from beat_bridge.terminal import format_option, print_json_lines, print_table

spool_option = click.option(
    "--spool",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="The bridge's spool directory.",
)


@click.group()
def letters() -> None:
    """Documents Elasticsearch refused: list and replay them."""


@letters.command("list")
@spool_option
@format_option
def list_letters(directory: Path, output: str) -> None:
    """Every dead letter with the reason, oldest first. The bridge may be running."""
    found = _dead_letters(directory).read()
    if output == "json":
        print_json_lines(found)
        return
    print_table(
        "Dead letters",
        ("document", "refused because"),
        [
            (
                f"{item.at:%Y-%m-%d %H:%M:%S}\n{item.data_stream}\n{item.id}",
                f"{item.reason.status} {item.reason.type}\n{item.reason.reason}",
            )
            if isinstance(item, Letter)
            else (f"{item.file}\nline {item.line}", "damaged on disk: it cannot be replayed")
            for item in found
        ],
    )


@letters.command()
@spool_option
@click.option("--id", "ids", multiple=True, help="Only the letter with this document id; may be given several times.")
def replay(directory: Path, ids: tuple[str, ...]) -> None:
    """Put dead letters back into the spool, to be sent again. The bridge must not be running."""
    _dead_letters(directory)
    with Spool(directory) as spool:
        count = spool.replay(set(ids) or None)
    if ids and not count:
        raise DoorwatchError(f"{directory}: no dead letter has the id {', '.join(ids)}")
    documents = "document" if count == 1 else "documents"
    click.echo(f"{count} {documents} put back, to be sent when the bridge runs")


def _dead_letters(directory: Path) -> DeadLetters:
    """The letters of a spool directory.

    Raises:
        DoorwatchError: It is not one.
    """
    if not (directory / "letters").is_dir():
        raise DoorwatchError(f"{directory}: not a spool directory: it has no letters/ in it")
    return DeadLetters(directory / "letters")
