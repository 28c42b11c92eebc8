"""`doorwatch rules export`, `import`, `bump`, `coverage`, and `test` with mutants, as people and scripts meet them."""

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from beat_bridge.errors import DoorwatchError
from detection_rules.commands import rules
from detection_rules.file_sets import PENDING
from detection_rules.kibana import export_ndjson, rule_to_kibana
from detection_rules.kibana.directory import KIBANA_ONLY, read_sources
from detection_rules.lint import CHECKS
from detection_rules.rule_file import read_source
from detection_rules.rule_set import SHIPPED, load_rules
from tests.detection_rules.changed_rules import changed, rules_in
from tests.detection_rules.kibana_bodies import ndjson

STEM = "hidden_module"


def run(*arguments: str, standard_input: bytes = b"") -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(rules, arguments, input=standard_input)


def content(directory: Path) -> dict[str, bytes]:
    """Every file of a directory."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_export_and_import_are_each_others_inverse(tmp_path: Path) -> None:
    """All shipped rules, exported to a file and imported into an empty directory, are exported as the same bytes."""
    file, folder = tmp_path / "rules.ndjson", tmp_path / "rules"
    assert run("export", "--output", str(file)).exit_code == 0
    result = run("import", str(file), "--into", str(folder), "--format", "json")
    assert result.exit_code == 0
    assert {json.loads(line)["state"] for line in result.stdout.splitlines()} == {"new"}
    imported = {source.file.rule.rule_id: source for source in map(read_source, folder.glob("*.toml"))}
    assert set(imported) == {source.file.rule.rule_id for source in read_sources([SHIPPED, KIBANA_ONLY])}
    for rule in load_rules():
        assert rule_to_kibana(imported[rule.rule_id]) == rule_to_kibana(rule)
    assert not list(folder.glob("*.kibana.json"))
    again = tmp_path / "again.ndjson"
    assert run("export", "--rules", str(folder), "--output", str(again)).exit_code == 0
    assert sorted(again.read_bytes().splitlines()) == sorted(file.read_bytes().splitlines())


def test_one_rule_can_be_exported(tmp_path: Path) -> None:
    """A name chooses; one that no rule has is an error."""
    result = run("export", STEM)
    first, summary = map(json.loads, result.stdout.splitlines())
    assert first["rule_id"] == next(rule.rule_id for rule in load_rules() if rule.stem == STEM)
    assert summary["exported_rules_count"] == 1
    assert isinstance(run("export", "no_such_rule").exception, DoorwatchError)
    assert isinstance(run("export", "--rules", str(tmp_path)).exception, DoorwatchError)


def test_what_is_no_file_is_written_to_not_replaced(tmp_path: Path) -> None:
    """An export to a pipe arrives there, and the pipe stays one; so a device would."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert run("export", STEM, "--output", str(pipe)).exit_code == 0
        first, _summary = os.read(reader, 1 << 20).splitlines()
    finally:
        os.close(reader)
    assert json.loads(first)["name"] == "Kernel Module Hidden from the Guest"
    assert pipe.is_fifo()


def test_an_import_that_was_broken_off_is_told_and_finished(tmp_path: Path) -> None:
    """No command reads a directory in which files are half exchanged; the next import finishes it first."""
    data = export_ndjson(load_rules().rules[:2])
    assert run("import", "-", "--into", str(tmp_path), standard_input=data).exit_code == 0
    whole = content(tmp_path)
    name = next(iter(whole))
    (tmp_path / f".{name}.doorwatch-new").write_bytes(whole[name])
    (tmp_path / name).unlink()
    (tmp_path / PENDING).write_text(json.dumps({"written": [name]}), "utf-8")
    for command in (["list"], ["lint"], ["test"], ["export"], ["bump", "--changelog", "none"]):
        result = run(*command, "--rules", str(tmp_path))
        assert isinstance(result.exception, DoorwatchError), command
        assert "broken off half-way" in str(result.exception)
    result = run("import", "-", "--into", str(tmp_path), "--format", "json", standard_input=data)
    assert [json.loads(line)["state"] for line in result.stdout.splitlines()] == ["unchanged"] * 2
    assert content(tmp_path) == whole


def test_a_bad_export_changes_nothing(tmp_path: Path) -> None:
    """One line with the place, and not even the rules before the bad line are written."""
    folder = tmp_path / "rules"
    folder.mkdir()
    changed(folder, STEM)
    before = content(folder)
    good, other = (rule_to_kibana(rule) for rule in load_rules().rules[:2])
    for bad in (ndjson(good, {**other, "risk_score": "x"}), ndjson(good)[:-20], ndjson(good) + b"{}\n"):
        result = run("import", "-", "--into", str(folder), standard_input=bad)
        assert isinstance(result.exception, DoorwatchError)
        assert "\n" not in str(result.exception)
        assert content(folder) == before


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """What would change is told, and nothing is written, not even the directory."""
    data = export_ndjson(load_rules().rules[:1])
    result = run("import", "-", "--into", str(tmp_path / "new"), "--dry-run", standard_input=data)
    assert "new" in result.stdout
    assert not (tmp_path / "new").exists()


