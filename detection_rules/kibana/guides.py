"""Buttons in triage guides: `[transform]` in the file, `!{investigate{...}}` and `!{osquery{...}}` in Kibana.

A rule's `note` says `$investigate_0` or `$osquery_1` where the first filter or the second live query stands. Kibana
shows a button there, with `{{host.id}}` replaced by what the alert says. elastic/detection-rules has the same
convention.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

PLUGINS: Final = ("investigate", "osquery")
_PLACEHOLDER: Final = re.compile(r"\$(investigate|osquery)_(\d+)")
_OPENING: Final = re.compile(r"!\{(investigate|osquery)(?=\{)")


def render(note: str, transform: Mapping[str, Any]) -> str:
    """The guide as Kibana wants it: each placeholder replaced by its button; one without an entry stays."""

    def button(found: re.Match[str]) -> str:
        entries = transform.get(found[1], ())
        index = int(found[2])
        if index >= len(entries):
            return found[0]
        return f"!{{{found[1]}{json.dumps(entries[index], sort_keys=True, separators=(',', ':'), ensure_ascii=False)}}}"

    return _PLACEHOLDER.sub(button, note)


def unrender(note: str) -> tuple[str, dict[str, list[Any]]]:
    """The guide as the file has it, and the entries for its placeholders, numbered as they come.

    A button that is no JSON is left where it is, as Kibana leaves it.
    """
    transform: dict[str, list[Any]] = {}
    written: list[str] = []
    at = 0
    decoder = json.JSONDecoder()
    while found := _OPENING.search(note, at):
        written.append(note[at : found.start()])
        try:
            entry, end = decoder.raw_decode(note, found.end())
        except (json.JSONDecodeError, RecursionError):
            entry, end = None, found.end()
        if not isinstance(entry, dict) or not note.startswith("}", end) or _has_null(entry):
            written.append(note[found.start() : found.end()])
            at = found.end()
            continue
        entries = transform.setdefault(found[1], [])
        written.append(f"${found[1]}_{len(entries)}")
        entries.append(entry)
        at = end + 1
    return "".join(written) + note[at:], transform


def missing(note: str, transform: Mapping[str, Any]) -> tuple[str, ...]:
    """Placeholders without an entry, and entries without a placeholder."""
    used = {(plugin, int(index)) for plugin, index in _PLACEHOLDER.findall(note)}
    there = {(plugin, index) for plugin in PLUGINS for index in range(len(transform.get(plugin, ())))}
    return tuple(f"${plugin}_{index}" for plugin, index in sorted(used ^ there))


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_null(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_null(item) for item in value)
    return value is None
