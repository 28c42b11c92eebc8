"""`doorwatch rules` as people and scripts meet it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from beat_bridge.errors import DoorwatchError
from detection_rules.commands import read_documents, rules
from detection_rules.proof import read_proof
from detection_rules.rule_set import SHIPPED, load_rules

HIT = {"event": {"category": ["process"], "type": ["start"]}, "process": {"executable": "/run/shm/x"}}
MISS = {"event": {"category": ["process"], "type": ["start"]}, "process": {"executable": "/usr/bin/x"}}


def run(*arguments: str, standard_input: str = "") -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(rules, arguments, input=standard_input)


def lines(result: Result) -> list[dict[str, Any]]:
    """Its JSON lines."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_match_prints_one_object_for_each_rule_that_fired() -> None:
    """Documents are numbered from 0, and an empty line counts."""
    text = "\n".join([json.dumps(MISS), json.dumps(HIT), "", "  ", json.dumps(HIT)])
    result = run("match", "-", "--format", "json", standard_input=text)
    assert result.exit_code == 0
    assert lines(result) == [{"rule": "shared_memory_execution", "documents": [1, 4]}]


def test_match_agrees_with_the_documents_beside_the_rules(tmp_path: Path) -> None:
    """Every single document of every rule in one file: each rule fires on its own, on none that it must not fire on."""
    documents: list[object] = []
    must: dict[str, set[int]] = {}
    must_not: dict[str, set[int]] = {}
    rules_about_one = [rule for rule in load_rules() if rule.plan is None]
    for rule in rules_about_one:
        proof = read_proof(rule)
        start = len(documents)
        documents += [case.document for case in (*proof.must_match, *proof.must_not_match)]
        must[rule.stem] = set(range(start, start + len(proof.must_match)))
        must_not[rule.stem] = set(range(start + len(proof.must_match), len(documents)))
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps(document) + "\n" for document in documents), "utf-8")
    fired = {row["rule"]: set(row["documents"]) for row in lines(run("match", str(path), "--format", "json"))}
    assert set(fired) >= set(must)
    for rule in rules_about_one:
        assert must[rule.stem] <= fired[rule.stem]
        assert not must_not[rule.stem] & fired[rule.stem]


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ('{"a": 1}\n{"a": \n', "-:2", "not JSON"),
        ("[]\n", "-:1", "not an object"),
        ("{}\n\n[1,\n", "-:3", "not JSON"),
        ('{}\n"x"\n', "-:2", "JSON string"),
        ("null\n", "-:1", "JSON null"),
        ("{}\n" + "[" * 100_000 + "\n", "-:2", "not JSON"),
        ('{\n  "a": 1\n}\n', "-:1", "one document a line"),
        ('{}\n{"a": NaN}\n', "-:2", "NaN"),
        ('{}\n{"a" 1}\n', "-:2", "column 6"),
        ("{}{}\n", "-:1", "not JSON"),
    ],
)
def test_a_bad_line_is_named(text: str, place: str, says: str) -> None:
    """A line that is no JSON object is one clear error with its number."""
    result = run("match", "-", standard_input=text)
    assert isinstance(result.exception, DoorwatchError)
    assert place.removeprefix("-") + ":" in str(result.exception)
    assert says in str(result.exception)
    assert result.stdout == ""


def test_what_is_not_utf_8_is_named(tmp_path: Path) -> None:
    """A line in another encoding is one clear error with its number and the byte."""
    path = tmp_path / "documents.jsonl"
    path.write_bytes(b'{}\n{"a": "\xff"}\n')
    problem = r"documents\.jsonl:2: not UTF-8 text \(byte 8 of the line\)"
    with path.open("rb") as stream, pytest.raises(DoorwatchError, match=problem):
        list(read_documents(stream))


