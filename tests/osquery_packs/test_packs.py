"""The packs: every query is one that osquery can run, finds what it must, and nothing else."""

import itertools
import json
import re
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.ecs.fields import ecs_fields
from beat_bridge.errors import DoorwatchError
from detection_rules.rule_set import load_rules
from osquery_packs import Pack, load_packs, tables
from osquery_packs.commands import osquery
from osquery_packs.cost import ReferenceHost, cost, total
from osquery_packs.export import pack_body, pack_text
from osquery_packs.kibana import ECS_FIELDS, api_body, ecs_mapping, saved_object
from osquery_packs.loading import SHIPPED, load_pack, pack_files
from osquery_packs.model import version_number
from osquery_packs.proof import Cases, prove, prove_query, read_proof

PROOFS = [(load_pack(path), read_proof(path)) for path in pack_files()]
QUERIES = [(pack, name, proof[name]) for pack, proof in PROOFS for name in pack.queries]
IDS = [name for _, name, _ in QUERIES]


@pytest.mark.parametrize(("pack", "name", "cases"), QUERIES, ids=IDS)
def test_each_query_finds_what_it_must_and_nothing_else(pack: Pack, name: str, cases: Cases) -> None:
    """SQLite, which osquery is, runs each query on rows that must be found and on rows that come close."""
    assert prove_query(pack.name, name, pack.queries[name].sql, cases) == ()


@pytest.mark.parametrize(("pack", "name", "cases"), QUERIES, ids=IDS)
def test_no_clause_of_a_query_can_be_left_out_unnoticed(pack: Pack, name: str, cases: Cases) -> None:
    """For every condition some row beside the query notices that it is gone, or turned round."""
    survivors = []
    for mutant in _mutants(pack.queries[name].sql):
        with tables.database() as database:
            if tables.problem(database, mutant):
                continue
        if not prove_query(pack.name, name, mutant, cases):
            survivors.append(mutant)
    assert survivors == [], "\n---\n".join(survivors)


def _mutants(sql: str) -> list[str]:
    """The query without one condition each, with AND for OR, and with each comparison turned round."""
    lines = sql.rstrip().splitlines()
    mutants = []
    for index, line in enumerate(lines):
        rest = lines[:index] + lines[index + 1 :]
        if re.match(r"\s*(AND|OR|HAVING)\b", line) and line.count("(") == line.count(")"):
            mutants.append("\n".join(rest))
        if re.match(r"\s*WHERE\b", line) and line.count("(") == line.count(")"):
            following = rest[index].lstrip() if index < len(rest) else ""
            without = re.sub(r"^(AND|OR)\b", "WHERE", following) if following else ""
            mutants.append("\n".join([*rest[:index], without, *rest[index + 1 :]]))
    text = "\n".join(lines)
    swaps = [
        (" = ", " != "),
        (" != ", " = "),
        (" AND ", " OR "),
        (" OR ", " AND "),
        ("NOT LIKE", "LIKE"),
        (" < ", " > "),
    ]
    for old, new in swaps:
        mutants.extend(text[: at.start()] + new + text[at.end() :] for at in re.finditer(re.escape(old), text))
    return [mutant for mutant in mutants if mutant != text]


def test_every_table_and_column_is_osquerys_own_on_linux() -> None:
    """The list of tables has what each query reads; `file` has no birth time worth the name, and nobody asks for it."""
    described = tables.columns()
    assert {"processes", "process_open_sockets", "file", "iptables", "doorwatch_socket_filters"} <= described.keys()
    assert "elevated_token" not in described["processes"], "a column of Windows"
    assert "bpf_process_events" not in described, "removed from osquery"
    for pack, name, _ in QUERIES:
        assert "btime" not in pack.queries[name].sql


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT nonsense FROM processes", "no such column: nonsense"),
        ("SELECT 1 FROM bpf_process_events", "no such table"),
        ("SELECT 1; DROP TABLE processes", "one statement at a time"),
        ("DELETE FROM processes", "not authorized"),
        ("ATTACH '/tmp/x' AS x", "authorized"),
        ("SELECT 1", "reads no table"),
        ("SELECT '", "incomplete"),
        ("SELEC", "syntax error"),
    ],
)
def test_a_query_that_osquery_would_refuse_is_refused(sql: str, problem: str) -> None:
    """Unknown tables and columns, several statements, and anything that writes: the reason is SQLite's own."""
    with tables.database() as database:
        assert problem in tables.problem(database, sql)


