"""Rules as Kibana exports them: made up of everything its API lets a person change."""

import json
from typing import Any

from hypothesis import strategies as st

SERVER_MADE: dict[str, Any] = {
    "id": "4f228868-9928-47e4-9785-9a1a9b520c7f",
    "created_at": "2026-01-15T09:30:00.000Z",
    "created_by": "elastic",
    "updated_at": "2026-01-16T09:30:00.000Z",
    "updated_by": "analyst",
    "immutable": False,
    "revision": 3,
    "rule_source": {"type": "internal"},
    "output_index": "",
}
"""What Kibana adds of its own."""
_words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30).filter(str.strip)
_text = st.one_of(_words, st.sampled_from(['a "quoted" \\ text', "one\ntwo\n\nthree", "'''", '"""', "tab\tand é", "#"]))
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=6,
)


def technique(number: int) -> dict[str, Any]:
    """One entry of ATT&CK, as Kibana writes it."""
    name = f"T{1000 + number}"
    return {"id": name, "name": f"Technique {number}", "reference": f"https://attack.mitre.org/techniques/{name}/"}


THREAT = st.builds(
    lambda tactic, numbers: {
        "framework": "MITRE ATT&CK",
        "tactic": technique(tactic),
        "technique": [technique(number) for number in numbers],
    },
    st.integers(0, 9),
    st.lists(st.integers(0, 99), min_size=1, max_size=2, unique=True),
)
_exception = {"id": "e1", "list_id": "l1", "type": "rule_default", "namespace_type": "single"}
_optional = st.fixed_dictionaries(
    {},
    optional={
        "note": _text | st.just('## Guide\n\n!{investigate{"label":"x","providers":[[]]}} and !{osquery{"query":"y"}}'),
        "setup": _text,
        "license": _words,
        "building_block_type": st.just("default"),
        "timestamp_override": st.just("event.ingested"),
        "rule_name_override": st.just("message"),
        "investigation_fields": st.builds(
            lambda names: {"field_names": names}, st.lists(_words, min_size=1, max_size=3)
        ),
        "alert_suppression": st.just(
            {
                "group_by": ["host.id"],
                "duration": {"value": 5, "unit": "m"},
                "missing_fields_strategy": "suppress",
            }
        ),
        "exceptions_list": st.just([_exception]),
        "filters": st.just([{"meta": {"negate": True, "alias": None}, "query": {"match_phrase": {"host.name": "x"}}}]),
        "actions": st.just([{"id": "c1", "group": "default", "action_type_id": ".webhook", "params": {"body": "{}"}}]),
        "severity_mapping": st.just(
            [{"field": "event.severity", "operator": "equals", "severity": "low", "value": "3"}]
        ),
        "risk_score_mapping": st.just([{"field": "event.risk_score", "operator": "equals", "value": ""}]),
        "related_integrations": st.just([{"package": "endpoint", "version": "^8.2.0 || ^9.0.0"}]),
        "required_fields": st.just([{"name": "process.name", "type": "keyword", "ecs": True}]),
        "threat": st.lists(THREAT, max_size=2),
        "meta": st.just({"kibana_siem_app_url": "https://kibana.example", "from": "1m"}),
        "a_key_of_tomorrow": _json,
        "throttle": st.none() | st.just("no_actions"),
    },
)
_of_type = st.one_of(
    st.fixed_dictionaries({"type": st.just("query"), "language": st.just("kuery"), "query": _text}),
    st.fixed_dictionaries({"type": st.just("eql"), "language": st.just("eql"), "query": st.just("any where true")}),
    st.fixed_dictionaries(
        {
            "type": st.just("threshold"),
            "language": st.just("kuery"),
            "query": st.just("*"),
            "threshold": st.just({"field": ["host.id"], "value": 5, "cardinality": [{"field": "user.id", "value": 2}]}),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("new_terms"),
            "language": st.just("kuery"),
            "query": st.just("*"),
            "new_terms_fields": st.just(["host.id", "process.name"]),
            "history_window_start": st.just("now-7d"),
        }
    ),
    st.fixed_dictionaries({"type": st.just("esql"), "language": st.just("esql"), "query": st.just("FROM x | LIMIT 1")}),
    st.fixed_dictionaries(
        {
            "type": st.just("machine_learning"),
            "machine_learning_job_id": st.just(["job"]),
            "anomaly_threshold": st.just(50),
        }
    ),
)
BODIES = st.builds(
    lambda common, typed, optional, made: {**common, **typed, **optional, **(SERVER_MADE if made else {})},
    st.fixed_dictionaries(
        {
            "rule_id": st.uuids().map(str),
            "name": _words,
            "description": _text.filter(str.strip),
            "risk_score": st.integers(0, 100),
            "severity": st.sampled_from(["low", "medium", "high", "critical"]),
            "author": st.lists(_words, max_size=2),
            "tags": st.lists(_text, max_size=3),
            "false_positives": st.lists(_text, max_size=2),
            "references": st.lists(_words, max_size=2),
            "from": st.sampled_from(["now-6m", "now-360s", "now-1d"]),
            "to": st.sampled_from(["now", "now-1m"]),
            "interval": st.sampled_from(["5m", "1h"]),
            "enabled": st.booleans(),
            "max_signals": st.integers(1, 1000),
            "index": st.lists(_words, min_size=1, max_size=3),
            "version": st.integers(1, 9),
        }
    ),
    _of_type,
    _optional,
    st.booleans(),
)


def ndjson(*entries: dict[str, Any]) -> bytes:
    """An export of Kibana's."""
    rules = sum("rule_id" in entry for entry in entries)
    summary = {"exported_count": len(entries), "exported_rules_count": rules, "missing_rules": []}
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in (*entries, summary))
