"""Where in a TOML file a value stands. The standard library's parser does not say."""

import re
from collections.abc import Iterator

_HEADER = re.compile(r"\s*(\[{1,2})\s*([^\[\]]+?)\s*\]{1,2}\s*(#.*)?$")
_KEY = re.compile(r"""\s*(?:"([^"]+)"|'([^']+)'|([A-Za-z0-9_-]+))\s*=""")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")

Path = list[str | int]
"""`["rule", "threat", 1, "technique", 0, "id"]`."""


def line_of(text: str, path: str) -> int:
    """The line (from 1) of a value, or of the nearest thing around it that has one.

    Args:
        text: The file.
        path: As msgspec writes it: `$.rule.threat[1].technique[0].id`.
    """
    wanted: Path = [key or int(index) for key, index in _STEP.findall(path)]
    best, line = 0, 1
    for number, found in _places(text):
        shared = _common(wanted, found)
        if shared > best:
            best, line = shared, number
    return line


def _common(one: Path, other: Path) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _places(text: str) -> Iterator[tuple[int, Path]]:
    """Each header and each assignment outside multi-line strings, with its line and its path."""
    counts: dict[tuple[str, ...], int] = {}  # how many tables of each array have begun
    table: Path = []
    closing = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if closing:
            closing = "" if closing in line else closing
            continue
        key = _KEY.match(line)
        header = None if key else _HEADER.match(line)
        if header:
            names = tuple(part.strip().strip("\"'") for part in header[2].split("."))
            if header[1] == "[[":
                counts[names] = counts.get(names, 0) + 1
                for inner in [known for known in counts if known != names and known[: len(names)] == names]:
                    del counts[inner]
            table = []
            for depth, name in enumerate(names, start=1):
                table.append(name)
                if names[:depth] in counts:
                    table.append(counts[names[:depth]] - 1)
            yield number, table
        elif key:
            yield number, [*table, key[1] or key[2] or key[3]]
            closing = next((quotes for quotes in ("'''", '"""') if line.count(quotes) == 1), "")
