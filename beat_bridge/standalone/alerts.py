"""Alerts as Kibana would make and send them.

The responder cannot tell, and need not care, whether an alert came from Kibana or from the local engine.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Protocol

import msgspec

from beat_bridge.model.documents import Document

DEEPEST: Final = 20
"""Objects within one another that are looked into; Elasticsearch's own limit for a mapping."""


class MatchedRule(Protocol):
    """What the engine needs to know of a rule that fired."""

    @property
    def rule_id(self) -> str:
        """The rule's own id, the same wherever the rule runs."""

    @property
    def name(self) -> str:
        """The rule's title."""

    def rated(self, document: Mapping[str, Any]) -> tuple[str, int]:
        """Severity and risk score (0 to 100) of an alert about this document."""


def alert_id(rule: MatchedRule, document: Document) -> str:
    """Deterministic: one rule makes one alert of one document, however often either is seen."""
    return sha256(f"{rule.rule_id}\x1f{document.id}".encode()).hexdigest()


def alert_document(rule: MatchedRule, document: Document, at: datetime) -> dict[str, Any]:
    """The document with what Kibana's alerts-as-data add to it, as dotted keys at its top.

    Args:
        rule: What fired.
        document: What it fired on.
        at: When, with time zone.
    """
    identity = alert_id(rule, document)
    severity, risk_score = rule.rated(document.body)
    event = document.body.get("event")
    original = event.get("id") if isinstance(event, Mapping) else None
    return {
        **document.body,
        "_id": identity,
        "_index": document.data_stream,
        "kibana.alert.uuid": identity,
        "kibana.alert.status": "active",
        "kibana.alert.workflow_status": "open",
        "kibana.alert.start": at.isoformat(),
        "kibana.alert.reason": document.body.get("message") or rule.name,
        "kibana.alert.severity": severity,
        "kibana.alert.risk_score": risk_score,
        "kibana.alert.rule.name": rule.name,
        "kibana.alert.rule.rule_id": rule.rule_id,
        "kibana.alert.rule.uuid": rule.rule_id,
        "kibana.alert.rule.producer": "doorwatch",
        "kibana.alert.original_time": document.body.get("@timestamp"),
        "kibana.alert.original_event.id": original or document.id,
        "kibana.alert.ancestors": [{"id": document.id, "type": "event", "index": document.data_stream, "depth": 0}],
    }


def sequence_alert(rule: MatchedRule, documents: Sequence[Document], at: datetime) -> tuple[str, bytes]:
    """The alert about several documents together.

    As in Kibana's alert of a sequence, its fields are those on which all documents agree, and the documents are its
    ancestors; it is deterministic in them.

    Args:
        rule: What fired.
        documents: What it fired on, at least one, the newest last.
        at: When, with time zone.

    Returns:
        Its id, and what is posted (see `webhook_body`).
    """
    newest = documents[-1]
    together = Document(
        data_stream=newest.data_stream,
        id="\x1f".join(document.id for document in documents),
        body={**_common([document.body for document in documents]), "@timestamp": newest.body.get("@timestamp")},
    )
    ancestors = [{"id": each.id, "type": "event", "index": each.data_stream, "depth": 0} for each in documents]
    alert = alert_document(rule, together, at) | {
        "kibana.alert.ancestors": ancestors,
        "kibana.alert.original_event.id": newest.id,
        "kibana.alert.group.id": alert_id(rule, together),
    }
    return alert_id(rule, together), _posted(rule, alert)


def _common(bodies: Sequence[Mapping[str, Any]], depth: int = 0) -> dict[str, Any]:
    """The fields on which all agree, objects looked into."""
    first, *others = bodies
    agreed: dict[str, Any] = {}
    for key, value in first.items():
        values = [value, *(other.get(key) for other in others)]
        if depth < DEEPEST and all(isinstance(each, Mapping) for each in values):
            if inner := _common(values, depth + 1):
                agreed[key] = inner
        elif all(each == value for each in values[1:]):
            agreed[key] = value
    return agreed


def webhook_body(rule: MatchedRule, document: Document, at: datetime) -> bytes:
    """What is posted: the JSON that our Kibana connector's template produces, with this one alert."""
    return _posted(rule, alert_document(rule, document, at))


def _posted(rule: MatchedRule, alert: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(
        {
            "rule": {
                "id": rule.rule_id,
                "name": rule.name,
                "severity": alert["kibana.alert.severity"],
                "risk_score": alert["kibana.alert.risk_score"],
            },
            "alert": {"id": alert["kibana.alert.uuid"]},
            "context": {"alerts": [alert]},
        }
    )
