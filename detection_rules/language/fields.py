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
Fetch = Callable[[Document], Any]
"""See `fetcher`."""


def reader(path: str) -> Reader:
    """Compile a dotted path.

    Args:
        path: `process.parent.name`.

    Returns:
        A function from a document to every value of that field in document order: arrays are flattened, nulls are
        dropped (Elasticsearch does not index them), a field that is not there has no values. An object counts as one
        value, so that it can be asked whether it exists.
    """
    fetch = fetcher(path)

    def read(document: Document) -> list[Any]:
        value = fetch(document)
        if value is None:
            return []
        return value if type(value) is list else [value]

    return read


def fetcher(path: str) -> Fetch:
    """Compile a dotted path for the engine's hottest code: no list is made for a single value.

    Returns:
        A function from a document to the value of that field, None where it has none, or a list (which may be empty)
        of its values.
    """
    parts = path.split(".")
    thorough = _thorough_reader(parts)

    def settled(value: Any, document: Document) -> Any:
        return value if _plain(value) else thorough(document)

    # an object, and beside it the dotted keys that would hold the same field: these call for the thorough way
    if len(parts) == 2:
        return _of_two(parts, thorough, settled)
    if len(parts) == 3:
        return _of_three(parts, thorough, settled)
    steps = [(part, _joined(parts, start)[1:]) for start, part in enumerate(parts)]

    def fetch(document: Document) -> Any:
        node: Any = document
        for key, dotted in steps:
            if type(node) is not dict:
                return thorough(document)
            for other in dotted:
                if other in node:
                    return thorough(document)
            node = node.get(key)
            if node is None:
                return None
        return node if type(node) in _SCALARS else settled(node, document)

    return fetch


def _of_two(parts: list[str], thorough: Reader, settled: Callable[[Any, Document], Any]) -> Fetch:
    """The loop of `fetcher`, written out: most fields have two parts, and most of the time is spent here."""
    first, second = parts
    whole = f"{first}.{second}"

    def fetch(document: Document) -> Any:
        if whole in document:
            return thorough(document)
        node = document.get(first)
        if type(node) is not dict:
            return None if node is None else thorough(document)
        value = node.get(second)
        return value if type(value) in _PLAIN else settled(value, document)

    return fetch


def _of_three(parts: list[str], thorough: Reader, settled: Callable[[Any, Document], Any]) -> Fetch:
    """The same for three parts."""
    first, second, third = parts
    start, end, whole = f"{first}.{second}", f"{second}.{third}", f"{first}.{second}.{third}"

    def fetch(document: Document) -> Any:
        if start in document or whole in document:
            return thorough(document)
        node = document.get(first)
        if type(node) is not dict:
            return None if node is None else thorough(document)
        if end in node:
            return thorough(document)
        node = node.get(second)
        if type(node) is not dict:
            return None if node is None else thorough(document)
        value = node.get(third)
        return value if type(value) in _PLAIN else settled(value, document)

    return fetch


_SCALARS = frozenset({str, int, float, bool})
_PLAIN = _SCALARS | {type(None)}


def _plain(value: Any) -> bool:
    """Whether it is an array of nothing but values; most arrays of ECS have one."""
    if type(value) is not list:
        return False
    return type(value[0]) in _SCALARS if len(value) == 1 else _SCALARS.issuperset(map(type, value))


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
