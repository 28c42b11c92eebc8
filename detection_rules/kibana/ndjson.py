"""Exports of Kibana's detection engine: a JSON object a line; rules, then what they refer to, then a summary."""

from collections.abc import Iterable
from datetime import date
from typing import Any, Final

import msgspec

from beat_bridge.errors import DoorwatchError
from detection_rules.json_text import BYTE_ORDER_MARK, NotJsonError, decode
from detection_rules.kibana.body import Body, file_of_body, rule_to_kibana
from detection_rules.rule_file import RuleFile, Source
from detection_rules.rule_set import Rule

MAX_BYTES: Final = 100 << 20
MAX_RULES: Final = 10_000
"""Kibana's own limit on an import."""
_REQUIRED: Final = ("rule_id", "name", "description", "type", "risk_score", "severity")


class ImportedRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule out of an export."""

    line: int
    file: RuleFile
    beside: dict[str, Any]
    """What the TOML has no key for (see `rule_file.beside_path`)."""
    version: int


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """An export."""

    rules: tuple[ImportedRule, ...]
    others: tuple[dict[str, Any], ...]
    """Exception lists with their items, and connectors, word for word."""


def export_ndjson(rules: Iterable[Rule | Source], others: Iterable[Body] = ()) -> bytes:
    """What Kibana imports under Rules, and `import_ndjson` reads.

    Args:
        rules: In the order they are to have.
        others: Exception lists, items and connectors of an earlier import.
    """
    bodies = [rule_to_kibana(rule, metadata=True) for rule in rules]
    others = list(others)
    counts = {kind: sum(_kind(other) == kind for other in others) for kind in ("list", "item", "connector")}
    summary = {
        "exported_count": len(bodies) + len(others),
        "exported_rules_count": len(bodies),
        "missing_rules": [],
        "missing_rules_count": 0,
        "exported_exception_list_count": counts["list"],
        "exported_exception_list_item_count": counts["item"],
        "missing_exception_list_item_count": 0,
        "missing_exception_list_items": [],
        "missing_exception_lists": [],
        "missing_exception_lists_count": 0,
        "exported_action_connector_count": counts["connector"],
        "missing_action_connection_count": 0,
        "missing_action_connections": [],
        "excluded_action_connection_count": 0,
        "excluded_action_connections": [],
    }
    return b"".join(msgspec.json.encode(line) + b"\n" for line in (*bodies, *others, summary))


def import_ndjson(data: bytes, *, name: str = "-", today: date | None = None) -> Imported:
    """Read an export, whole or not at all.

    Args:
        data: The file.
        name: What to call it in errors.
        today: The date of rules that have none.

    Raises:
        DoorwatchError: One line, `FILE:LINE: what is wrong`.
    """
    if len(data) > MAX_BYTES:
        raise DoorwatchError(f"{name}: larger than {MAX_BYTES >> 20} MB")
    today = today or date.today()  # noqa: DTZ011 - a day in the keeper's calendar, as in [metadata]
    rules: list[ImportedRule] = []
    others: list[Body] = []
    summary: Body | None = None
    seen: dict[str, int] = {}
    for number, line in enumerate(data.removeprefix(BYTE_ORDER_MARK).split(b"\n"), start=1):
        if not line.strip():
            continue
        place = f"{name}:{number}"
        entry = _object(line, place)
        if summary is not None:
            raise DoorwatchError(f"{place}: something follows the summary: these are several exports in one file")
        if "rule_id" in entry:
            rules.append(_rule(entry, place, number, today))
            first = seen.setdefault(entry["rule_id"], number)
            if first != number:
                raise DoorwatchError(f"{place}: rule_id {entry['rule_id']} stands in line {first} already")
            if len(rules) > MAX_RULES:
                raise DoorwatchError(f"{place}: more than {MAX_RULES} rules; Kibana would not take them either")
        elif "exported_count" in entry:
            summary = entry
            _check_summary(entry, place, len(rules))
        elif _kind(entry):
            others.append(entry)
        else:
            raise DoorwatchError(f"{place}: {_what(entry)}")
    if not rules:
        raise DoorwatchError(f"{name}: holds no rule: export some in Kibana under Security > Rules")
    return Imported(rules=tuple(rules), others=tuple(others))


def _object(line: bytes, place: str) -> Body:
    try:
        entry = decode(line.strip())
    except NotJsonError as error:
        hint = "; an export has one JSON object a line" if line.strip() in (b"{", b"[") else ""
        raise DoorwatchError(f"{place}: {error.problem}{hint}") from error
    if not isinstance(entry, dict):
        raise DoorwatchError(f"{place}: no JSON object; an export has one rule a line")
    return entry


def _rule(entry: Body, place: str, number: int, today: date) -> ImportedRule:
    lacking = [key for key in _REQUIRED if key not in entry]
    if lacking:
        raise DoorwatchError(f"{place}: a rule without `{lacking[0]}`: exported by a version that is not supported")
    if not isinstance(entry["rule_id"], str):
        raise DoorwatchError(f"{place}: rule_id: Expected `str`")
    try:
        file, beside, version = file_of_body(entry, today)
    except DoorwatchError as error:
        raise DoorwatchError(f"{place}: the rule {str(entry['name'])[:80]!r}: {error}") from error
    return ImportedRule(line=number, file=file, beside=beside, version=version)


def _check_summary(summary: Body, place: str, rules: int) -> None:
    counted = summary.get("exported_rules_count")
    if counted is None:
        raise DoorwatchError(
            f"{place}: exported by Kibana 7 (its summary has no exported_rules_count): export from Kibana 8 or newer"
        )
    if counted != rules:
        raise DoorwatchError(f"{place}: the summary counts {counted} rules and the file holds {rules}: it is not whole")


def _kind(entry: Body) -> str:
    """What a line is that is no rule: `list`, `item`, `connector`, or empty."""
    if "list_id" in entry:
        return "item" if "item_id" in entry else "list"
    return "connector" if entry.get("type") == "action" and "attributes" in entry else ""


def _what(entry: Body) -> str:
    if "attributes" in entry:
        kind = str(entry.get("type"))[:40]
        return f"a saved object of type {kind!r}: export under Security > Rules, not under Saved Objects"
    if "metadata" in entry or "rule" in entry:
        return "a rule file as JSON, not an export of Kibana's: put the TOML into a directory of rules"
    return "neither a rule (no rule_id) nor anything else that Kibana exports"
