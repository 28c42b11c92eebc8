"""What a terminal shows while the bridge runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from beat_bridge.model.bridge import BridgeStatus, GuestStatus
from beat_bridge.terminal import printable

MOST_ROWS = 20
"""Guests in the table: those with trouble, then those with findings, then the rest."""


@contextmanager
def live() -> Iterator[Callable[[BridgeStatus], None]]:
    """A line on how the bridge stands and a table of its guests, at the bottom of a terminal, below the log."""
    with Live(Text("looking ..."), console=Console(stderr=True), refresh_per_second=4) as shown:
        yield lambda status: shown.update(view(status))


def view(status: BridgeStatus) -> RenderableType:
    """One picture of the bridge."""
    line = (
        f"{status.passes} looks, {status.open_findings} open findings, "
        f"{status.spool.pending_documents} documents on their way"
    )
    spinner = Spinner("dots", Text(line))
    return Group(spinner, _guests(status.guests)) if status.guests else spinner


def _guests(guests: tuple[GuestStatus, ...]) -> Table:
    table = Table(header_style="bold", box=None)
    for column in ("guest", "looks", "findings", "last look", ""):
        table.add_column(column, overflow="fold")
    urgent = sorted(guests, key=lambda guest: (not guest.last_error, -guest.open_findings, guest.name))
    for guest in urgent[:MOST_ROWS]:
        style = "yellow" if guest.last_error else "red" if guest.open_findings else ""
        took = f"{guest.look_seconds * 1000:.0f} ms" if guest.passes else "-"
        cells = (guest.name, str(guest.passes), str(guest.open_findings), took, guest.last_error)
        table.add_row(*(Text(printable(cell)) for cell in cells), style=style)
    if len(urgent) > MOST_ROWS:
        table.add_row(f"and {len(urgent) - MOST_ROWS} more")
    return table
