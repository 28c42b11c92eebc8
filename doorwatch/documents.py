"""`doorwatch documents`: what lies in the local store."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.documents import Document
from beat_bridge.standalone import LocalStore
from beat_bridge.terminal import format_option, print_json_lines, print_table
from detection_rules import compile_query

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@click.group()
def documents() -> None:
    """Search the local store that a bridge without a cluster writes to."""


@documents.command()
@click.argument("query", default="")
@click.option(
    "--state",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="The bridge's state directory (state in its configuration).",
)
@click.option("--language", type=click.Choice(["kuery", "eql"]), default="kuery", show_default=True)
@click.option("--since", default="", help="Only documents this young: 90s, 15m, 24h, 7d.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True)
@click.option("--data-stream", default="*", show_default=True, help="Name or pattern: 'logs-doorwatch.finding-*'.")
@format_option
def search(  # noqa: PLR0913, PLR0917 - one argument an option
    query: str, state: Path, language: str, since: str, limit: int, data_stream: str, output: str
) -> None:
    """Documents that QUERY (KQL, or EQL with --language) holds for, newest first; without QUERY all of them.

    Exit code 0 whether or not there are any: an empty answer is an answer.
    """
    predicate = compile_query(query, language=language) if query else (lambda _: True)
    with LocalStore(state / "store.sqlite", read_only=True) as store:
        found = store.search(predicate, since=_moment(since), limit=limit, data_stream=data_stream)
    if output == "json":
        print_json_lines(document.body for document in found)
        return
    print_table(
        "Documents",
        ("when", "host", "what", "message"),
        [
            (_text(d, "@timestamp"), _text(d, "host", "name"), _text(d, "event", "action"), _text(d, "message"))
            for d in found
        ],
    )


def _text(document: Document, *path: str) -> str:
    value: Any = document.body
    for name in path:
        value = value.get(name, "") if isinstance(value, dict) else ""
    return str(value)


def _moment(since: str) -> datetime | None:
    """The moment that lies this long ago.

    Raises:
        DoorwatchError: It is not a number with a unit.
    """
    if not since:
        return None
    parts = re.fullmatch(r"(\d{1,9})([smhd])", since)
    if parts is None:
        raise DoorwatchError(f"--since {since!r}: write a number and a unit: 90s, 15m, 24h, 7d")
    try:
        return datetime.now(UTC) - timedelta(seconds=int(parts[1]) * _UNITS[parts[2]])
    except OverflowError as error:
        raise DoorwatchError(f"--since {since!r}: longer ago than time can be told") from error
