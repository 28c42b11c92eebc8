"""Reading a field out of a document.

Elasticsearch knows no difference between a value and an array of one, nor between nested objects and dotted keys:
`{"process": {"pid": 1}}`, `{"process.pid": [1]}` and `{"process": [{"pid": 1}]}` all hold `process.pid`. Neither does
this.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Document = Mapping[str, Any]
Predicate = Callable[[Document], bool]
Reader = Callable[[Document], list[Any]]


def reader(path: str) -> Reader:
    """Compile a dotted path.

    Args:
        path: `process.parent.name`.

    Returns:
        A function from a document to every value of that field in document order: arrays are flattened, nulls are
        dropped (Elasticsearch does not index them), a field that is not there has no values. An object counts as one
        value, so that it can be asked whether it exists.
    """
    parts = path.split(".")
    # at each step the key itself, and the dotted keys that would hold the same field: these call for the thorough way
    steps = [(part, _joined(parts, start)[1:]) for start, part in enumerate(parts)]
    thorough = _thorough_reader(parts)

    def read(document: Document) -> list[Any]:
        node: Any = document
        for key, dotted in steps:
            if type(node) is not dict:
                return thorough(document)
            for other in dotted:
                if other in node:
                    return thorough(document)
            node = node.get(key)
            if node is None:
                return []
        if type(node) in _SCALARS:
            return [node]
        if type(node) is list and _SCALARS.issuperset(map(type, node)):
            return node
        return thorough(document)

    return read


_SCALARS = frozenset({str, int, float, bool})


def _joined(parts: list[str], start: int) -> list[str]:
    """The keys that may stand at a position of the path: `process`, `process.parent`, `process.parent.name`."""
    return [".".join(parts[start:end]) for end in range(start + 1, len(parts) + 1)]


def _thorough_reader(parts: list[str]) -> Reader:
    """Looks through arrays and under every dotted key."""
    last = len(parts)
    steps = [list(enumerate(_joined(parts, start), start=start + 1)) for start in range(last)]

    def read(document: Document) -> list[Any]:
        found: list[Any] = []
        pending: list[tuple[Any, int]] = [(document, 0)]
        while pending:
            node, depth = pending.pop()
            if isinstance(node, list | tuple):
                pending.extend((item, depth) for item in reversed(node))
            elif depth == last:
                if node is not None and node != {}:
                    found.append(node)
            elif isinstance(node, Mapping):
                for end, key in reversed(steps[depth]):
                    child = node.get(key)
                    if child is not None:
                        pending.append((child, end))
        return found

    return read


def objects(path: str) -> Reader:
    """Compile a dotted path to objects.

    Returns:
        A function from a document to every object at that path, arrays flattened. Dotted keys count as objects:
        `{"a.b": 1}` holds `{"b": 1}` at `a`.
    """
    read = _thorough_reader(path.split("."))
    parts = path.split(".")

    def objects_of(document: Document) -> list[Any]:
        found = [value for value in read(document) if isinstance(value, Mapping)]
        return found + _dotted(document, parts)

    return objects_of


def _dotted(document: Document, parts: list[str]) -> list[Any]:
    """The objects that keys such as `a.b` make at `a`, wherever on the way to the path they stand."""
    found: list[Any] = []
    pending: list[tuple[Any, int]] = [(document, 0)]
    while pending:
        node, depth = pending.pop()
        if isinstance(node, list | tuple):
            pending.extend((item, depth) for item in node)
        elif isinstance(node, Mapping) and depth < len(parts):
            prefix = ".".join(parts[depth:]) + "."
            inner = {key[len(prefix) :]: value for key, value in node.items() if key.startswith(prefix)}
            if inner:
                found.append(inner)
            pending.extend((node.get(".".join(parts[depth:end])), end) for end in range(depth + 1, len(parts)))
    return found


def leaves(document: Document) -> Iterator[tuple[str, Any]]:
    """Every value in a document that is neither object nor null, with the dotted name of its field."""
    pending: list[tuple[str, Any]] = [("", document)]
    while pending:
        name, node = pending.pop()
        if isinstance(node, Mapping):
            pending.extend((f"{name}.{key}" if name else str(key), value) for key, value in node.items())
        elif isinstance(node, list | tuple):
            pending.extend((name, item) for item in node)
        elif node is not None:
            yield name, node