def test_bump_asks_for_a_line_and_counts(tmp_path: Path) -> None:
    """Only a rule that changed gets a version; the line stands in its changelog; a second bump has nothing to do."""
    changed(tmp_path, STEM)
    assert run("bump", "--rules", str(tmp_path)).exit_code == 2
    assert "nothing changed" in run("bump", "--rules", str(tmp_path), "--changelog", "none").stdout
    with pytest.raises(DoorwatchError, match="nothing changed since version 1"):
        raise run("bump", STEM, "--rules", str(tmp_path), "--changelog", "none").exception or AssertionError
    changed_rule = changed(tmp_path, STEM, ('severity = "critical"', 'severity = "high"'))
    for line in ("", "two\nlines", "x" * 301):
        assert isinstance(run("bump", "--rules", str(tmp_path), "--changelog", line).exception, DoorwatchError)
    result = run("bump", "--rules", str(tmp_path), "--changelog", "Less severe.")
    assert result.stdout == f"{STEM}: version 2\n"
    (rule,) = rules_in(tmp_path)
    assert [(r.version, r.change) for r in rule.source.releases] == [(2, "Less severe."), (1, "First version.")]
    assert rule_to_kibana(rule)["version"] == 2
    assert changed_rule.source.version == 1


def test_dates_and_comments_are_no_change(tmp_path: Path) -> None:
    """A remark in the file and another date need no new version."""
    changed(
        tmp_path, STEM, ("[rule]", "# a remark\n[rule]"), ('updated_date = "2026/11/22"', 'updated_date = "2027/01/01"')
    )
    assert "nothing changed" in run("bump", "--rules", str(tmp_path), "--changelog", "none").stdout


def test_survivors_are_told_and_fail_when_they_are_many(tmp_path: Path) -> None:
    """Without its negative documents a rule is weak: exit code 1, and each change that nothing noticed in a line."""
    rule = changed(tmp_path, STEM)
    path = rule.path.with_suffix(".documents.json")
    proof = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**proof, "must_not_match": []}), "utf-8")
    result = run("test", "--rules", str(tmp_path))
    assert result.exit_code == 1
    assert "WEAK" in result.stdout
    assert "no document notices" in result.stdout
    assert run("test", "--rules", str(tmp_path), "--no-mutants").exit_code == 0
    (told,) = map(json.loads, run("test", "--rules", str(tmp_path), "--format", "json").stdout.splitlines())
    assert len(told["survivors"]) == round(told["mutants"] * (1 - told["killed"]))


def test_coverage_in_its_three_forms() -> None:
    """A table, one object a rule, and a layer."""
    assert "T1205.002" in run("coverage").stdout
    rows = [json.loads(line) for line in run("coverage", "--format", "json").stdout.splitlines()]
    assert [row["rule"] for row in rows] == [rule.stem for rule in load_rules()]
    layer = json.loads(run("coverage", "--format", "navigator").stdout)
    assert layer["versions"]["layer"] == "4.5"


def test_lint_says_one_line_with_file_and_place(tmp_path: Path) -> None:
    """`FILE:LINE: level: check: ...` for people, SARIF for code hosts."""
    rule = changed(tmp_path, STEM, ("risk_score = 99", "risk_score = 47"))
    lines = run("lint", "--rules", str(tmp_path)).stdout.splitlines()
    assert lines[-1] == "0 errors, 2 warnings"
    number = rule.source.text.splitlines().index("risk_score = 47") + 1
    assert any(line.startswith(f"{rule.path}:{number}: warning: risk: ") for line in lines)
    told = json.loads(run("lint", "--rules", str(tmp_path), "--format", "sarif").stdout)
    assert len(told["runs"][0]["tool"]["driver"]["rules"]) == len(CHECKS)


def test_a_broken_changelog_or_side_file_is_named(tmp_path: Path) -> None:
    """What lies beside a rule is read as strictly as the rule."""
    for suffix, text in (("changelog", "[{}]"), ("changelog", "{"), ("kibana", "[]"), ("kibana", "\xff")):
        folder = tmp_path / f"{suffix}{len(text)}{text[:1]}".replace("[", "a").replace("{", "b")
        folder.mkdir()
        shutil.copy(SHIPPED / f"{STEM}.toml", folder)
        (folder / f"{STEM}.{suffix}.json").write_text(text, "latin-1")
        result = run("list", "--rules", str(folder))
        assert isinstance(result.exception, DoorwatchError)
        assert f"{STEM}.{suffix}.json" in str(result.exception)


def test_line_ends_empty_lines_and_a_byte_order_mark_are_no_matter(tmp_path: Path) -> None:
    """An export that passed through an editor of another system is the same export."""
    data = export_ndjson(load_rules().rules[:2])
    passed = b"\xef\xbb\xbf" + b"\r\n\r\n".join(data.splitlines()) + b"\r\n"
    for name, given in (("plain", data), ("passed", passed)):
        assert run("import", "-", "--into", str(tmp_path / name), standard_input=given).exit_code == 0
    assert content(tmp_path / "plain") == content(tmp_path / "passed")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "holds no rule"),
        (b"\n\n", "holds no rule"),
        ('{"rule_id": "x"}\n'.encode("utf-16"), "-:1: not UTF-8 text"),
        (b'{"rule_id": "x"}\n', "-:1: a rule without `name`: exported by a version that is not supported"),
        (b"[" * 100_000, "-:1: not JSON that can be read: nested too deep"),
        (b'{"attributes": {}, "type": "dashboard"}\n', "-:1: a saved object of type 'dashboard'"),
        (b"\x00" * 1000, "-:1: not JSON"),
    ],
)
def test_what_is_no_export_is_one_line_and_leaves_nothing(tmp_path: Path, data: bytes, says: str) -> None:
    """File and place, exit code 2 at the front door, and not even the directory is made."""
    result = run("import", "-", "--into", str(tmp_path / "new"), standard_input=data)
    assert isinstance(result.exception, DoorwatchError)
    told = str(result.exception).replace("<stdin>", "-")
    assert says in told
    assert "\n" not in told
    assert not (tmp_path / "new").exists()
