"""`make docs`: write the references that are made from the code."""

import sys
from collections.abc import Callable
from pathlib import Path

from beat_bridge.ecs.reference import render_fields
from doorwatch.configuration import Configuration
from doorwatch.reference import configuration_reference

FOLDER = Path(__file__).parent
GENERATORS: dict[str, Callable[[], str]] = {
    # file in this folder: what writes it
    "configuration.md": lambda: configuration_reference(Configuration),
    "fields.md": render_fields,
}


def main() -> None:
    """Write every generated file."""
    for name, render in GENERATORS.items():
        path = FOLDER / name
        path.write_text(render(), encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
