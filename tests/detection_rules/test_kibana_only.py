"""Rules that only Kibana can run: shipped, exported, and refused by name where they cannot be evaluated."""

import re
from datetime import UTC, datetime

import msgspec
import pytest

from beat_bridge.ecs.heartbeats import heartbeat_document
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.bridge import BridgeStatus, SpoolStatus
from beat_bridge.model.host import Host
from detection_rules import load_rules
from detection_rules.datasets import known_fields
from detection_rules.kibana import rule_to_kibana
from detection_rules.kibana.directory import KIBANA_ONLY, read_sources
from detection_rules.rule_set import SHIPPED
from detection_rules.versions import is_current
from tests.lab.kibana_contract import ImportedRule

SOURCES = read_sources([KIBANA_ONLY])


def test_the_local_engine_refuses_them_by_name() -> None:
    """Nobody believes that the bridge itself evaluates them: loading them is an error that names the type."""
    with pytest.raises(DoorwatchError, match=r"the rule type `esql` is not supported: only eql, query"):
        load_rules([KIBANA_ONLY])


def test_the_silent_bridge_is_looked_for_among_what_bridges_send() -> None:
    """The query's data stream, action and fields are those of a heartbeat as the bridge makes it."""
    (source,) = SOURCES
    query = source.file.rule.query
    host = Host(id="8a1d6f3c2b5e4d7f9a0b1c2d3e4f5a6b", name="web-01", boot_id="5b1c9f0e-2a7d-4c3b-8e6f-1d2c3b4a5968")
    heartbeat = heartbeat_document(host, BridgeStatus(spool=SpoolStatus()), datetime(2026, 1, 15, tzinfo=UTC))
    body = heartbeat.body
    assert heartbeat.data_stream.startswith(re.findall(r"FROM (\S+)\*", query)[0])
    assert f'event.action == "{body["event"]["action"]}"' in query
    assert {"id", "name"} <= set(body["host"])
    assert body["@timestamp"]
    named = set(re.findall(r"@timestamp|(?:event|host)\.[a-z_.]+", query))
    assert named == {field["name"] for field in source.file.rule.required_fields}
    assert all(known_fields()[field["name"]].type == field["type"] for field in source.file.rule.required_fields)


def test_every_exported_rule_is_one_that_kibana_documents() -> None:
    """Each body holds against the documented shape of an import, with what the product always says filled in."""
    for source in read_sources([SHIPPED, KIBANA_ONLY]):
        rule = msgspec.convert(rule_to_kibana(source), ImportedRule)
        table = source.file.rule
        assert (rule.language == "esql") == (rule.index == []), source.path.stem
        assert rule.related_integrations
        assert {field.name for field in rule.required_fields}
        assert rule.threat
        assert rule.investigation_fields is not None
        assert table.risk_score in {"low": (21,), "medium": (47,), "high": (73,), "critical": (99,)}[table.severity]
        mapped = {each.field for each in table.severity_mapping} | {each.field for each in table.risk_score_mapping}
        assert mapped <= set(known_fields())


def test_their_guides_and_versions_are_kept_as_those_of_the_others() -> None:
    """Buttons are numbered and filled in from known fields, fields of ours exist, and the version is the file's."""
    for source in SOURCES:
        note, buttons = source.file.rule.note, source.file.transform["investigate"]
        assert re.findall(r"\$investigate_(\d+)", note) == [str(number) for number in range(len(buttons))]
        asked = re.findall(r"\{\{([^}]+)\}\}", str(buttons))
        assert set(asked) <= set(re.findall(r"BY (.*)", source.file.rule.query)[0].split(", "))
        named = re.findall(r"\bdoorwatch\.[a-z0-9_.]+[a-z0-9]", note)
        assert all(name in known_fields() for name in named)
        assert source.releases
        assert is_current(source)
