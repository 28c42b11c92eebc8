"""`make docs`: write the references that are made from the code."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from beat_bridge.ecs.reference import render_fields
from detection_rules import load_rules
from detection_rules.coverage import render_coverage, render_picture
from doorwatch.configuration import Configuration
from doorwatch.reference import configuration_reference
from kibana_dashboards.pictures import pictures
from kibana_dashboards.reference import render_dashboards
from osquery_packs.reference import render_packs

FOLDER = Path(__file__).parent
GENERATORS: dict[str, Callable[[], str]] = {
    # file in this folder: what writes it
    "configuration.md": lambda: configuration_reference(Configuration),
    "coverage.md": lambda: render_coverage(load_rules()),
    "coverage.svg": lambda: render_picture(load_rules()),
    "dashboards.md": render_dashboards,
    "fields.md": render_fields,
    "osquery.md": render_packs,
}


def generators() -> dict[str, Callable[[], str]]:
    """Every file that is made, with what writes it: the references, and a picture of each dashboard."""
    drawn = {f"dashboard-{picture.name}.svg": picture.svg for picture in pictures()}
    return GENERATORS | {name: partial(str, svg) for name, svg in drawn.items()}


def main() -> None:
    """Write every generated file."""
    for name, render in generators().items():
        path = FOLDER / name
        path.write_text(render(), encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
