"""What people and machines read on the terminal: tables, JSON lines, progress."""

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import write_atomically

if TYPE_CHECKING:
    from rich.console import Console

PICTURE_WIDTH = 110
"""Columns of a picture of a terminal."""
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


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    empty: str = "none",
    console: "Console | None" = None,
) -> None:
    """A table on standard output; cells are plain text, whatever a hostile process put into them.

    Args:
        title: Above the table.
        columns: Headings.
        rows: One sequence of cells for each row, as many as there are columns.
        empty: The line printed where there are no rows.
        console: Where to print it, in place of standard output.
    """
    from rich.table import Table  # noqa: PLC0415 - loading rich is paid for only where a table is printed
    from rich.text import Text  # noqa: PLC0415

    console = console or plain_console()
    body = [[Text(printable(cell)) for cell in row] for row in rows]
    if not body:
        console.print(Text(f"{title}: {empty}"))
        return
    console.print(Text(printable(title), style="italic"))  # rich would break a title at the width of a narrow table
    table = Table(header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in body:
        table.add_row(*row)
    console.print(table)


def plain_console() -> "Console":
    """Standard output, which colours nothing by itself."""
    from rich.console import Console  # noqa: PLC0415 - as in print_table

    return Console(highlight=False)


def recording() -> "Console":
    """Standard output, of which a picture can be made afterwards."""
    from rich.console import Console  # noqa: PLC0415 - as in print_table

    return Console(record=True, width=PICTURE_WIDTH, highlight=False)


def save_picture(console: "Console", path: Path, title: str) -> None:
    """What a recording console printed, as an SVG that stands alone.

    Raises:
        DoorwatchError: The file cannot be written.
    """
    import re  # noqa: PLC0415 - only for the picture

    from rich._export_format import CONSOLE_SVG_FORMAT  # noqa: PLC0415
    from rich.terminal_theme import MONOKAI  # noqa: PLC0415

    # rich's frame without the fonts that it would load from elsewhere
    alone = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    picture = console.export_svg(title=title, theme=MONOKAI, code_format=alone)
    try:
        write_atomically(path, picture.encode(), mode=0o644)
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot write the picture: {error.strerror}") from error


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
