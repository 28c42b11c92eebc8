"""What is kept of a document while a sequence waits for the others: when it happened, and the document, packed."""

import json
import zlib
from collections.abc import Hashable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from detection_rules.language.fields import Document, Reader
from detection_rules.language.values import as_instant

Ordinal = tuple[int, tuple[int | float | str, ...], int]
"""Microseconds since 1970, the tiebreaker, the order of arrival: no two occurrences have the same."""
ROOMY: Final = 8 << 20
"""Bytes up to which nothing is compressed: that takes ten times as long as writing JSON."""
OVERHEAD: Final = 350
"""Bytes that one occurrence costs beside its packed document, measured: the objects, and its place in a machine."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Ledger:
    """How many bytes of occurrences are alive."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Occurrence:
    """A document that fits somewhere in a sequence.

    Several pending sequences share one occurrence, and it is gone with the last of them: so it keeps the books itself.
    """

    __slots__ = ("_ledger", "_packed", "ordinal", "reference", "stages", "touched")

    def __init__(  # noqa: PLR0913, PLR0917 - one for each thing that is known of a document
        self, ordinal: Ordinal, stages: int, document: Document, reference: Hashable, touched: int, ledger: Ledger
    ) -> None:
        self.ordinal = ordinal
        self.touched = touched
        """When it arrived, on the matcher's clock."""
        self.stages = stages
        """One bit for each place it fits."""
        self.reference = reference
        """What the caller calls the document."""
        self._packed = _pack(document, small=ledger.bytes > ROOMY)
        self._ledger = ledger
        ledger.bytes += len(self._packed) + OVERHEAD

    def __del__(self) -> None:
        self._ledger.bytes -= len(self._packed) + OVERHEAD

    @property
    def time(self) -> int:
        """Microseconds since 1970."""
        return self.ordinal[0]

    def document(self) -> dict[str, Any]:
        """The document, as it was."""
        text = self._packed if self._packed.startswith(b"{") else zlib.decompress(self._packed)
        unpacked: dict[str, Any] = json.loads(text)
        return unpacked


def _pack(document: Document, *, small: bool) -> bytes:
    """The document as JSON, a quarter of it decoded; and where many wait, compressed to a third of that."""
    try:
        text = msgspec.json.encode(document)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        # legal JSON that msgspec does not write, such as an integer of a hundred digits
        text = json.dumps(document, default=str).encode("utf-8", "surrogatepass")
    return zlib.compress(text, 1) if small else text


def microseconds(value: Any) -> int | None:
    """A date as a document holds it, in microseconds since 1970; None where it is none."""
    instant = as_instant(value)
    if instant is None:
        return None
    passed = instant - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def tiebreak(read: Reader | None, document: Document) -> tuple[int | float | str, ...]:
    """What orders events of the same moment: numbers, then texts, and last those without, as Elasticsearch has it."""
    if read is None:
        return ()
    for value in read(document)[:1]:
        if isinstance(value, int | float) and value == value:  # noqa: PLR0124 - a NaN has no place in an order
            return (0, value)
        if isinstance(value, str):
            return (1, value)
    return (2,)
