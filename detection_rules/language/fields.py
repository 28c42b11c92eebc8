"""Reading a field out of a document.

Elasticsearch knows no difference between a value and an array of one, nor between nested objects and dotted keys:
`{"process": {"pid": 1}}`, `{"process.pid": [1]}` and `{"process": [{"pid": 1}]}` all hold `process.pid`. Neither does
this.
"""

from collections.abc import Callable, Mapping
from typing import Any

Document = Mapping[str, Any]
Predicate = Callable[[Document], bool]
Reader = Callable[[Document], list[Any]]

_MISSING = object()


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
    last = len(parts)
    # from each position in the path, the keys that may hold what follows: `process`, `process.parent`, ...
    steps = [[(".".join(parts[start:end]), end) for end in range(last, start, -1)] for start in range(last)]

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
                for key, end in steps[depth]:
                    child = node.get(key, _MISSING)
                    if child is not _MISSING:
                        pending.append((child, end))
        return found

    return read