@given(st.text(max_size=200))
def test_no_text_is_a_query_by_accident(sql: str) -> None:
    """Whatever the text, the answer is a reason or none, never an exception."""
    with tables.database() as database:
        assert isinstance(tables.problem(database, sql), str)


def test_a_query_without_end_is_stopped() -> None:
    """A recursion that never ends is interrupted."""
    endless = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r, processes"
    with tables.database() as database, pytest.raises(sqlite3.OperationalError, match="interrupted"):
        database.execute(endless).fetchall()


def test_a_pack_runs_where_its_newest_feature_is() -> None:
    """A query that reads AF_PACKET sockets needs osquery 5.0.1, one that reads control groups 5.5.1."""
    for pack, name, _ in QUERIES:
        query = pack.queries[name]
        if "family = 17" in query.sql:
            assert version_number(query.version) >= (5, 0, 1)
        if "cgroup_path" in query.sql:
            assert version_number(query.version) >= (5, 5, 1)


def test_osquerys_form_is_whole_and_on_one_line_a_query() -> None:
    """The exported file is osquery's JSON; the queries in it still prove themselves; discovery and bounds are there."""
    for pack, proof in PROOFS:
        body = json.loads(pack_text(pack))
        assert body == pack_body(pack)
        assert (body["platform"], body.get("discovery", [])) == ("linux", list(pack.discovery))
        for name, query in body["queries"].items():
            assert "\n" not in query["query"]
            assert 0 < query["interval"] <= 604_800
            assert prove_query(pack.name, name, query["query"].rstrip(";"), proof[name]) == ()


def test_kibanas_forms_agree_and_map_only_what_a_query_returns() -> None:
    """Both forms carry the same queries; every mapped column is returned, every field is one of ECS."""
    known = ecs_fields()
    for pack in load_packs():
        body, asset = api_body(pack), saved_object(pack)
        listed = {query["id"]: query for query in asset["attributes"]["queries"]}
        assert listed.keys() == body["queries"].keys()
        for name, query in pack.queries.items():
            with tables.database() as database:
                returned = tables.result_columns(database, query.sql)
            for field, source in ecs_mapping(pack, query).items():
                assert field in known, field
                assert source.get("field", returned[0]) in returned
            mapping = {each["key"]: each["value"] for each in listed[name]["ecs_mapping"]}
            assert mapping == body["queries"][name]["ecs_mapping"]
    assert set(ECS_FIELDS.values()) <= known.keys()


def test_the_same_pack_has_the_same_id_everywhere() -> None:
    """An id follows from the name alone, so that an installed pack is updated and not doubled."""
    ids = [saved_object(pack)["id"] for pack in load_packs()]
    assert ids == [saved_object(pack)["id"] for pack in load_packs()]
    assert len(set(ids)) == len(ids)


def test_the_estimate_of_cost_grows_with_the_host_and_stays_small() -> None:
    """More processes cost more, rarer runs cost less, and all packs together take less than 1% of a core."""
    for pack, name, _ in QUERIES:
        query = pack.queries[name]
        small, large = cost(query), cost(query, ReferenceHost(processes=5_000, descriptors=65_000))
        assert 0 <= small.reads <= large.reads
        assert small.seconds_a_day <= 60
    assert total(load_packs()) < 0.01


def test_the_names_of_backdoors_pid_files_are_those_of_the_rule() -> None:
    """The pack and the detection rule speak of the same files."""
    rule = next(rule for rule in load_rules() if rule.stem == "abnormal_pid_file")
    of_the_rule = set(re.findall(r'"\*/([\w-]+\.(?:pid|lock|reboot))"', rule.query))
    pack = next(pack for pack in load_packs() if pack.name == "doorwatch-files")
    of_the_pack = set(re.findall(r"'([\w-]+\.(?:pid|lock|reboot))'", pack.queries["pid_file_of_a_known_backdoor"].sql))
    assert of_the_pack <= of_the_rule
    assert len(of_the_pack) >= 10


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("interval: 300", "interval: 1"), r"sockets\.yml:\d+: Expected a whole number >= 10"),
        (("severity: critical", "severity: grave"), r"sockets\.yml:\d+: Invalid enum value"),
        (("s.family = 17 OR", "s.nonsense = 17 OR"), r"sockets\.yml:\d+: the query deleted_.*column: s\.nonsense"),
        (("version: 5.5.1", "versoin: 5.5.1"), r"sockets\.yml:\d+: "),
        (("name: doorwatch-sockets", "name: Doorwatch Sockets"), r"sockets\.yml:1: "),
        (("queries:", "discovery: [SELECT 1 FROM nowhere]\nqueries:"), r"sockets\.yml:3: a discovery query: .*table"),
    ],
)  # fmt: skip
def test_a_broken_pack_is_one_line_with_its_place(tmp_path: Path, change: tuple[str, str], problem: str) -> None:
    """Whatever is wrong with a pack file is said in one line that names the file and the line."""
    text = (SHIPPED / "sockets.yml").read_text()
    assert change[0] in text
    (tmp_path / "sockets.yml").write_text(text.replace(*change, 1))
    with pytest.raises(DoorwatchError, match=problem) as caught:
        load_packs(tmp_path)
    assert "\n" not in str(caught.value)


