"""A rule file: Elastic's detection-rules TOML, read strictly.

The format is that of elastic/detection-rules, so that its tooling reads these files and Doorwatch reads Elastic's. A
file of any rule type can be read, and exchanged with Kibana; what would change which documents match, and is not
evaluated here (filters, exceptions, other rule types), is refused by name where the rule is to be evaluated.

Beside `NAME.toml` may lie `NAME.changelog.json`, the rule's versions, and `NAME.kibana.json`, what Kibana says of the
rule and TOML has no key for.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from beat_bridge.errors import DoorwatchError
from detection_rules.bounded_files import read_bounded
from detection_rules.file_sets import refuse_half_changed
from detection_rules.json_text import NotJsonError, decode
from detection_rules.language import LANGUAGES
from detection_rules.toml_places import line_of

MAX_BYTES = 1 << 20
SUPPORTED_TYPES = ("eql", "query")
Severity = Literal["low", "medium", "high", "critical"]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A TOML table whose keys are all known: a misspelt key is an error."""


class Metadata(_Table, frozen=True, kw_only=True):
    """`[metadata]`: for the rule's keepers, not for the engine."""

    creation_date: str
    updated_date: str
    maturity: Literal["development", "experimental", "beta", "production", "deprecated"]
    integration: str | tuple[str, ...] = ()
    min_stack_version: str = ""
    min_stack_comments: str = ""
    deprecation_date: str = ""
    bypass_bbr_timing: bool = False
    os_type_list: tuple[str, ...] = ()
    promotion: bool = False
    query_schema_validation: bool = True


class Technique(_Table, frozen=True, kw_only=True):
    """One ATT&CK technique, tactic or sub-technique."""

    id: str
    name: str
    reference: str
    subtechnique: tuple["Technique", ...] = ()


class Threat(_Table, frozen=True, kw_only=True):
    """`[[rule.threat]]`: one tactic and the techniques under it."""

    framework: Literal["MITRE ATT&CK"]
    tactic: Technique
    technique: tuple[Technique, ...] = ()


class SeverityMapping(_Table, frozen=True, kw_only=True):
    """An alert has this severity when the field holds this value."""

    field: str
    operator: Literal["equals"]
    severity: Severity
    value: str


class RiskScoreMapping(_Table, frozen=True, kw_only=True, omit_defaults=False):
    """An alert's risk score is what stands in this field, when something does."""

    field: str
    operator: Literal["equals"]
    value: Literal[""] = ""
    """Kibana wants it, and wants it empty."""
    risk_score: int | msgspec.UnsetType = msgspec.UNSET


class RuleTable(_Table, frozen=True, kw_only=True):
    """`[rule]`."""

    author: tuple[str, ...]
    description: str
    language: str = ""
    license: str = ""
    name: str
    query: str = ""
    risk_score: int
    rule_id: str
    severity: Severity
    type: str
    index: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    threat: tuple[Threat, ...] = ()
    from_: str = msgspec.field(name="from", default="now-6m")
    to: str = "now"
    interval: str = "5m"
    max_signals: int = 100
    enabled: bool = False
    false_positives: tuple[str, ...] = ()
    note: str = ""
    setup: str = ""
    references: tuple[str, ...] = ()
    timestamp_override: str = ""
    timestamp_override_fallback_disabled: bool = False
    building_block_type: str = ""
    investigation_fields: dict[str, Any] = {}
    alert_suppression: dict[str, Any] = {}
    risk_score_mapping: tuple[RiskScoreMapping, ...] = ()
    severity_mapping: tuple[SeverityMapping, ...] = ()
    rule_name_override: str = ""
    related_integrations: tuple[dict[str, Any], ...] = ()
    required_fields: tuple[dict[str, Any], ...] = ()
    timeline_id: str = ""
    timeline_title: str = ""
    tiebreaker_field: str = ""
    timestamp_field: str = ""
    # these change what matches, or belong to other types of rule
    data_view_id: str = ""
    event_category_override: str = ""
    exceptions_list: tuple[dict[str, Any], ...] = ()
    filters: tuple[dict[str, Any], ...] = ()
    threshold: dict[str, Any] = {}
    new_terms: dict[str, Any] = {}
    threat_query: str = ""
    threat_index: tuple[str, ...] = ()
    threat_mapping: tuple[dict[str, Any], ...] = ()
    threat_language: str = ""
    threat_filters: tuple[dict[str, Any], ...] = ()
    threat_indicator_path: str = ""
    machine_learning_job_id: str | tuple[str, ...] = ()
    anomaly_threshold: int = 0


class RuleFile(_Table, frozen=True, kw_only=True):
    """The whole file."""

    metadata: Metadata
    rule: RuleTable
    transform: dict[str, Any] = {}


DEFAULTS: Final = {
    field.encode_name: field.default
    for field in msgspec.structs.fields(RuleTable)
    if field.default is not msgspec.NODEFAULT
}
"""What `[rule]` says where it says nothing."""


def content_of(file: RuleFile) -> dict[str, dict[str, Any]]:
    """The tables of a file as JSON has them, without what stands there anyway."""
    content: dict[str, dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(file))
    content["rule"] = {key: value for key, value in content["rule"].items() if value != DEFAULTS.get(key)}
    return content


