"""`doorwatch package`: the Elastic package."""

from pathlib import Path

import click

from beat_bridge.terminal import format_option, print_json_lines, print_table
from kibana_dashboards.package import contents, write_package


@click.group()
def package() -> None:
    """The Elastic package: data streams, rules, dashboards and osquery packs in one file that Kibana installs."""


@package.command()
@click.option(
    "--output",
    "directory",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where the file is written; here, if not said.",
)
@format_option
def build(directory: Path, output: str) -> None:
    """Write doorwatch-VERSION.zip: the same bytes wherever and whenever it is built.

    In Kibana: Integrations, Create new integration, Upload it as a .zip; or POST it to /api/fleet/epm/packages.
    """
    built = contents()
    path = write_package(built, directory)
    held = {
        "data streams": len({name.split("/")[1] for name in built.files if name.startswith("data_stream/")}),
        "rules": built.count("kibana/security_rule"),
        "dashboards": built.count("kibana/dashboard"),
        "osquery packs": built.count("kibana/osquery_pack_asset"),
    }
    if output == "json":
        print_json_lines([{"file": str(path), "version": built.version, "bytes": path.stat().st_size, **held}])
        return
    print_table(f"{path} ({path.stat().st_size} bytes)", ("what", "how many"), [(k, str(v)) for k, v in held.items()])
