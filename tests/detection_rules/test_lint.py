"""Each check of the lint finds its mistake, at its place, and nothing else does."""

import json
from pathlib import Path

import pytest

from detection_rules.lint import CHECKS, lint, lint_all
from detection_rules.lint.sarif import sarif
from tests.detection_rules.changed_rules import changed, rules_in

VAGUE = ('state: ("opened" or "changed")', "state: *")
TEXT_CHANGE = 'doorwatch.hook.surface: ("kernel_text" or "module_text" or "read_only_data") and'
DEFEND = 'event.type == "start" and host.os.type == "linux" and'
MISTAKES: list[tuple[str, str, list[tuple[str, str]], str]] = [
    # check, the rule that is spoilt, how, and what the remark says
    ("field", "hidden_module", [("doorwatch.finding.state:", "doorwatch.finding.stat:")], "doorwatch.finding.stat is"),
    ("index", "kernel_text_change", [("doorwatch.hook.surface:", "doorwatch.coverage.sensor:")], "no document of"),
    ("index", "backdoor_start", [("file.path regex", "dns.question.name != null and file.path regex")], "has dns."),
    ("no_index", "hidden_module", [('index = ["logs-doorwatch.finding-*"]\n', "")], "no index"),
    ("optional", "backdoor_start", [("?doorwatch.finding.kind", "doorwatch.finding.kind")], "finding.kind is not"),
    ("optional", "sensor_blinded", [("?doorwatch.coverage.sensor", "doorwatch.coverage.sensor")], "sensor is not"),
    ("list", "backdoor_start", [(DEFEND, f'process.args != "--init" and {DEFEND}')], "process.args is a list: `!=`"),
    ("list", "backdoor_start", [(DEFEND, f'process.args > "a" and {DEFEND}')], "process.args is a list: `>`"),
    ("list", "backdoor_start", [(DEFEND, f"length(process.args) > 3 and {DEFEND}")], "`length` gives"),
    ("arguments", "backdoor_start", [(DEFEND, f'process.args == "-l -t" and {DEFEND}')], 'value: "-l -t" stands'),
    ("var_run", "backdoor_start", [(DEFEND, f'process.name like "/var/run/*" and {DEFEND}')], '"/var/run/*" without'),
    ("everything", "backdoor_start", [(DEFEND, f'process.name like "*" and {DEFEND}')], 'against "*"'),
    ("cost", "hidden_module", [('kind: "hidden_module"', "kind: hid*"), VAGUE], "every"),
    ("wildcard", "hidden_module", [('kind: "hidden_module"', "kind: *x"), VAGUE], "begins"),
    ("unbounded", "backdoor_start", [(" with maxspan=5m", "")], "without `with maxspan`"),
    ("unbounded", "backdoor_start", [("sequence by host.id, process.pid", "sequence")], "without `by`"),
    ("window", "short_lived_redirect", [('from = "now-40m"', 'from = "now-9m"')], "540 s, and 2100 s"),
    ("note", "hidden_module", [("### Why this severity", "### Severity")], "'### Why this severity'"),
    ("next_query", "hidden_module", [("[[transform.investigate]]", "[[transform.osquery]]")], "no query to"),
    ("button", "hidden_module", [("- $investigate_0\n", "")], "$investigate_0 stands"),
    ("button", "hidden_module", [("- $investigate_0\n", "- $investigate_9\n")], "$investigate_9 stands"),
    ("threat", "hidden_module", [("techniques/T1014/", "techniques/T1015/")], "T1014 refers to"),
    ("tactic", "hidden_module", [('    "Tactic: Persistence",\n', "")], "no tag says Tactic: Persistence"),
    ("empty", "hidden_module", [("[rule.investigation_fields]\nfield_names", "[transform.x]\nx")], "no investigation"),
    ("risk", "hidden_module", [("risk_score = 99", "risk_score = 47")], "47, which is medium"),
    ("version", "hidden_module", [('severity = "critical"', 'severity = "high"')], "changed since version 1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "stem", "spoilt", "says"), MISTAKES, ids=[f"{check}-{says}" for check, _, _, says in MISTAKES]
)
def test_each_check_finds_its_mistake(
    tmp_path: Path, check: str, stem: str, spoilt: list[tuple[str, str]], says: str
) -> None:
    """A rule with one mistake has the remark of the check that is for it, with a line of the file."""
    rule = changed(tmp_path, stem, *spoilt)
    found = [remark for remark in lint(rule) if remark.check == check]
    assert any(says in remark.problem for remark in found), lint(rule)
    lines = rule.source.text.splitlines()
    assert all(1 <= remark.line <= len(lines) for remark in found)
    assert all("\n" not in remark.problem + remark.recommendation for remark in found)


def test_a_remark_names_the_line_of_the_field(tmp_path: Path) -> None:
    """A misspelt field in the third line of a query is told with that line of the file."""
    rule = changed(tmp_path, "kernel_text_change", (TEXT_CHANGE, 'doorwatch.hook.surfac: "kernel_text" and'))
    (remark,) = [remark for remark in lint(rule) if remark.check == "field"]
    assert "doorwatch.hook.surfac:" in rule.source.text.splitlines()[remark.line - 1]


def test_the_documents_have_checks_of_their_own(tmp_path: Path) -> None:
    """Missing, failing, one-sided and few documents are told, missing ones alone."""
    (tmp_path / "a").mkdir()
    rule = changed(tmp_path / "a", "hidden_module", documents=(('"kind": "hidden_module"', '"kind": "other"'),))
    assert {remark.check for remark in lint(rule) if remark.level == "error"} == {"proof"}
    path = rule.path.with_suffix(".documents.json")
    path.write_text(json.dumps({"must_match": [], "must_not_match": []}), "utf-8")
    assert {remark.check for remark in lint(rule)} == {"positives", "negatives"}
    path.unlink()
    assert {remark.check for remark in lint(rule)} == {"documents"}


def test_rules_that_are_the_same_are_told_once(tmp_path: Path) -> None:
    """Of two rules with one name and one query, the later is told, with the earlier's file."""
    rule = changed(tmp_path, "hidden_module")
    text = rule.source.text.replace(rule.rule_id, rule.rule_id[:-1] + ("0" if rule.rule_id[-1] != "0" else "1"))
    (tmp_path / "zz.toml").write_text(text, "utf-8")
    remarks = [remark for remark in lint_all(rules_in(tmp_path)) if remark.check == "duplicate"]
    assert {remark.rule for remark in remarks} == {"zz"}
    assert len(remarks) == 2
    assert all(str(rule.path) in remark.problem for remark in remarks)


def test_a_rule_without_a_changelog_is_told(tmp_path: Path) -> None:
    """A rule that never had a version has none."""
    rule = changed(tmp_path, "hidden_module")
    (tmp_path / "hidden_module.changelog.json").unlink()
    (bare,) = rules_in(tmp_path)
    assert [remark.check for remark in lint(bare)] == ["changelog"]
    assert rule.source.version == bare.source.version == 1


def test_checks_have_names_and_advice() -> None:
    """Names are distinct, and every check says what to do; each is tried by a mistake above or by a test of its own."""
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.recommendation for check in CHECKS)
    tried = {check for check, *_ in MISTAKES} | {
        "documents",
        "proof",
        "positives",
        "negatives",
        "duplicate",
        "changelog",
    }
    assert {check.name for check in CHECKS} == tried


def test_sarif_names_file_and_line(tmp_path: Path) -> None:
    """Each remark is a result of a rule that the run declares, in a file relative to the root."""
    rule = changed(tmp_path, "hidden_module", ("risk_score = 99", "risk_score = 47"))
    told = sarif(lint(rule), tmp_path)
    (run,) = told["runs"]
    declared = [each["id"] for each in run["tool"]["driver"]["rules"]]
    assert told["version"] == "2.1.0"
    assert {result["ruleId"] for result in run["results"]} == {"risk", "version"}
    for result in run["results"]:
        assert declared[result["ruleIndex"]] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "hidden_module.toml"
        assert place["region"]["startLine"] >= 1
