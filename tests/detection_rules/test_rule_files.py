"""Rule files that cannot be used: one line each, with the place."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from detection_rules import load_rules
from detection_rules.proof import read_proof
from detection_rules.rule_set import SHIPPED, load_rule
from detection_rules.toml_places import line_of
from tests.detection_rules.changed_rules import changed

GOOD = (SHIPPED / "kernel_hook_drift.toml").read_text("utf-8")


def line_with(text: str, part: str) -> int:
    """The number, from 1, of the first line that contains a part."""
    return next(number for number, line in enumerate(text.splitlines(), start=1) if part in line)


@pytest.mark.parametrize(
    ("old", "new", "at", "says"),
    [
        ('severity = "high"', 'severity = "hihg"', "hihg", "hihg"),
        ("risk_score = 73", 'risk_score = "73"', 'risk_score = "73"', "Expected `int`"),
        ('name = "Kernel Hook Leads Elsewhere"', 'name = " "', 'name = " "', "the name is empty"),
        ("risk_score = 73", "risk_score = 173", "risk_score = 173", "within 0 to 100"),
        ("risk_score = 73", "risk_scroe = 73\nrisk_score = 73", "risk_scroe", "risk_scroe"),
        ('name = "Kernel Hook Leads Elsewhere"\n', "", "[rule]", "missing required field `name`"),
        ('type = "query"', 'type = "threshold"', 'type = "threshold"', "`threshold` is not supported"),
        ('language = "kuery"', 'language = "lucene"', 'language = "lucene"', "`lucene` is not supported"),
        ('language = "kuery"', 'language = "eql"', 'type = "query"', "cannot be written in"),
        ('id = "T1014"', "id = 1014", "id = 1014", "Expected `str`"),
        ('id = "TA0005"', "id = 5", "id = 5", "Expected `str`"),
        ("creation_date", "creation_dat", "creation_dat", "creation_dat"),
        ('maturity = "production"', 'maturity = "ripe"', "ripe", "ripe"),
        ('from = "now-9m"', 'from = "now-9m"\nfilters = [{a = 1}]', "filters", "would change which documents match"),
        ('not doorwatch.finding.verdict: "benign"', "error", "\nerror", "a value without a field"),
        ("[rule]", "[rule", "[rule", "not TOML"),
    ],
)
def test_each_mistake_is_one_line_with_its_place(tmp_path: Path, old: str, new: str, at: str, says: str) -> None:
    """A rule that cannot be used is an error that names file, line and problem."""
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    path = tmp_path / "rule.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(DoorwatchError) as caught:
        load_rule(path)
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    expected = next(
        n
        for n, line in enumerate(text.splitlines(), 1)
        if at.strip("\n") in line and (at[0] != "\n" or line.startswith(at.strip()))
    )
    assert message.startswith(f"{path}:{expected}:")


def test_duplicate_ids_name_both_files(tmp_path: Path) -> None:
    """Two rules with one id are refused, and the line names both."""
    (tmp_path / "a.toml").write_text(GOOD, "utf-8")
    (tmp_path / "b.toml").write_text(GOOD, "utf-8")
    with pytest.raises(DoorwatchError) as caught:
        load_rules([tmp_path])
    assert str(caught.value).startswith(f"{tmp_path / 'b.toml'}:{line_with(GOOD, 'rule_id')}:")
    assert str(tmp_path / "a.toml") in str(caught.value)


def test_a_directory_without_rules_is_an_error(tmp_path: Path) -> None:
    """Nothing to load is never "no match"."""
    with pytest.raises(DoorwatchError, match="holds no rule"):
        load_rules([tmp_path])
    with pytest.raises(DoorwatchError, match="no directory"):
        load_rules([tmp_path / "gone"])


def test_encodings_are_named(tmp_path: Path) -> None:
    """A byte order mark and a byte that is no UTF-8 are told with their line."""
    path = tmp_path / "rule.toml"
    for data, says in (
        (b"\xef\xbb\xbf[rule]", "toml:1: begins with a byte order mark"),
        (b"a = 1\n#\xe4", "toml:2: not UTF"),
    ):
        path.write_bytes(data)
        with pytest.raises(DoorwatchError, match=says):
            load_rule(path)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"", b"x = 1", b"[rule]\n", b"a = [" + b"[" * 5000, b"\0"])
def test_what_is_no_rule_file_is_an_error(tmp_path: Path, data: bytes) -> None:
    """Arbitrary bytes are one clear line."""
    path = tmp_path / "rule.toml"
    path.write_bytes(data)
    with pytest.raises(DoorwatchError, match=r"rule\.toml"):
        load_rule(path)


@settings(max_examples=60)
@given(at=st.integers(0, len(GOOD)), noise=st.text(max_size=4), cut=st.integers(0, 8))
def test_a_damaged_file_never_fails_otherwise(
    tmp_path_factory: pytest.TempPathFactory, at: int, noise: str, cut: int
) -> None:
    """A rule file with any damage loads or is a DoorwatchError of one line."""
    path = tmp_path_factory.getbasetemp() / "damaged.toml"
    path.write_bytes((GOOD[:at] + noise + GOOD[at + cut :]).encode("utf-8", "surrogatepass"))
    try:
        outcome = str(load_rule(path).stem)
    except DoorwatchError as error:
        outcome = str(error)
    assert "\n" not in outcome


def test_places_of_tables_in_arrays() -> None:
    """The line of a value in the second table of an array is that one's, also below it."""
    text = (
        '[[a.b]]\nx = 1\n[[a.b.c]]\ny = """\nx = 2\n"""\n[[a.b]]\nx = 3\n'
        "[[a.b.c]]\ny = 4\n[[a.b.c]]\ny = 5\n[a.d]\nz=[\n1]"
    )
    assert line_of(text, "$.a.b[0].x") == 2
    assert line_of(text, "$.a.b[1].x") == 8
    assert line_of(text, "$.a.b[1].c[1].y") == 12
    assert line_of(text, "$.a.b[0].c[0].y") == 4
    assert line_of(text, "$.a.d.z[0]") == 14
    assert line_of(text, "$.a.d") == 13


