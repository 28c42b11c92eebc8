"""`doorwatch osquery`: packs of queries, and the extension with our own tables."""

from pathlib import Path

import click

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import write_atomically
from beat_bridge.terminal import format_option, print_json_lines, print_table, printable
from osquery_packs.cost import cost, total
from osquery_packs.export import pack_body, pack_text
from osquery_packs.loading import SHIPPED, load_pack, load_packs, pack_files
from osquery_packs.model import Pack
from osquery_packs.proof import prove, read_proof

_packs_option = click.option(
    "--packs",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=SHIPPED,
    show_default="those that come with Doorwatch",
    help="Use the packs of this directory.",
)


@click.group()
def osquery() -> None:
    """Packs of osquery queries: list, show, export, test; and an extension with Doorwatch's own tables."""


@osquery.command("list")
@_packs_option
@format_option
def list_packs(directory: Path, output: str) -> None:
    """The queries with what each costs: processor time on a host of 500 processes, an estimate."""
    packs = load_packs(directory)
    if output == "json":
        print_json_lines(_described(pack, name) for pack in packs for name in pack.queries)
        return
    for pack in packs:
        print_table(
            pack.name, ("query", "every", "severity", "a run", "a day"), [_row(pack, name) for name in pack.queries]
        )
        if pack.needs:
            click.echo(f"Needs {pack.needs}.")
    anywhere = tuple(pack for pack in packs if not pack.needs)
    click.echo(f"All that run anywhere take about {total(anywhere):.2%} of one core.")


@osquery.command()
@click.argument("name")
@_packs_option
@format_option
def show(name: str, directory: Path, output: str) -> None:
    """One pack, with what each query looks for; NAME may leave out `doorwatch-`."""
    pack = _named(name, directory)
    if output == "json":
        print_json_lines([{"name": pack.name, **pack_body(pack)}])
        return
    click.echo(f"{pack.name}: {printable(pack.description)}")
    for title, query in pack.queries.items():
        click.echo(f"\n{title}  ({query.severity}, {', '.join(query.techniques)}, every {query.interval} s)")
        click.echo(printable(query.why))
        click.echo(printable(query.sql.rstrip()))


@osquery.command()
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@_packs_option
def export(target: Path, directory: Path) -> None:
    """Write the packs into the directory TARGET in osquery's own form, one file each."""
    packs = load_packs(directory)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for pack in packs:
            write_atomically(target / f"{pack.name}.conf", pack_text(pack).encode(), mode=0o644)
    except OSError as error:
        raise DoorwatchError(f"{target}: cannot write the packs: {error.strerror}") from error
    for pack in packs:
        click.echo(f"{target / pack.name}.conf")


@osquery.command()
@_packs_option
@format_option
@click.pass_context
def test(context: click.Context, directory: Path, output: str) -> None:
    """Run each query on the rows beside it; exit code 1 when one finds what it must not, or misses what it must."""
    proofs = [(load_pack(path), read_proof(path)) for path in pack_files(directory)]
    failures = [failure for pack, proof in proofs for failure in prove(pack, proof)]
    if output == "json":
        print_json_lines(failures)
    else:
        failed = {(failure.pack, failure.query) for failure in failures}
        for pack, proof in proofs:
            print_table(
                pack.name,
                ("query", "must find", "must not", ""),
                [
                    (
                        name,
                        str(len(proof[name].found)),
                        str(len(proof[name].not_found)),
                        "FAILED" if (pack.name, name) in failed else "holds",
                    )
                    for name in pack.queries
                ],
            )
        for failure in failures:
            click.echo(
                f"{failure.pack} {failure.query}: {failure.case} expected {failure.expected}, got {failure.actual}"
            )
    context.exit(1 if failures else 0)


@osquery.command()
@click.option(
    "--socket",
    "path",
    required=True,
    metavar="PATH",
    help="osquery's extensions socket: /var/osquery/osquery.em, or what --extensions_socket says.",
)
@click.option("--timeout", default=3, show_default=True, type=click.IntRange(1, 600), help="Seconds to wait for it.")
@click.option("--interval", default=3, show_default=True, type=click.IntRange(1, 600), help="Seconds between pings.")
@click.option("--verbose", is_flag=True, help="osquery gives this to its extensions; it changes nothing.")
def extension(path: str, timeout: int, interval: int, *, verbose: bool) -> None:  # noqa: ARG001 - see its help
    """Give a running osquery the tables doorwatch_socket_filters, doorwatch_findings and doorwatch_coverage.

    Runs until osquery ends. It sees what its own user may see: run it as root, as osquery itself runs.
    """
    from osquery_packs.extension.serving import serve  # noqa: PLC0415 - loads osquery's libraries

    serve(path, timeout=timeout, interval=interval)


def _described(pack: Pack, name: str) -> dict[str, object]:
    query = pack.queries[name]
    return {
        "pack": pack.name,
        "query": name,
        "interval": query.interval,
        "severity": query.severity,
        "techniques": query.techniques,
        "version": query.version,
        "needs": pack.needs,
        "cost": cost(query),
    }


def _row(pack: Pack, name: str) -> tuple[str, ...]:
    query = pack.queries[name]
    estimate = cost(query)
    return (
        name,
        f"{query.interval} s",
        query.severity,
        f"{estimate.milliseconds:.1f} ms",
        f"{estimate.seconds_a_day:.0f} s",
    )


def _named(name: str, directory: Path) -> Pack:
    packs = load_packs(directory)
    for pack in packs:
        if name in (pack.name, pack.name.removeprefix("doorwatch-")):
            return pack
    raise DoorwatchError(f"no pack is called {name!r}: there are {', '.join(pack.name for pack in packs)}")