class Release(_Table, frozen=True, kw_only=True):
    """One version of a rule."""

    version: int
    date: str
    """`2026/11/22`, as in `[metadata]`."""
    sha256: str
    """Of what the rule was then (see `versions.digest`)."""
    change: str
    """What changed and why, in one line."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as its files have it."""

    path: Path
    file: RuleFile
    text: str
    """The TOML, for naming places in it."""
    releases: tuple[Release, ...] = ()
    """Newest first."""
    beside: Mapping[str, Any] = {}
    """Keys of Kibana's that the TOML has no place for."""

    @property
    def version(self) -> int:
        """1 where the rule has no changelog."""
        return self.releases[0].version if self.releases else 1


_CHANGES_MATCHES = ("data_view_id", "event_category_override", "exceptions_list", "filters")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def changelog_path(rule: Path) -> Path:
    """Where the versions of a rule are kept."""
    return rule.with_suffix(".changelog.json")


def beside_path(rule: Path) -> Path:
    """Where lies what Kibana says of a rule and TOML has no key for."""
    return rule.with_suffix(".kibana.json")


def read_source(path: Path) -> Source:
    """Read a rule with what lies beside it.

    Raises:
        DoorwatchError: One line, `FILE:LINE: what is wrong`.
    """
    refuse_half_changed(path.parent)
    file, text = read_rule_file(path)
    return Source(
        path=path,
        file=file,
        text=text,
        releases=_read_json(changelog_path(path), tuple[Release, ...], ()),
        beside=_read_json(beside_path(path), dict[str, Any], {}),
    )


T = TypeVar("T")


def _read_json(path: Path, shape: type[T], absent: T) -> T:
    try:
        data = read_bounded(path, MAX_BYTES)
    except FileNotFoundError:
        return absent
    try:
        return msgspec.convert(decode(data), shape)
    except NotJsonError as error:
        raise DoorwatchError(f"{path}:{error.line}: {error.problem}") from error
    except msgspec.ValidationError as error:
        raise DoorwatchError(f"{path}: {error}") from error


def read_rule_file(path: Path) -> tuple[RuleFile, str]:
    """Read a rule file.

    Returns:
        The file as a value, and its text (for `fail`).

    Raises:
        DoorwatchError: One line, `FILE:LINE: what is wrong`.
    """
    try:
        data = read_bounded(path, MAX_BYTES, "; this is no rule file")
        text = data.decode("utf-8")
        if text.startswith("\ufeff"):
            raise DoorwatchError(f"{path}:1: begins with a byte order mark, which TOML has not; save it as plain UTF-8")
        content = tomllib.loads(text)
    except FileNotFoundError as error:
        raise DoorwatchError(f"{path}: cannot read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DoorwatchError(f"{path}:{line}: not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise DoorwatchError(_toml_error(path, text, str(error))) from error
    except RecursionError as error:
        raise DoorwatchError(f"{path}: nested too deep for TOML") from error
    try:
        file = msgspec.convert(content, RuleFile)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `")
        where = where.rstrip("`")
        unknown = re.search(r"unknown field `([^`]*)`", message)
        at = f"{where or '$'}.{unknown[1]}" if unknown else where
        inside = f" (at {where.removeprefix('$.')})" if where else ""
        raise DoorwatchError(f"{path}:{line_of(text, at)}: {message}{inside}") from error
    _check(path, text, file.rule)
    return file, text


def fail(path: Path, text: str, key: str, problem: str) -> DoorwatchError:
    """The error for a key of `[rule]`, with its line."""
    return DoorwatchError(f"{path}:{line_of(text, f'$.rule.{key}')}: {problem}")


def query_line(text: str) -> int:
    """The line of the file (from 1) on which the query's own first line stands."""
    line = line_of(text, "$.rule.query")
    opening = text.splitlines()[line - 1].rstrip()
    return line + 1 if opening.endswith(("'''", '"""')) else line


def _check(path: Path, text: str, rule: RuleTable) -> None:
    """What every rule must have, whether or not it can be evaluated here."""
    for key in ("name", "description"):
        if not getattr(rule, key).strip():
            raise fail(path, text, key, f"the {key} is empty")
    if not 0 <= rule.risk_score <= 100:
        raise fail(path, text, "risk_score", f"risk_score is {rule.risk_score}, not within 0 to 100")
    if not _UUID.fullmatch(rule.rule_id):
        raise fail(path, text, "rule_id", f"rule_id {rule.rule_id!r} is no UUID in lower case")


def obstacle(rule: RuleTable) -> tuple[str, str] | None:
    """Why a rule cannot be evaluated here: the key and the reason; None where it can."""
    if rule.type not in SUPPORTED_TYPES:
        return "type", f"the rule type `{rule.type}` is not supported: only {', '.join(SUPPORTED_TYPES)}"
    if rule.language not in LANGUAGES:
        return "language", f"the query language `{rule.language}` is not supported: only kuery, eql"
    if (rule.type == "eql") != (rule.language == "eql"):
        return "type", f"a rule of type `{rule.type}` cannot be written in `{rule.language}`"
    if not rule.query.strip():
        return "query", "the query is missing"
    for key in _CHANGES_MATCHES:
        if getattr(rule, key):
            return key, f"`{key}` is not supported: it would change which documents match"
    return None


def _toml_error(path: Path, text: str, message: str) -> str:
    at = re.search(r"\s*\(at line (\d+), column (\d+)\)", message)
    if at:
        return f"{path}:{at[1]}: not TOML: {message.replace(at[0], '')} (column {at[2]})"
    return f"{path}:{text.count(chr(10)) + 1}: not TOML: {message.replace(' (at end of document)', ', at the end')}"