def test_the_index_is_kept_where_the_document_says_where_it_lives() -> None:
    """A rule is asked only about data streams it reads; a document that names none is asked about by all."""
    rule = load_rule(SHIPPED / "shared_memory_execution.toml")
    document = {"event": {"category": "process", "type": "start"}, "process": {"executable": "/run/shm/x"}}

    def stream(dataset: str) -> dict[str, object]:
        return {**document, "data_stream": {"type": "logs", "dataset": dataset, "namespace": "prod"}}

    assert rule.matches(document)
    assert rule.matches(stream("endpoint.events.process"))
    assert not rule.matches(stream("endpoint.events.network"))
    assert not rule.matches(stream("auditd_manager.auditd"))


def test_severity_and_risk_come_from_the_document_where_they_are_mapped() -> None:
    """As in Kibana: the mapped severity when its value is there, the risk score out of its field."""
    rule = load_rule(SHIPPED / "bpf_on_raw_socket.toml")
    assert rule.rated({}) == ("high", 73)
    assert rule.rated({"event": {"severity": 99, "risk_score": 95.0}}) == ("critical", 95)
    assert rule.rated({"event": {"severity": 47, "risk_score": 400}}) == ("high", 73)


@pytest.mark.parametrize("suffix", [".toml", ".documents.json", ".changelog.json", ".kibana.json"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    """A pipe, a directory or a circle of links in the place of a file is one line, at once."""
    for place, make in (
        ("pipe", os.mkfifo),
        ("directory", os.mkdir),
        ("circle", lambda path: path.symlink_to(path)),
    ):
        folder = tmp_path / place
        folder.mkdir()
        rule = changed(folder, "hidden_module")
        path = rule.path.with_suffix(suffix)
        path.unlink(missing_ok=True)
        make(path)
        with pytest.raises(DoorwatchError, match=f"{path}: (is no regular file|cannot read)"):
            read_proof(load_rule(rule.path))
