"""What hostile input may come to: an answer, or one clear line."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from beat_bridge.errors import DoorwatchError


@contextmanager
def answered_or_refused(source: str) -> Iterator[None]:
    """Let a DoorwatchError of one line that begins with its source pass; whatever else is raised fails the test."""
    try:
        yield
    except DoorwatchError as error:
        if not str(error).startswith(f"{source}: ") or "\n" in str(error):
            pytest.fail(f"no clear line about {source}: {error}")
