"""The local store as a target of the forwarder: the same queue, the same documents, no cluster."""

from collections.abc import Callable, Iterable, Sequence

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.documents import SerialisedDocument
from beat_bridge.shipping.records import Record
from beat_bridge.shipping.target import Answered, Lines, NotNow, Outcome, Trouble


class LocalTarget:
    """Takes documents into the local store."""

    def __init__(self, add: Callable[[Iterable[SerialisedDocument]], object]) -> None:
        """Send to a store's `add`, which takes a document that it has already as delivered."""
        self._add = add

    def send(self, lines: Sequence[Lines]) -> Outcome:
        """Store documents, each given as its two lines of a `_bulk` request."""
        try:
            self._add([Record(sequence=0, lines=memoryview(pair)).document() for pair in lines])
        except (DoorwatchError, OSError) as error:
            return NotNow(Trouble.DENIED, str(error))
        return Answered((None,) * len(lines))

    def understands(self) -> bool:
        """There is no request to misunderstand."""
        return True
