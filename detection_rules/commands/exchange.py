"""`doorwatch rules export`, `import` and `bump`: rules between this directory, Kibana, and their own past."""

import sys
from datetime import date
from pathlib import Path
from typing import BinaryIO

import click

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import write_atomically
from beat_bridge.terminal import format_option, print_json_lines, print_table
from detection_rules.commands.loading import Directories, rules_option
from detection_rules.kibana import export_ndjson, import_ndjson
from detection_rules.kibana.directory import KIBANA_ONLY, read_others, read_sources, settle
from detection_rules.kibana.ndjson import MAX_BYTES
from detection_rules.rule_file import Source
from detection_rules.rule_set import SHIPPED
from detection_rules.versions import bumped, is_current, write_releases


@click.command("export")
@rules_option
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="The file to write; standard output where not given."
)
@click.argument("names", nargs=-1)
def export_rules(directories: Directories, output: Path | None, names: tuple[str, ...]) -> None:
    """Write rules (all, or those with the given NAMES) as Kibana imports them under Security > Rules.

    Of the shipped rules, those too that only Kibana can run.
    """
    folders = directories or (SHIPPED, KIBANA_ONLY)
    sources = _chosen(read_sources(folders), names)
    data = export_ndjson(sources, () if names else read_others(folders))
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        if output.exists() and not output.is_file():  # a device or a pipe must not be replaced by a file
            output.write_bytes(data)
        else:
            write_atomically(output, data, mode=0o644)
    except OSError as error:
        raise DoorwatchError(f"{output}: cannot write: {error.strerror}") from error
    click.echo(f"{output}: {len(sources)} rules")


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--into", "folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="A directory of rules."
)
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@format_option
def import_rules(file: BinaryIO, folder: Path, dry_run: bool, output: str) -> None:
    """Read an export of Kibana's rules (- for standard input) into a directory of rule files.

    A rule that stands there already (by its rule_id) is rewritten where it differs; its documents and its changelog
    stay. All of FILE is taken, or nothing.
    """
    data = file.read(MAX_BYTES + 1)
    today = date.today()  # noqa: DTZ011 - a day in the keeper's calendar, as in [metadata]
    imported = import_ndjson(data, name=getattr(file, "name", "-"), today=today)
    changes = settle(imported, folder, today=today, write=not dry_run)
    if output == "json":
        print_json_lines(changes)
        return
    print_table(
        "Would change" if dry_run else "Rules",
        ("rule", "", "what"),
        [(change.rule, change.state, ", ".join(change.keys)) for change in changes],
        empty="nothing differs",
    )


@click.command("bump")
@rules_option
@click.option("--changelog", "change", required=True, metavar="TEXT", help="What changed and why, in one line.")
@click.argument("names", nargs=-1)
def bump_rules(directories: Directories, change: str, names: tuple[str, ...]) -> None:
    """Give rules (all that changed, or those with the given NAMES) a new version and a line in their changelog."""
    sources = read_sources(directories or (SHIPPED, KIBANA_ONLY))
    chosen = _chosen(sources, names) if names else [s for s in sources if not s.releases or not is_current(s)]
    today = date.today()  # noqa: DTZ011 - a day in the keeper's calendar, as in [metadata]
    releases = {source.path: bumped(source, change, today) for source in chosen}
    write_releases(releases)
    for path, versions in releases.items():
        click.echo(f"{path.stem}: version {versions[0].version}")
    if not releases:
        click.echo("nothing changed since the last versions")


def _chosen(sources: list[Source], names: tuple[str, ...]) -> list[Source]:
    known = {source.path.stem: source for source in sources}
    for name in names:
        if name not in known:
            raise DoorwatchError(f"no rule is called {name}: `doorwatch rules list` names them")
    return [known[name] for name in names] if names else sources
