"""One rule: the TOML's tables into the body of Kibana's detection engine API, and back, without loss.

The way there adds what Kibana shows and the TOML leaves to be worked out: the fields the query needs, the integrations
that bring its data, the buttons of the triage guide. The way back takes them out again where they say what would be
worked out anyway. What the TOML has no key for is kept beside it, in `NAME.kibana.json`.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

import msgspec

from beat_bridge.errors import DoorwatchError
from detection_rules.datasets import known_fields
from detection_rules.kibana import guides
from detection_rules.language import QueryError
from detection_rules.queries import queried_fields
from detection_rules.rule_file import DEFAULTS, Metadata, RuleFile, RuleTable, Source, content_of, obstacle
from detection_rules.rule_set import Rule
from detection_rules.toml_writer import PROSE, fold

Body = dict[str, Any]
ALWAYS: Final = (
    "enabled", "exceptions_list", "false_positives", "from", "interval", "max_signals", "references",
    "risk_score_mapping", "severity_mapping", "setup", "tags", "threat", "to",
)  # fmt: skip
"""Keys that Kibana always answers with, whatever was asked for."""
INTEGRATIONS: Final = {
    # what [metadata] calls an integration -> the packages' versions it may have
    "auditd_manager": "^1.0.0",
    "doorwatch": ">=0.1.0",
    "endpoint": "^8.2.0 || ^9.0.0",
}
_TEXTS: Final = frozenset({"query", "threat_query"})
_META: Final = frozenset(field.encode_name for field in msgspec.structs.fields(Metadata))
_TABLE: Final = frozenset(field.encode_name for field in msgspec.structs.fields(RuleTable))
_DERIVED: Final = ("related_integrations", "required_fields")
_ABSENT: Final = object()


def rule_to_kibana(rule: Rule | Source, *, metadata: bool = False) -> Body:
    """The rule as the detection engine's API takes it (`POST /api/detection_engine/rules`).

    Args:
        rule: A rule, or a rule file that need not be one this engine can evaluate.
        metadata: Put `[metadata]` into `meta`, so that nothing is lost on the way through Kibana.

    Returns:
        A JSON object, keys sorted.
    """
    source = rule.source if isinstance(rule, Rule) else rule
    body = _rendered(source.file)
    said = content_of(source.file)["rule"]
    body["version"] = source.version
    if metadata:
        body["meta"] = content_of(source.file)["metadata"]
    for key, value in source.beside.items():
        if key == "meta":
            if metadata and isinstance(value, dict):
                body["meta"] = {**value, **body["meta"]}
        elif key not in said or _canonical(key, value) == _canonical(key, body.get(key, _ABSENT)):
            body[key] = value  # word for word as Kibana had it, unless the TOML was edited since
    return dict(sorted(body.items()))


def file_of_body(body: Mapping[str, Any], today: date) -> tuple[RuleFile, Body, int]:
    """The way back.

    Args:
        body: One rule of an export.
        today: For rules that were made in Kibana and so have no dates of their own.

    Returns:
        The rule file; what stands in the body and cannot stand in it; the version.

    Raises:
        DoorwatchError: It is no rule of the detection engine; the line names the key, not the rule.
    """
    body = dict(body)
    meta = body.pop("meta", None) or {}
    if not isinstance(meta, dict):
        raise DoorwatchError("meta: Expected `object`")
    version = body.pop("version", 1)
    if not isinstance(version, int) or version < 1:
        raise DoorwatchError("version: Expected a positive `int`")
    table = _table(body)
    transform: dict[str, Any] = {}
    if isinstance(table.get("note"), str):
        table["note"], transform = guides.unrender(table["note"])
    metadata: Body = {
        "creation_date": f"{today:%Y/%m/%d}",
        "updated_date": f"{today:%Y/%m/%d}",
        "maturity": "production",
    }
    if isinstance(body.get("related_integrations"), list) and "integration" not in meta:
        packages = [item.get("package") for item in body["related_integrations"] if isinstance(item, dict)]
        metadata |= {"integration": sorted({name for name in packages if isinstance(name, str)})} if packages else {}
    metadata |= {key: value for key, value in meta.items() if key in _META and value is not None}
    content = {"metadata": metadata, "rule": table, "transform": transform}
    file = _file(content)
    derived = _rendered(_file({**content, "rule": {k: v for k, v in table.items() if k not in _DERIVED}}))
    unneeded = {key for key in _DERIVED if key in table and table[key] == derived.get(key)}
    if unneeded:
        table = {key: value for key, value in table.items() if key not in unneeded}
        file = _file({**content, "rule": table})
    again = _rendered(file)
    beside: Body = {key: value for key, value in body.items() if again.get(key, _ABSENT) != value}
    if foreign := {key: value for key, value in meta.items() if key not in _META or value is None}:
        beside["meta"] = foreign
    return file, dict(sorted(beside.items())), version


def _file(content: Body) -> RuleFile:
    try:
        return msgspec.convert(content, RuleFile)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$.")
        raise DoorwatchError(f"{where.rstrip('`').removeprefix('rule.')}: {message}".removeprefix(": ")) from error


def _table(body: Body) -> Body:
    """What of a body the TOML has keys for."""
    table = {key: value for key, value in body.items() if key in _TABLE and not _has_null(value)}
    for key in _TEXTS & set(table):
        if isinstance(table[key], str):
            table[key] = f"{table[key].strip()}\n"
    if "new_terms_fields" in body:  # elastic/detection-rules has a table of its own for these
        table["new_terms"] = {
            "field": "new_terms_fields",
            "value": body["new_terms_fields"],
            "history_window_start": [{"field": "history_window_start", "value": body.get("history_window_start")}],
        }
    return table


def _rendered(file: RuleFile) -> Body:
    """The body that follows from the TOML alone."""
    body: Body = content_of(file)["rule"]
    for key in ALWAYS:
        default = DEFAULTS[key]
        body.setdefault(key, [] if default == () else default)
    for key in PROSE & set(body):
        body[key] = fold(body[key]) if isinstance(body[key], str) else [fold(text) for text in body[key]]
    for key in _TEXTS & set(body):
        body[key] = body[key].strip()
    if "note" in body:
        body["note"] = guides.render(body["note"], file.transform)
    if "new_terms" in body:
        new_terms = body.pop("new_terms")
        body["new_terms_fields"] = new_terms.get("value", [])
        for window in new_terms.get("history_window_start", []):
            body["history_window_start"] = window.get("value")
    body.setdefault("related_integrations", _integrations(file.metadata))
    body.setdefault("required_fields", _required(file.rule))
    return body


def _integrations(metadata: Metadata) -> list[Body]:
    named = (metadata.integration,) if isinstance(metadata.integration, str) else metadata.integration
    return [{"package": name, "version": INTEGRATIONS[name]} for name in sorted(named) if name in INTEGRATIONS]


def _required(rule: RuleTable) -> list[Body]:
    """The fields that the query reads, with their types; none where it cannot be told."""
    if obstacle(rule) is not None:
        return []
    try:
        names = queried_fields(rule.query, rule.language)
    except QueryError:
        return []
    return [{"name": name, "type": known_fields()[name].type} for name in names if name in known_fields()]


def _canonical(key: str, value: Any) -> Any:
    """Values that mean the same are equal in this form."""
    if value is _ABSENT or value in (None, "", [], {}) or value == DEFAULTS.get(key):
        return _ABSENT
    if key in PROSE:
        return fold(value) if isinstance(value, str) else [fold(str(text)) for text in value]
    if key in _TEXTS and isinstance(value, str):
        return value.strip()
    if key == "note" and isinstance(value, str):
        return guides.render(*guides.unrender(value))
    return value


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_null(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_null(item) for item in value)
    return value is None