def test_directories_that_hold_no_packs_are_errors(tmp_path: Path) -> None:
    """An empty directory, a missing one, and two packs of one name."""
    with pytest.raises(DoorwatchError, match="no pack is here"):
        load_packs(tmp_path)
    with pytest.raises(DoorwatchError, match="cannot read"):
        load_packs(tmp_path / "nowhere")
    for name in ("a.yml", "b.yml"):
        (tmp_path / name).write_text((SHIPPED / "kernel.yml").read_text())
    with pytest.raises(DoorwatchError, match="the same name"):
        load_packs(tmp_path)


def test_a_proof_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    """A query without cases, a table that is not there, a column that is not there: nothing is proven in silence."""
    pack, proof = PROOFS[0]
    with pytest.raises(DoorwatchError, match="each query needs its own"):
        prove(pack, dict(itertools.islice(proof.items(), 1, None)))
    for rows, problem in (("{nowhere: [{a: 1}]}", "no table nowhere"), ("{file: [{nowhere: 1}]}", "no column nowhere")):
        case = f"{{why: x, rows: {rows}}}"
        (tmp_path / "files.proof.yml").write_text(f"q: {{found: [{case}], not_found: [{case}]}}\n")
        with pytest.raises(DoorwatchError, match=problem):
            prove_query("files", "q", "SELECT 1 FROM file", read_proof(tmp_path / "files.yml")["q"])


def test_the_commands_list_show_export_and_test(tmp_path: Path) -> None:
    """Each command works on the shipped packs, for people and for machines."""
    run = CliRunner()
    rows = [json.loads(line) for line in run.invoke(osquery, ["list", "--format", "json"]).stdout.splitlines()]
    assert [row["query"] for row in rows] == sorted(IDS, key=[row["query"] for row in rows].index)
    assert "of one core" in run.invoke(osquery, ["list"]).stdout
    assert "kdmtmpflush" not in run.invoke(osquery, ["show", "sockets"]).stdout
    shown = json.loads(run.invoke(osquery, ["show", "doorwatch-sockets", "--format", "json"]).stdout)
    assert shown["queries"].keys() == load_pack(SHIPPED / "sockets.yml").queries.keys()
    assert isinstance(run.invoke(osquery, ["show", "nothing"]).exception, DoorwatchError)
    assert run.invoke(osquery, ["export", str(tmp_path / "out")]).exit_code == 0
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {pack.name for pack in load_packs()}
    (tmp_path / "file").touch()
    assert run.invoke(osquery, ["test"]).exit_code == 0


def test_a_failing_query_is_told_and_exits_with_1(tmp_path: Path) -> None:
    """`osquery test` names the query, the case, and what came out instead."""
    text = (SHIPPED / "files.yml").read_text().replace("AND f.size > 0\n    version", "AND f.size < 0\n    version")
    (tmp_path / "files.yml").write_text(text)
    (tmp_path / "files.proof.yml").write_text((SHIPPED / "files.proof.yml").read_text())
    result = CliRunner().invoke(osquery, ["test", "--packs", str(tmp_path), "--format", "json"])
    assert result.exit_code == 1
    (failure,) = (json.loads(line) for line in result.stdout.splitlines())
    assert failure == {
        "pack": "doorwatch-files", "query": "preload_file", "case": "A library is named in it.",
        "expected": "1 rows", "actual": "0 rows",
    }  # fmt: skip
    assert CliRunner().invoke(osquery, ["test", "--packs", str(tmp_path)]).exit_code == 1
