"""What the rules answer, and the fields of the data they read."""

import xml.etree.ElementTree as ET
from pathlib import Path

from beat_bridge.ecs.fields import ecs_fields, own_fields
from beat_bridge.model.findings import FindingKind
from detection_rules import load_rules
from detection_rules.behaviours import BEHAVIOURS
from detection_rules.coverage import (
    BELOW_ONLY,
    coverage,
    named_values,
    navigator_layer,
    render_coverage,
    render_picture,
)
from detection_rules.datasets import datasets, known_fields, read_by
from detection_rules.index import stream_of
from detection_rules.proof import read_proof
from tests.detection_rules.changed_rules import changed

RULES = load_rules()
ROWS = {row.rule: row for row in coverage(RULES)}


def test_every_kind_of_finding_is_answered() -> None:
    """Each kind that a detector can tell is named by some rule."""
    assert {kind for row in ROWS.values() for kind in row.findings} >= {kind.value for kind in FindingKind}


def test_viewpoints_follow_from_the_data() -> None:
    """What is hidden from the guest is seen from below alone; what Defend reports, by Defend."""
    assert ROWS["hidden_process"].viewpoints == ("Doorwatch below",)
    assert ROWS["kernel_text_change"].viewpoints == ("Doorwatch below",)
    assert ROWS["kernel_hook_drift"].viewpoints == ("Doorwatch inside", "Doorwatch below")
    assert ROWS["abnormal_pid_file"].viewpoints == ("Doorwatch inside", "Elastic Defend")
    assert ROWS["short_lived_redirect"].viewpoints == ("Elastic Defend",)
    assert ROWS["timestomp_in_process"].viewpoints == ("Auditd Manager", "Doorwatch inside")
    assert {kind for kind in BELOW_ONLY if kind in set(FindingKind)} == {
        "hidden_process", "hidden_module", "hidden_socket", "bpf_object_mismatch",
    }  # fmt: skip


def test_a_value_under_not_is_not_demanded() -> None:
    """kernel_hook_drift names the surfaces that it leaves out."""
    rule = next(rule for rule in RULES if rule.stem == "kernel_hook_drift")
    assert named_values(rule, "doorwatch.hook.surface") == {"kernel_text", "module_text", "read_only_data"}
    assert named_values(rule, "doorwatch.hook.surface", demanded=True) == set()


def test_the_layer_names_every_technique_once_for_each_tactic(tmp_path: Path) -> None:
    """Layer format 4.5; the score is the severest rule's, and changes with it."""
    layer = navigator_layer(RULES)
    assert layer["versions"]["layer"] == "4.5"
    assert layer["domain"] == "enterprise-attack"
    named = [(entry["techniqueID"], entry["tactic"]) for entry in layer["techniques"]]
    assert len(set(named)) == len(named)
    in_rules = {one.id for r in RULES for t in r.threat for e in t.technique for one in (e.subtechnique or (e,))}
    assert {technique for technique, _ in named} == in_rules
    assert next(e["score"] for e in layer["techniques"] if e["techniqueID"] == "T1562.004") == 75
    # high by one rule and critical by another
    assert next(e["score"] for e in layer["techniques"] if e["techniqueID"] == "T1205.002") == 100
    rule = changed(tmp_path, "short_lived_redirect", ('severity = "high"', 'severity = "low"'))
    assert {entry["score"] for entry in navigator_layer([rule])["techniques"]} == {25}


def test_datasets_hold_fields_that_exist() -> None:
    """Every field of a dataset is ECS's or has a type; ours are divided among our data streams without a rest."""
    ours = [name for dataset, listed in datasets().items() if dataset.startswith("doorwatch.") for name in listed]
    assert set(own_fields()) <= set(ours)
    assert set(ecs_fields()) <= set(known_fields())
    assert "doorwatch.finding.kind" not in datasets()["doorwatch.inventory"]
    assert "file.mtime" not in datasets()["endpoint.events.file"]
    assert {"process.env_vars", "process.Ext.memfd.name"} <= set(datasets()["endpoint.events.process"])


def test_documents_beside_rules_live_where_the_rules_look() -> None:
    """No document that must match lives in a data stream that its rule does not read, or that is not known."""
    for rule in RULES:
        for case in read_proof(rule).must_match:
            for document in case.documents:
                stream = stream_of(document)
                if stream is not None:
                    assert rule.reads(stream), (rule.stem, case.why)
                    assert stream.split("-")[1] in read_by(rule.reads)


def test_every_behaviour_is_answered_or_the_reason_is_given() -> None:
    """Each rule answers a behaviour, each behaviour has a rule that exists or says why none tells it."""
    named = {rule for one in BEHAVIOURS for rule in one.rules}
    assert named == set(ROWS)
    assert all(one.rules or one.beyond for one in BEHAVIOURS)
    assert len({one.name for one in BEHAVIOURS}) == len(BEHAVIOURS)


def test_the_picture_has_a_dot_where_the_table_says_yes() -> None:
    """One dot for each yes, one ring for each viewpoint of an unanswered behaviour, and it is XML."""
    drawn = ET.fromstring(render_picture(RULES))  # noqa: S314 - our own
    circles = [node.attrib for node in drawn.iter("{http://www.w3.org/2000/svg}circle")]
    columns = {view for row in ROWS.values() for view in row.viewpoints}
    table = render_coverage(RULES).partition("## What it does")[2].partition("## Techniques")[0]
    assert sum("stroke" not in circle for circle in circles) == table.count("| yes ")
    unanswered = sum(not one.rules for one in BEHAVIOURS)
    assert sum("stroke" in circle for circle in circles) == len(columns) * unanswered
    assert table.count("**none**") == unanswered
    assert all(float(circle["cx"]) < float(drawn.attrib["width"]) for circle in circles)
