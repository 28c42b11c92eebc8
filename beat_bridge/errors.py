"""The one error a user may see.

    DoorwatchError          one clear line; exit code 2
    └── MissingExtraError   an optional library is not installed; says which extra brings it

A room translates what its libraries raise at its own border. Anything else that reaches the front door is a bug.
"""


class DoorwatchError(Exception):
    """Says in one line what is wrong, where, and what to do."""


class MissingExtraError(DoorwatchError):
    """A heavy library is absent."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the Python package {library}: install it with  pip install 'doorwatch[{extra}]'"
        )
