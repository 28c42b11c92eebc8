"""What is wrong with a query, and where in it."""

from typing import NoReturn

from beat_bridge.errors import DoorwatchError


class QueryError(DoorwatchError):
    """A query that cannot be read, or that says something this evaluator does not do.

    There is no third outcome: a query either means what Elastic's engines take it to mean, or is refused by name.
    """

    def __init__(self, problem: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {problem}")
        self.problem = problem
        self.line = line
        """Within the query, from 1."""
        self.column = column
        """From 1."""


def refuse(construct: str, text: str, position: int) -> NoReturn:
    """Raise the error for a construct that is understood and not supported.

    Args:
        construct: Its name, as the language's documentation calls it.
        text: The whole query.
        position: Where in it the construct begins, from 0.

    Raises:
        QueryError: Always.
    """
    raise QueryError(f"{construct} is not supported", *place(text, position))


def place(text: str, position: int) -> tuple[int, int]:
    """Line and column, both from 1, of a position in a text; the end of the text where it lies beyond."""
    before = text[: max(0, position)]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
