"""What is done to every document before it leaves: nested fragments are merged, then made safe to store.

A fragment is a nested dict whose leaves may still be `None`, empty, or `Unavailable`. The finishing steps are plain
functions dict -> dict, in this order: what could not be had is named, what is empty goes, what is too long is cut.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from beat_bridge.ecs.fields import INT64, LONGEST_KEYWORD
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Reason, Unavailable

Body = dict[str, Any]

LONGEST_ARRAY = 256
"""Elements kept of a list."""
LIMITS = {
    "message": 8192,
    "event.reason": 8192,
    "process.command_line": 8192,
    "process.parent.command_line": 8192,
    "doorwatch.finding.explanation": 8192,
    "doorwatch.filter.program": 262_144,  # 4,096 instructions in decimal and more
}
"""Characters kept of a text; LONGEST_KEYWORD where a field is not named here."""
_NAMESPACE = re.compile(r'[^A-Z\\/*?"<>| ,#:\-\x00-\x20]{1,100}')


def merge(*fragments: Mapping[str, Any]) -> Body:
    """One document from nested fragments.

    Raises:
        ValueError: Two fragments give the same leaf: a mistake in the caller.
    """
    body: Body = {}
    for fragment in fragments:
        _merge_into(body, fragment, "")
    return body


def _merge_into(body: Body, fragment: Mapping[str, Any], prefix: str) -> None:
    for key, value in fragment.items():
        if isinstance(value, Mapping):
            _merge_into(body.setdefault(key, {}), value, f"{prefix}{key}.")
        elif key in body:
            raise ValueError(f"{prefix}{key} is given twice")
        else:
            body[key] = value


def finish(body: Body) -> Body:
    """A merged body made fit to store: see the steps."""
    for step in _STEPS:
        body = step(body)
    return body


def name_unavailable(body: Body) -> Body:
    """Move every value that could not be had, or that JSON cannot say, into `doorwatch.unavailable`, by field."""
    named: list[str] = []

    def keep(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [item for item in (keep(name, item) for item in value) if item is not None]
        value = _sayable(value)
        if isinstance(value, Unavailable):
            named.append(": ".join(filter(None, (name, value.reason.value, value.detail))))
            return None
        return value

    kept = _map_leaves(body, keep)
    return merge(kept, {"doorwatch": {"unavailable": named}}) if named else kept


def _sayable(value: Any) -> Any:
    """The value, or why neither JSON nor Elasticsearch can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return Unavailable(reason=Reason.FAILED, detail=f"{value} is not a number")
    if isinstance(value, int) and value not in INT64:
        return Unavailable(reason=Reason.FAILED, detail=f"{value:#x} does not fit into 64 bits")
    return value


def drop_empty(body: Body) -> Body:
    """Without leaves that are None, empty text or an empty list, and without the objects this leaves empty."""
    kept: Body = {}
    for key, value in body.items():
        remaining = drop_empty(value) if isinstance(value, dict) else value
        if remaining is not None and remaining not in ("", [], {}):
            kept[key] = remaining
    return kept


def bound_text(body: Body) -> Body:
    """Text made printable and cut to its limit, lists cut; `doorwatch.truncated` names the fields that were cut."""
    cut: set[str] = set()

    def bound(name: str, value: Any) -> Any:
        if isinstance(value, list):
            if len(value) > LONGEST_ARRAY:
                cut.add(name)
            return [bound(name, item) for item in value[:LONGEST_ARRAY]]
        if not isinstance(value, str):
            return value
        limit = LIMITS.get(name, LONGEST_KEYWORD)
        # escaping never shortens, so what is beyond the limit before it is beyond it after
        text = printable(value[: limit + 1])
        if len(text) > limit:
            cut.add(name)
        return text[:limit]

    bounded = _map_leaves(body, bound)
    return merge(bounded, {"doorwatch": {"truncated": sorted(cut)}}) if cut else bounded


_STEPS: tuple[Callable[[Body], Body], ...] = (name_unavailable, drop_empty, bound_text)


def _map_leaves(body: Body, change: Callable[[str, Any], Any], prefix: str = "") -> Body:
    return {
        key: _map_leaves(value, change, f"{prefix}{key}.")
        if isinstance(value, dict)
        else change(f"{prefix}{key}", value)
        for key, value in body.items()
    }


def printable(text: str) -> str:
    r"""Text on one line that neither a terminal nor a reader's eye is deceived by.

    Control and direction characters become `\x1b` or `\u202e`; a byte that was no UTF-8 when a sensor read it (a
    lone surrogate, as `os.fsdecode` makes) becomes `\xff`.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(ord(character)) for character in text)


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode: the byte plus 0xDC00
        code -= 0xDC00
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def moment(at: datetime) -> str:
    """A moment as ISO 8601 in UTC, in microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def epoch(seconds: float | Unavailable) -> str | Unavailable:
    """Seconds since the epoch as ISO 8601 in UTC; a number that is no moment is said to be none."""
    if isinstance(seconds, Unavailable):
        return seconds
    try:
        return moment(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError):
        return Unavailable(reason=Reason.FAILED, detail=f"{seconds} is no moment in time")


def digest(*parts: str) -> str:
    """40 hexadecimal digits that name some texts."""
    return sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:40]


def data_stream(dataset: str, namespace: str) -> str:
    """`logs-doorwatch.finding-default`.

    Raises:
        DoorwatchError: Elasticsearch would not take the namespace.
    """
    if _NAMESPACE.fullmatch(namespace) is None:
        raise DoorwatchError(
            f"namespace {namespace!r:.40}: use lower-case letters, digits, '_' and '.', at most 100 characters"
        )
    return f"logs-doorwatch.{dataset}-{namespace}"
