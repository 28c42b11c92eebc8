"""An alert: what of an ECS alert document a response needs, whoever sent it."""

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from beat_bridge.model.base import Value, Verdict
from responders.targets import without_deleted

START_TOLERANCE = 2.0
"""Seconds by which two accounts of one process's start may differ: Elastic Defend and we read different clocks."""
_MAXIMUM_TEXT = 1024
_MISSING = object()


class Severity(StrEnum):
    """Of a detection rule, as Kibana names them."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for low up to 3 for critical."""
        return list(Severity).index(self)


class Alert(Value, frozen=True, kw_only=True):
    """One alert, as typed values. Every text is printable Unicode of bounded length."""

    uuid: str
    """`kibana.alert.uuid`; for a sender that has none, a hash over the document."""
    rule_id: str = ""
    rule_name: str = ""
    severity: Severity = Severity.LOW
    risk_score: float = 0.0
    host_id: str = ""
    host_name: str = ""
    boot_id: str = ""
    pid: int | None = None
    started_at: float | None = None
    """`process.start` in seconds since the epoch."""
    start_ticks: int | None = None
    executable: str = ""
    process_name: str = ""
    finding_key: str = ""
    verdict: Verdict | None = None

    @property
    def names_process(self) -> bool:
        """A pid alone is used again; with its start it names one process."""
        return self.pid is not None and (self.started_at is not None or self.start_ticks is not None)

    @property
    def obstacle(self) -> str:
        """Why nothing can be done about this alert; empty where something can."""
        if not self.host_id:
            return "the alert names no host (host.id), as threshold alerts without fields do"
        if self.names_process or self.finding_key:
            return ""
        if self.pid is not None:
            return f"the alert names process {self.pid} without its start (process.start): a pid alone is used again"
        return "the alert names neither a process (process.pid, process.start) nor a Doorwatch finding"


def from_document(document: Mapping[str, Any], rule: Mapping[str, Any] | None = None) -> Alert:
    """Read an alert document, nested or with dotted keys.

    Args:
        document: An ECS document with `kibana.alert.*`, as Kibana's alerts-as-data and our local engine give it.
        rule: The body's own `rule` object, for what the document does not say.
    """
    rule = rule or {}
    verdict = _text(document, "doorwatch.finding.verdict")
    return Alert(
        uuid=_text(document, "kibana.alert.uuid") or _text(document, "_id") or _fingerprint(document),
        rule_id=_text(document, "kibana.alert.rule.rule_id") or _text(rule, "id"),
        rule_name=_text(document, "kibana.alert.rule.name") or _text(rule, "name"),
        severity=_severity(_text(document, "kibana.alert.severity") or _text(rule, "severity")),
        risk_score=_risk(document, rule),
        host_id=_text(document, "host.id"),
        host_name=_text(document, "host.name") or _text(document, "host.hostname"),
        boot_id=_text(document, "host.boot.id"),
        pid=_whole(field(document, "process.pid")),
        started_at=_moment(field(document, "process.start")),
        start_ticks=_whole(field(document, "doorwatch.process.start_ticks")),
        executable=without_deleted(_text(document, "process.executable")),
        process_name=_text(document, "process.name"),
        finding_key=_text(document, "doorwatch.finding.key"),
        verdict=Verdict(verdict) if verdict in set(Verdict) else None,
    )


def field(document: Mapping[str, Any], name: str) -> Any:
    """A field of a document whose keys are nested, dotted, or both; None where it is not there.

    A list of exactly one value, as Kibana's fields API wraps it, counts as that value.
    """
    value = next(_values(document, name.split(".")), None)
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def looks_like_alert(value: object) -> bool:
    """A JSON object that carries what alert documents carry (not a rule, not a context)."""
    return isinstance(value, Mapping) and any(
        next(_values(value, name.split(".")), _MISSING) is not _MISSING
        for name in ("kibana.alert.uuid", "kibana.alert.rule.name", "host.id", "process.pid", "doorwatch.finding.key")
    )


def _values(document: Mapping[str, Any], parts: list[str]) -> Iterator[Any]:
    for end in range(len(parts), 0, -1):
        value = document.get(".".join(parts[:end]), _MISSING)
        if value is _MISSING:
            continue
        if end == len(parts):
            yield value
        elif isinstance(value, Mapping):
            yield from _values(value, parts[end:])


def _text(document: Mapping[str, Any], name: str) -> str:
    value = field(document, name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    if isinstance(value, int) and abs(value) > 1 << 64:
        return ""
    text = str(value)[:_MAXIMUM_TEXT].encode("utf-8", "backslashreplace").decode()
    return "".join(character if character.isprintable() else " " for character in text)


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < 1 << 63 else None


def _moment(value: Any) -> float | None:
    """Seconds since the epoch from ISO 8601, or from Elasticsearch's milliseconds."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value[:64])
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError, OSError):
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15 or not math.isfinite(value):
        return None
    return value / 1000


def _severity(text: str) -> Severity:
    return Severity(text) if text in set(Severity) else Severity.LOW


def _risk(document: Mapping[str, Any], rule: Mapping[str, Any]) -> float:
    for value in (field(document, "kibana.alert.risk_score"), field(rule, "risk_score")):
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100:
            return float(value)
    return 0.0


def _fingerprint(document: Mapping[str, Any]) -> str:
    canonical = json.dumps(document, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return "sha256:" + sha256(canonical.encode("ascii")).hexdigest()
