"""What people and machines read on the terminal: tables, JSON lines, progress."""

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import click
import msgspec

F = TypeVar("F", bound=Callable[..., Any])


def format_option(command: F) -> F:
    """Add `--format table|json` to a click command, as the argument `output`."""
    option = click.option(
        "--format",
        "output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="A table for people, or one JSON object a line for machines.",
    )
    return option(command)


def print_json_lines(rows: Iterable[Any]) -> None:
    """One JSON object a line on standard output."""
    for row in rows:
        sys.stdout.buffer.write(msgspec.json.encode(row) + b"\n")
    sys.stdout.buffer.flush()


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str = "none") -> None:
    """A table on standard output; cells are plain text, whatever a hostile process put into them.

    Args:
        title: Above the table.
        columns: Headings.
        rows: One sequence of cells for each row, as many as there are columns.
        empty: The line printed where there are no rows.
    """
    from rich.console import Console  # noqa: PLC0415 - loading rich is paid for only where a table is printed
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    body = [[Text(printable(cell)) for cell in row] for row in rows]
    if not body:
        console.print(Text(f"{title}: {empty}"))
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in body:
        table.add_row(*row)
    console.print(table)


def printable(text: str) -> str:
    """Text without control characters: a process name must not be able to rewrite the screen."""
    return "".join(
        character if character.isprintable() or character == "\n" else f"\\x{ord(character):02x}" for character in text
    )


def one_line(text: str) -> str:
    """Text in one line: nor may a name begin a line that seems to be ours."""
    return printable(text).replace("\n", "\\x0a")


def working(what: str) -> AbstractContextManager[object]:
    """A spinner beside what is being done, on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console  # noqa: PLC0415 - loaded only where somebody watches

    return Console(stderr=True).status(what)
