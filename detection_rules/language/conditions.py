"""Putting conditions over documents together. Closures over plain loops: this is the engine's hottest code."""

from collections.abc import Callable, Sequence

from detection_rules.language.fields import Document, Fetch, Predicate, fetcher
from detection_rules.language.values import Test, as_text


def every(conditions: Sequence[Predicate]) -> Predicate:
    """All hold, asked in order."""
    if len(conditions) == 2:
        first, second = conditions
        return lambda document: first(document) and second(document)

    def holds(document: Document) -> bool:
        for condition in conditions:  # noqa: SIM110 - all() over a generator costs half as much again
            if not condition(document):
                return False
        return True

    return holds


def some(conditions: Sequence[Predicate]) -> Predicate:
    """At least one holds, asked in order."""
    if len(conditions) == 2:
        first, second = conditions
        return lambda document: first(document) or second(document)

    def holds(document: Document) -> bool:
        for condition in conditions:  # noqa: SIM110 - as above
            if condition(document):
                return True
        return False

    return holds


def opposite(condition: Predicate) -> Predicate:
    """It does not hold."""
    return lambda document: not condition(document)


def any_value(fetch: Fetch, test: Test) -> Predicate:
    """One of the field's values passes; a field without values has none that could."""

    def holds(document: Document) -> bool:
        value = fetch(document)
        if type(value) is list:
            for each in value:  # noqa: SIM110 - as above
                if test(each):
                    return True
            return False
        return value is not None and test(value)

    return holds


def any_value_or_null(fetch: Fetch, test: Test) -> Predicate:
    """The same, where a missing field stands for null, which the test may take."""
    of_null = test(None)
    if not of_null:
        return any_value(fetch, test)

    def holds(document: Document) -> bool:
        value = fetch(document)
        if type(value) is list:
            for each in value:
                if test(each):
                    return True
            return not value
        return value is None or test(value)

    return holds


def any_text(path: str, test: Callable[[str], bool]) -> Predicate:
    """One of the field's values passes a test of its text. The way to most values is written out, as in `fetcher`."""
    fetch = fetcher(path)

    def thorough(document: Document) -> bool:
        value = fetch(document)
        for each in value if type(value) is list else (value,):
            text = each if type(each) is str else as_text(each)
            if text is not None and test(text):
                return True
        return False

    parts = path.split(".")
    if len(parts) != 2:
        return thorough
    first, second = parts

    def holds(document: Document) -> bool:
        node = document.get(first)
        if type(node) is dict and path not in document:
            value = node.get(second)
            if type(value) is str:
                return test(value)
            if value is None:
                return False
        return thorough(document)

    return holds


def one_of(path: str, texts: frozenset[str]) -> Predicate:
    """One of the field's values is one of some texts."""
    return any_text(path, texts.__contains__)