def test_documents_of_other_tools_are_read(tmp_path: Path) -> None:
    """A byte order mark, lines that end as on Windows, and JSON that few decoders take lose no document."""
    path = tmp_path / "documents.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps(HIT).encode() + b"\r\n"
        b'{"a": 1e999}\r\n{"a": "\\ud800"}\r\n{"a": ' + b"9" * 5_000 + b"}\r\n" + json.dumps(HIT).encode()
    )
    result = run("match", str(path), "--format", "json")
    assert lines(result) == [{"rule": "shared_memory_execution", "documents": [0, 4]}]


def test_the_list_fits_a_terminal_of_80(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name of a shipped rule and no index is broken where a terminal is 80 columns wide."""
    monkeypatch.setenv("COLUMNS", "80")
    printed = run("list").stdout
    assert max(map(len, printed.splitlines())) <= 80
    for rule in load_rules():
        assert all(word in printed for word in (rule.stem, *rule.index, *rule.name.split()))


def test_the_front_door_ends_with_2_on_bad_input(tmp_path: Path) -> None:
    """A broken rule directory and a broken line are one line on standard error and exit code 2."""
    (tmp_path / "broken.toml").write_text("[rule", "utf-8")
    for arguments in (["rules", "match", "/dev/null", "--rules", str(tmp_path)], ["rules", "match", "-"]):
        ended = subprocess.run(
            [sys.executable, "-m", "doorwatch", *arguments], input=b"x\n", capture_output=True, check=False, timeout=60
        )
        assert ended.returncode == 2
        assert ended.stdout == b""
        assert len(ended.stderr.splitlines()) == 1


def test_list_names_every_rule() -> None:
    """Both formats name every rule."""
    assert {row["rule"] for row in lines(run("list", "--format", "json"))} == {rule.stem for rule in load_rules()}
    assert "Kernel Hook" in run("list").stdout


def test_test_fails_when_a_document_is_treated_wrongly(tmp_path: Path) -> None:
    """`rules test` ends with 0 while the documents hold, and with 1 and the reason once one does not."""
    assert run("test").exit_code == 0
    for path in SHIPPED.glob("kernel_hook_drift.*"):
        shutil.copy(path, tmp_path)
    rule = tmp_path / "kernel_hook_drift.toml"
    rule.write_text(rule.read_text("utf-8").replace('"kernel_hook_drift" and', '"other" and'), "utf-8")
    result = run("test", "--rules", str(tmp_path), "--format", "json")
    assert result.exit_code == 1
    assert {row["expected"] for row in lines(result)} == {"match"}
    assert "match expected of document 0" in run("test", "--rules", str(tmp_path)).stdout


def test_lint_tells_errors_from_doubts(tmp_path: Path) -> None:
    """A misspelt field is a warning, missing documents are an error and exit code 1."""
    assert run("lint").exit_code == 0
    rule = tmp_path / "kernel_hook_drift.toml"
    rule.write_text(
        (SHIPPED / rule.name).read_text("utf-8").replace("doorwatch.finding.state:", "doorwatch.finding.stat:"), "utf-8"
    )
    result = run("lint", "--rules", str(tmp_path), "--format", "json")
    assert result.exit_code == 1
    assert {(row["check"], row["level"]) for row in lines(result)} == {
        ("documents", "error"),
        ("field", "warning"),
        ("changelog", "warning"),
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"must_match": []}',
        '{"must_match": [{"why": "", "document": {}}], "must_not_match": []}',
        "\xff",
    ],
)
def test_malformed_documents_are_named(tmp_path: Path, text: str) -> None:
    """Documents beside a rule that cannot be read are one clear line."""
    shutil.copy(SHIPPED / "kernel_hook_drift.toml", tmp_path)
    (tmp_path / "kernel_hook_drift.documents.json").write_text(text, "latin-1")
    result = run("test", "--rules", str(tmp_path))
    assert isinstance(result.exception, DoorwatchError)
    assert "kernel_hook_drift.documents.json" in str(result.exception)
