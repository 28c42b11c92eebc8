"""Where every document of this process goes: to the spool, and then past the rules."""

import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from beat_bridge.model.documents import Document, SerialisedDocument, serialise


class Spooled(Protocol):
    """The durable queue."""

    def append(self, documents: Iterable[SerialisedDocument]) -> None:
        """Make them durable, or raise and take none."""


class Publisher:
    """Takes documents from any thread."""

    def __init__(self, spool: Spooled, consider: Callable[[Document], Any] | None) -> None:
        """Join a spool and the rules.

        Args:
            spool: The documents are in it when `publish` returns.
            consider: Evaluates the rules over one document; None where no rules run here.
        """
        self._spool = spool
        self._consider = consider
        self._mutex = threading.Lock()
        self._kept: list[Document] = []

    def publish(self, documents: Iterable[Document]) -> None:
        """Spool documents, then evaluate the rules over them: an alert never knows more than the disk does.

        Raises:
            DoorwatchError: The spool took none of them.
        """
        with self._mutex:
            batch = [*self._kept, *documents]
            self._spool.append(map(serialise, batch))
            self._kept.clear()
        if self._consider is not None:
            for document in batch:
                self._consider(document)

    def keep(self, documents: Iterable[Document]) -> None:
        """Hold documents back until the next `publish`, for a sender that cannot come again."""
        with self._mutex:
            self._kept.extend(documents)
