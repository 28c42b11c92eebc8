"""What a replay of dead letters is about to do, on disk before it is done, so that a crash neither loses nor doubles.

A replay writes its intent, appends the documents, removes those letters whose documents are then on disk, and removes
the intent. An intent that is found on opening is taken up at the third step: whatever the crash left undone, a document
that got to the disk leaves the letters, and one that did not stays a letter.
"""

from collections.abc import Container
from pathlib import Path

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import sync_directory, write_atomically
from beat_bridge.model.base import Value


class Intent(Value, frozen=True, kw_only=True):
    """Which letters become which documents."""

    file: str
    """The letters' file."""
    letters: tuple[int, ...]
    """By their sequence."""
    first: int
    """The sequence that the first one's document gets; the others follow."""
    replayed: int
    """How many were ever replayed before."""

    def moved(self, there: Container[int]) -> set[int]:
        """Those letters whose documents are among the sequences on disk."""
        return {sequence for place, sequence in enumerate(self.letters) if self.first + place in there}


class IntentFile:
    """Where the intent of the one replay is kept that may be under way."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, intent: Intent) -> None:
        """Begin.

        Raises:
            OSError: Nothing is begun.
        """
        write_atomically(self._path, msgspec.json.encode(intent))

    def read(self) -> Intent | None:
        """What is under way, if anything.

        Raises:
            DoorwatchError: It is damaged.
            OSError: It cannot be read.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(content, type=Intent)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DoorwatchError(
                f"{self._path}: damaged, so that an interrupted replay cannot be finished; move it away, and letters "
                "that were put back may stay in the list too (Elasticsearch takes none of them twice)"
            ) from error

    def remove(self) -> None:
        """It is done, or was not begun."""
        self._path.unlink(missing_ok=True)
        sync_directory(self._path.parent)
