"""Documents on their way to a store."""

from typing import Any

import msgspec

from beat_bridge.model.base import Value


class Document(Value, frozen=True, kw_only=True):
    """One ECS document before it is serialised."""

    data_stream: str
    """`logs-doorwatch.finding-default`."""
    id: str
    """Deterministic `_id`: the same event always has the same."""
    body: dict[str, Any]


class SerialisedDocument(Value, frozen=True, kw_only=True):
    """The same, serialised once: these bytes are what is stored, sent and kept."""

    data_stream: str
    id: str
    source: bytes
    """One line of JSON without a line break."""


def serialise(document: Document) -> SerialisedDocument:
    """Serialise a document, the only time this happens."""
    return SerialisedDocument(
        data_stream=document.data_stream, id=document.id, source=msgspec.json.encode(document.body)
    )
