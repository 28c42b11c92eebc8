"""What the forwarder sends to, and the answers it understands."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from beat_bridge.shipping.letters import Refusal

Lines = bytes | memoryview
"""A document as its two lines of a `_bulk` request."""


class Trouble(StrEnum):
    """Why documents wait although a target is there: none of this is the documents' fault."""

    RETRYING = "retrying"
    """Unreachable, overloaded or failing: asked again soon, ever more slowly."""
    DENIED = "denied"
    """The credential, the role or the set-up is wrong: a person has to act, so it is asked again slowly."""


class ItemFate(StrEnum):
    """What is to be done with one document after its answer."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DENIED = "denied"
    DEAD = "dead"


class NotNow(msgspec.Struct, frozen=True):
    """The request as a whole came to nothing; every document of it is still to be sent."""

    trouble: Trouble
    detail: str
    """One line for a person."""


class TooLarge(msgspec.Struct, frozen=True):
    """The request has more bytes than the target takes (413)."""

    refusal: Refusal


class Malformed(msgspec.Struct, frozen=True):
    """The request as a whole was refused for its content (400): something in it is to blame."""

    refusal: Refusal


class Answered(msgspec.Struct, frozen=True):
    """Each document has its own answer, in the order of the request."""

    items: tuple[Refusal | None, ...]
    """None: the target has the document, and had it perhaps before."""


Outcome = Answered | NotNow | TooLarge | Malformed


class Target(Protocol):
    """Somewhere documents go. `BulkTarget` is the one for Elasticsearch."""

    def send(self, lines: Sequence[Lines]) -> Outcome:
        """Send documents in one request; return in bounded time, raise nothing."""
        ...

    def understands(self) -> bool:
        """A well-formed request that writes nothing is understood, so that a refused one is itself to blame."""
        ...


def fate(status: int, error_type: str) -> ItemFate:
    """What an item's answer means.

    A repeated `create` (409) is delivered: the first one got through and only its answer was lost. A security exception
    (401, 403), a block on the index and a missing index or template are faults of the set-up, which a person mends
    once for all documents: they wait, rather than become thousands of dead letters that somebody has to replay.
    """
    if 200 <= status < 300 or status == 409:
        return ItemFate.DELIVERED
    if status == 429 or status >= 500:
        return ItemFate.RETRY
    if status in {401, 403} or error_type in {"index_not_found_exception", "index_closed_exception"}:
        return ItemFate.DENIED
    return ItemFate.DEAD
