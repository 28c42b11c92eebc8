"""How the demo talks: numbered acts with the time they began, plain lines below."""

import time
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from beat_bridge.terminal import PICTURE_WIDTH, printable, save_picture

MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "dim")}


class Stage:
    """Prints, and remembers what did not hold."""

    def __init__(self, *, record: bool) -> None:
        """Begin the clock."""
        self.console = Console(record=record, width=PICTURE_WIDTH if record else None, highlight=False)
        self.began = time.monotonic()
        self.broken: list[str] = []
        self._acts = 0

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self.began

    def act(self, title: str) -> None:
        """Begin the next part."""
        self._acts += 1
        line = Text(f"\n{self._acts}  {title}", style="bold")
        line.append(f"   {self.seconds:.1f} s", style="dim")
        self.console.print(line)

    def say(self, words: str, *, holds: bool | None = None) -> None:
        """One line; `holds` marks a claim that was checked."""
        mark, style = MARKS[holds]
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_row("  ", Text(mark, style=style), Text(printable(words)))
        self.console.print(line)
        if holds is False:
            self.broken.append(words)

    def table(self, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        """A small table."""
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        self.console.print(Padding(table, (0, 0, 0, 5)))

    def save_picture(self, path: Path) -> None:
        """What was printed, as an SVG that stands alone.

        Raises:
            DoorwatchError: The file cannot be written.
        """
        save_picture(self.console, path, "doorwatch demo")
