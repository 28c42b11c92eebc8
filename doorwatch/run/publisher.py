"""Where every document of this process goes: to the spool, and then past the rules."""

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

    def publish(self, documents: Iterable[Document]) -> None:
        """Spool documents, then evaluate the rules over them: an alert never knows more than the disk does.

        Raises:
            DoorwatchError: The spool took none of them, or an alert could not be kept.
        """
        batch = list(documents)
        self._spool.append(map(serialise, batch))
        if self._consider is not None:
            for document in batch:
                self._consider(document)
