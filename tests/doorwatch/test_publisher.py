"""Documents go to disk first, and past the rules afterwards."""

from collections.abc import Iterable

import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.documents import Document, SerialisedDocument
from doorwatch.run.publisher import Publisher

DOCUMENT = Document(data_stream="logs-doorwatch.finding-default", id="a", body={"message": "x"})


class Disk:
    """A spool that a test steers, and what happened in order."""

    def __init__(self) -> None:
        self.full = False
        self.happened: list[str] = []

    def append(self, documents: Iterable[SerialisedDocument]) -> None:
        """Take documents, or refuse them."""
        if self.full:
            raise DoorwatchError("the spool is full")
        self.happened += [f"spooled {document.id}" for document in documents]

    def consider(self, document: Document) -> None:
        """The rules."""
        self.happened.append(f"considered {document.id}")


def test_the_rules_see_a_document_after_the_disk_has_it() -> None:
    """An alert never knows more than the disk does."""
    disk = Disk()
    Publisher(disk, disk.consider).publish([DOCUMENT])
    assert disk.happened == ["spooled a", "considered a"]


def test_a_document_that_was_refused_fires_no_rule() -> None:
    """Where the disk takes nothing, nothing is alerted about, and the sender is told."""
    disk = Disk()
    disk.full = True
    with pytest.raises(DoorwatchError, match="full"):
        Publisher(disk, disk.consider).publish([DOCUMENT])
    assert disk.happened == []
