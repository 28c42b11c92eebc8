"""Documents and a target for the tests of this room."""

import json
import threading
from collections.abc import Sequence

from beat_bridge.model.documents import SerialisedDocument
from beat_bridge.shipping import Refusal
from beat_bridge.shipping.target import Answered, Lines, Outcome

STREAM = "logs-doorwatch.finding-default"


def document(name: object, size: int = 0) -> SerialisedDocument:
    """A document with an id."""
    source = {"@timestamp": "2026-01-01T00:00:00Z", "message": f"{name}{'.' * size}"}
    return SerialisedDocument(data_stream=STREAM, id=str(name), source=json.dumps(source).encode())


def identity(lines: Lines) -> str:
    """The id in a document's action line."""
    return str(json.loads(bytes(lines).partition(b"\n")[0])["create"]["_id"])


class Store:
    """A target that keeps what it is given, as Elasticsearch does: an id that is there already is answered with 409."""

    def __init__(self) -> None:
        self.taken: dict[str, int] = {}
        self._mutex = threading.Lock()

    def take(self, lines: Sequence[Lines]) -> Outcome:
        """Keep documents."""
        with self._mutex:
            return Answered(tuple(self._create(identity(entry)) for entry in lines))

    def _create(self, name: str) -> Refusal | None:
        if name in self.taken:
            return Refusal(type="version_conflict_engine_exception", reason=name, status=409)
        self.taken[name] = 1
        return None

    def send(self, lines: Sequence[Lines]) -> Outcome:
        """`Target.send`."""
        return self.take(lines)

    def understands(self) -> bool:
        """`Target.understands`."""
        return True
