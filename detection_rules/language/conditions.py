"""Putting conditions over documents together. Closures over plain loops: this is the engine's hottest code."""

from collections.abc import Sequence

from detection_rules.language.fields import Document, Predicate, Reader
from detection_rules.language.values import Test


def every(conditions: Sequence[Predicate]) -> Predicate:
    """All hold, asked in order."""

    def holds(document: Document) -> bool:
        for condition in conditions:  # noqa: SIM110 - all() over a generator costs half as much again
            if not condition(document):
                return False
        return True

    return holds


def some(conditions: Sequence[Predicate]) -> Predicate:
    """At least one holds, asked in order."""

    def holds(document: Document) -> bool:
        for condition in conditions:  # noqa: SIM110 - as above
            if condition(document):
                return True
        return False

    return holds


def opposite(condition: Predicate) -> Predicate:
    """It does not hold."""
    return lambda document: not condition(document)


def any_value(read: Reader, test: Test) -> Predicate:
    """One of the field's values passes; a field without values has none that could."""

    def holds(document: Document) -> bool:
        for value in read(document):  # noqa: SIM110 - as above
            if test(value):
                return True
        return False

    return holds


def any_value_or_null(read: Reader, test: Test) -> Predicate:
    """The same, where a missing field stands for null, which the test may take."""
    of_null = test(None)

    def holds(document: Document) -> bool:
        values = read(document)
        if not values:
            return of_null
        for value in values:  # noqa: SIM110 - as above
            if test(value):
                return True
        return False

    return holds
