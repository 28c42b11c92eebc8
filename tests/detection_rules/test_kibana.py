"""Rules to Kibana and back."""

import json
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from beat_bridge.errors import DoorwatchError
from detection_rules import Rule, load_rules
from detection_rules.kibana import export_ndjson, file_of_body, import_ndjson, rule_to_kibana
from detection_rules.kibana.directory import read_others, read_sources, settle
from detection_rules.kibana.guides import missing, render, unrender
from detection_rules.rule_file import RuleFile, Source, beside_path, content_of, read_source
from detection_rules.toml_writer import write
from tests.detection_rules.kibana_bodies import BODIES, SERVER_MADE, ndjson

TODAY = date(2026, 11, 22)
RULES = load_rules()
EMPTY: tuple[Any, ...] = (None, "", [], {})


@pytest.fixture(params=RULES, ids=lambda rule: rule.stem)
def rule(request: pytest.FixtureRequest) -> Rule:
    """Each shipped rule."""
    value: Rule = request.param
    return value


def source_of(body: dict[str, Any]) -> Source:
    """What an import makes of a body, read back from the files that it would write."""
    file, beside, _ = file_of_body(body, TODAY)
    text = write(content_of(file))
    again = msgspec.convert(tomllib.loads(text), RuleFile)
    return Source(path=Path("rule.toml"), file=again, text=text, beside=json.loads(json.dumps(beside)))


def test_toml_through_kibana_is_the_same_to_the_byte(rule: Rule) -> None:
    """A rule that went to Kibana and came back is written as it was, and nothing had to be kept beside it."""
    (imported,) = import_ndjson(export_ndjson([rule]), today=date(1999, 1, 1)).rules
    assert write(content_of(imported.file)) == write(content_of(rule.source.file))
    assert imported.beside == {}
    assert imported.version == rule.source.version


def test_shipped_rules_are_written_as_the_writer_writes_them(rule: Rule) -> None:
    """A rule's file is in the one form there is, so that an import that changes one thing changes one place."""
    assert write(content_of(rule.source.file)) == rule.source.text


@settings(max_examples=80)
@given(body=BODIES)
def test_whatever_kibana_says_survives(body: dict[str, Any]) -> None:
    """Every key of an export is in the export of what was imported from it, with the same value."""
    again = rule_to_kibana(source_of(body), metadata=True)
    for key, value in body.items():
        if key == "meta":
            assert again[key].items() >= value.items()
        elif key != "version" and not (value in EMPTY and again.get(key) in EMPTY):
            assert again[key] == value, key


@settings(max_examples=30)
@given(body=BODIES)
def test_a_second_journey_changes_nothing(body: dict[str, Any]) -> None:
    """What was imported, exported and imported again is the same to the byte."""
    first = source_of(body)
    second = source_of(rule_to_kibana(first, metadata=True))
    assert second.text == first.text
    assert all(second.beside[key] == value for key, value in first.beside.items() if value not in EMPTY)


def test_an_edit_of_the_file_wins_over_what_lies_beside() -> None:
    """A text kept word for word is used only as long as the TOML says the same."""
    body = {**rule_to_kibana(RULES.rules[0]), "description": "one\n\n  two"}
    source = source_of(body)
    assert rule_to_kibana(source)["description"] == "one\n\n  two"
    table = msgspec.structs.replace(source.file.rule, description="another")
    edited = msgspec.structs.replace(source, file=msgspec.structs.replace(source.file, rule=table))
    assert rule_to_kibana(edited)["description"] == "another"


def test_a_rule_has_what_the_detection_engine_demands(rule: Rule) -> None:
    """Required keys, the fields the query reads with their types, buttons in the guide, and no key of our own."""
    body = rule_to_kibana(rule)
    assert {"rule_id", "name", "description", "risk_score", "severity", "type", "query", "language"} <= set(body)
    assert "meta" not in body
    assert {field["name"] for field in body["required_fields"]}
    assert all(set(field) == {"name", "type"} for field in body["required_fields"])
    assert {entry["package"] for entry in body["related_integrations"]} == set(rule.source.file.metadata.integration)
    assert "!{investigate{" in body["note"]
    assert "$investigate" not in body["note"]
    assert list(body) == sorted(body)


def test_buttons_that_are_none_stay_as_they_are() -> None:
    """A guide is unrendered only where a button is JSON; what stands only on one side is named."""
    note = 'a !{investigate{"label":"x"}} b !{osquery{broken}} c !{osquery{"query":null}} !{insight{}}'
    text, transform = unrender(note)
    assert text == 'a $investigate_0 b !{osquery{broken}} c !{osquery{"query":null}} !{insight{}}'
    assert transform == {"investigate": [{"label": "x"}]}
    assert render(text, transform) == note
    assert missing("$investigate_1 $osquery_0", {"investigate": [{}, {}]}) == ("$investigate_0", "$osquery_0")


