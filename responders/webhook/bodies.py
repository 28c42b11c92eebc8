"""The bodies that Kibana's webhook connector sends, as they really arrive.

Its templates insert `{{context.alerts}}` as JSON, as JSON inside a string, or unescaped between quotes; one alert at a
time or all; and long bodies arrive cut. So a body is read in three attempts: as JSON; as JSON whose inner quotes were
not escaped; and, where it is damaged, object by object, taking every complete one. What was lost is always said.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value
from responders.alerts import Alert, from_document, looks_like_alert

MAXIMUM_ALERTS = 500
"""Alerts taken from one body: Kibana's connectors summarise at most 100."""
_MAXIMUM_DEPTH = 8
_QUOTED_LIST = re.compile(r'"\s*(?=\[\s*\{\s*")')
_QUOTED_LIST_END = re.compile(r'(?<=\])\s*"(?=\s*[,}\]])')


class ParsedBody(Value, frozen=True, kw_only=True):
    """What a body held."""

    alerts: tuple[Alert, ...]
    notes: tuple[str, ...] = ()
    """What was wrong with it and what was done about that, for the sender's log."""


def parse(body: bytes) -> ParsedBody:
    """Take the alerts out of a webhook body. Never raises anything but the error below, whatever the bytes.

    Raises:
        DoorwatchError: Not one alert could be read; the line says why.
    """
    text = body.decode("utf-8", "backslashreplace").strip()
    if not text:
        raise DoorwatchError("the body is empty: expected JSON with an alert")
    notes: list[str] = []
    values = _decode(text)
    if values is None:
        unquoted = _without_quotes_around_list(text)
        values = _decode(unquoted) if unquoted != text else None
        if values is not None:
            notes.append("the alerts stood unescaped between quotes; they were read as if they had not")
        else:
            values = list(_complete_objects(text)) or list(_complete_objects(unquoted))
            notes.append("the body is damaged or cut short: the complete alerts in it were taken, the rest is lost")
    rule = next((found for value in values if (found := _rule(value)) is not None), {})
    documents: list[Mapping[str, Any]] = []
    for value in values:
        for document in _documents(value, _MAXIMUM_DEPTH):
            if len(documents) == MAXIMUM_ALERTS:
                notes.append(f"more than {MAXIMUM_ALERTS} alerts in one body: the rest is lost")
                break
            documents.append(document)
    if not documents:
        # a threshold rule's alert has no document: its name and the rule are all there is
        documents.extend(named for value in values if (named := _named_only(value)) is not None)
    if not documents:
        raise DoorwatchError(
            f"no alert could be read from this body of {len(body)} bytes: expected the JSON of the Doorwatch connector"
        )
    alerts = {alert.uuid: alert for alert in (from_document(document, rule) for document in documents)}
    return ParsedBody(alerts=tuple(alerts.values()), notes=tuple(dict.fromkeys(notes)))


def _without_quotes_around_list(text: str) -> str:
    """The text without the quotes that a template put around a list whose own quotes it did not escape."""
    begins = _QUOTED_LIST.search(text)
    ends = list(_QUOTED_LIST_END.finditer(text))
    if begins is None or not ends or ends[-1].start() < begins.end():
        return text
    return text[: begins.start()] + text[begins.end() : ends[-1].start()] + text[ends[-1].end() :]


def _decode(text: str) -> list[Any] | None:
    """All the JSON values in the text, one behind the other (a mustache section writes no comma); None if damaged."""
    decoder = json.JSONDecoder(strict=False)
    values: list[Any] = []
    place = 0
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return None
        values.append(value)
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
    return values


def _complete_objects(text: str) -> Iterator[Any]:
    """The outermost complete objects of damaged JSON, in one pass over the text."""
    spans: list[tuple[int, int]] = []
    starts: list[int] = []
    in_string = escaped = False
    for place, character in enumerate(text):
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character == "{":
            starts.append(place)
        elif character == "}" and starts:
            start = starts.pop()
            while spans and spans[-1][0] > start:
                spans.pop()  # those lie inside this one
            spans.append((start, place + 1))
    for start, end in spans:
        try:
            value = json.loads(text[start:end], strict=False)
        except (ValueError, RecursionError):
            continue
        # what key it stood under was lost with the object around it; only a rule matters by its key
        yield {"rule": value} if re.search(r'"rule"\s*:\s*$', text[max(0, start - 40) : start]) else value


def _documents(value: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """The alert documents in a decoded body, through lists, `context`, `alerts`, and JSON inside strings."""
    if depth == 0:
        return
    if isinstance(value, str):
        text = value.strip()
        if text[:1] in ("{", "["):
            for inner in _decode(text) or _complete_objects(text):
                yield from _documents(inner, depth - 1)
    elif isinstance(value, list):
        for item in value:
            yield from _documents(item, depth - 1)
    elif isinstance(value, dict):
        if looks_like_alert(value):
            yield value
            return
        for key in ("context", "alerts", "alert", "context.alerts", "_source", "body"):
            if key in value:
                yield from _documents(value[key], depth - 1)


def _rule(value: Any) -> Mapping[str, Any] | None:
    rule = value.get("rule") if isinstance(value, dict) else None
    return rule if isinstance(rule, dict) else None


def _named_only(value: Any) -> Mapping[str, Any] | None:
    alert = value.get("alert") if isinstance(value, dict) else None
    identifier = alert.get("id") if isinstance(alert, dict) else None
    return {"kibana.alert.uuid": identifier} if isinstance(identifier, str) and identifier else None