BODY = rule_to_kibana(RULES.rules[0])
LINE = json.dumps(BODY).encode()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "export: holds no rule"),
        (b"\n\n", "export: holds no rule"),
        (b"{", "export:1: not JSON"),
        (b"[1]", "export:1: no JSON object"),
        (LINE + b"\n{}\n", "export:2: neither a rule"),
        (json.dumps({k: v for k, v in BODY.items() if k != "type"}).encode(), "export:1: a rule without `type`"),
        (ndjson({**BODY, "severity": "severe"}), "severity: Invalid enum value 'severe'"),
        (ndjson({**BODY, "threat": [{"framework": "MITRE ATT&CK", "tactic": 5}]}), "threat[0].tactic"),
        (ndjson({**BODY, "rule_id": 5}), "export:1: rule_id: Expected `str`"),
        (ndjson({**BODY, "version": "x"}), "version: Expected"),
        (ndjson({**BODY, "meta": 5}), "meta: Expected"),
        (ndjson(BODY, BODY), "export:2: rule_id"),
        (LINE + b'\n{"exported_count": 1, "missing_rules": []}', "export:2: exported by Kibana 7"),
        (LINE + b'\n{"exported_count": 2, "exported_rules_count": 2}', "counts 2 rules and the file holds 1"),
        (ndjson(BODY) + LINE, "export:3: something follows the summary"),
        (b'{"type": "security-rule", "attributes": {}, "id": "x"}', "a saved object of type 'security-rule'"),
        (b'{"metadata": {}, "rule": {}}', "a rule file as JSON"),
    ],
)
def test_what_is_no_export_is_one_line(data: bytes, says: str) -> None:
    """An export of another version or of something else, or a file cut short, is named with its line."""
    with pytest.raises(DoorwatchError) as caught:
        import_ndjson(data, name="export", today=TODAY)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


EXCEPTIONS = (
    {"list_id": "l1", "type": "detection", "name": "of ours", "namespace_type": "single", "_version": "WzEsMV0="},
    {"list_id": "l1", "item_id": "i1", "type": "simple", "namespace_type": "single", "entries": [{"field": "a"}]},
    {"type": "action", "id": "c1", "attributes": {"actionTypeId": ".webhook", "name": "responder"}},
)


def test_an_edited_rule_comes_home(tmp_path: Path) -> None:
    """Exceptions, a threshold, suppression and unknown keys set in Kibana are in the next export, with the lists."""
    edited = {
        **BODY,
        **SERVER_MADE,
        "type": "threshold",
        "threshold": {"field": ["host.id"], "value": 5},
        "alert_suppression": {"duration": {"value": 5, "unit": "m"}},
        "exceptions_list": [{"id": "e1", "list_id": "l1", "type": "detection", "namespace_type": "single"}],
        "language": "kuery",
        "query": "*",
        "a_key_of_tomorrow": [None, {"x": 1}],
    }
    imported = import_ndjson(ndjson(edited, *EXCEPTIONS), today=TODAY)
    (change,) = settle(imported, tmp_path, today=TODAY, write=True)
    assert change.state == "new"
    assert "a_key_of_tomorrow" in change.beside
    (source,) = read_sources([tmp_path])
    data = export_ndjson([source], read_others([tmp_path]))
    lines = [json.loads(line) for line in data.splitlines()]
    assert lines[1:4] == list(EXCEPTIONS)
    assert {key: lines[0][key] for key in edited if key != "version"} == {
        k: v for k, v in edited.items() if k != "version"
    }
    assert lines[4]["exported_exception_list_item_count"] == lines[4]["exported_action_connector_count"] == 1
    with pytest.raises(DoorwatchError, match="`threshold` is not supported"):
        load_rules([tmp_path])


def test_importing_over_what_stands_changes_only_what_differs(tmp_path: Path) -> None:
    """An unchanged rule's file is not touched, comments and all; a changed one keeps its dates and its integrations."""
    rule = RULES.rules[0]
    path = tmp_path / "mine.toml"
    path.write_text("# a remark\n" + rule.source.text, "utf-8")
    same = import_ndjson(export_ndjson([rule]), today=TODAY)
    (change,) = settle(same, tmp_path, today=TODAY, write=True)
    assert (change.rule, change.state, change.keys) == ("mine", "unchanged", ())
    assert path.read_text("utf-8").startswith("# a remark")
    body = {k: v for k, v in rule_to_kibana(rule).items() if k != "meta"}
    edited = import_ndjson(ndjson({**body, "interval": "1m"}), today=date(2027, 1, 2))
    (told,) = settle(edited, tmp_path, today=date(2027, 1, 2), write=False)
    assert (told.state, told.keys) == ("changed", ("interval",))
    assert read_source(path).file.rule.interval == "5m"
    settle(edited, tmp_path, today=date(2027, 1, 2), write=True)
    after = read_source(path)
    assert after.file.rule.interval == "1m"
    assert after.file.metadata.updated_date == "2027/01/02"
    assert after.file.metadata.integration == rule.source.file.metadata.integration
    assert not beside_path(path).exists()


def test_names_of_new_files_never_meet(tmp_path: Path) -> None:
    """Two rules of one name, and a name without a letter, get files of their own."""
    names = [("Same name", "0"), ("same NAME", "1"), ("../../etc", "2"), ("!!", "3")]
    bodies = [{**BODY, "name": name, "rule_id": BODY["rule_id"][:-1] + end} for name, end in names]
    changes = settle(import_ndjson(ndjson(*bodies), today=TODAY), tmp_path / "new", today=TODAY, write=True)
    assert len({change.rule for change in changes}) == 4
    assert {path.parent for path in (tmp_path / "new").glob("**/*.toml")} == {tmp_path / "new"}
    assert len(read_sources([tmp_path / "new"])) == 4
