"""The mutants of a query: which there are, and that what nothing notices is told."""

import json
from pathlib import Path

import pytest

from detection_rules import Rule, load_rules
from detection_rules.language import compile_rule_query
from detection_rules.mutation import mutants, mutate
from detection_rules.proof import read_proof
from tests.detection_rules.changed_rules import changed

SEQUENCE = (
    'sequence by host.id with maxspan=5m [process where a == "x"] by p [file where b > 3] by q'
    " until [any where c != 1] by r"
)


@pytest.mark.parametrize(
    ("query", "language", "expected"),
    [
        (SEQUENCE, "eql", "without the key host.id"),
        (SEQUENCE, "eql", "without the key p and its like"),
        (SEQUENCE, "eql", "maxspan=5m 10 times as long"),
        (SEQUENCE, "eql", "without `until`"),
        (SEQUENCE, "eql", '`a == "x"` with !='),
        (SEQUENCE, "eql", "`b > 3` with >="),
        (SEQUENCE, "eql", "`b > 3` with <="),
        (SEQUENCE, "eql", "`file where` becomes `any where`"),
        (
            "sequence with maxspan=1m [any where a == 1] with runs=3 ![any where b == 2] [any where c == 3]",
            "eql",
            "runs=3 becomes 2",
        ),
        (
            "sequence with maxspan=1m [any where a == 1] ![any where b == 2] [any where c == 3]",
            "eql",
            "`!` taken from [any where (b == 2)]",
        ),
        ("sample by h [any where a == 1] [any where b == 2]", "eql", "without the step [any where (a == 1)]"),
        ('any where a in ("x", "y")', "eql", 'without "x"'),
        ('any where a in ("x", "y")', "eql", '`not` put before `a in ("x", "y")`'),
        ('any where a in~ ("x", "y")', "eql", '`a in~ ("x", "y")` heeds case'),
        ('any where a like "/tmp/*"', "eql", '"/tmp/*" becomes "/tmp*"'),
        ('any where a like "/tmp/*"', "eql", '"/tmp/*" becomes "*/tmp/*"'),
        ('any where a like~ "x"', "eql", '`a like~ "x"` heeds case'),
        ('any where a regex """(x|y)"""', "eql", '"(x|y)" becomes "(y)"'),
        ("any where not a == 1", "eql", "without `not` before `a == 1`"),
        ('a: "x" and not b: "y"', "kuery", "without `a: x`"),
        ('a: "x" and not b: "y"', "kuery", '`"b": "y"` with any value'),
        ("a >= 3", "kuery", '`"a" >= "3"` with <'),
        ("a: x*y", "kuery", "one character wider"),
    ],
)
def test_each_kind_of_mistake_is_made(query: str, language: str, expected: str) -> None:
    """The named change is among a query's mutants."""
    changes = [mutant.change for mutant in mutants(query, language)]
    plain = [change.replace('"', "") for change in changes]
    assert any(expected.replace('"', "") in change for change in plain), changes


@pytest.mark.parametrize("rule", load_rules().rules, ids=lambda rule: rule.stem)
def test_mutants_are_queries(rule: Rule) -> None:
    """Every mutant of every shipped rule is a query that compiles, is distinct, and is not the rule's own."""
    found = list(mutants(rule.query, rule.language))
    assert len({mutant.text for mutant in found}) == len(found) >= 10
    for mutant in found[:: max(1, len(found) // 20)]:
        compile_rule_query(mutant.text, rule.language)


def test_what_nothing_notices_is_told(tmp_path: Path) -> None:
    """Without the documents that hold a clause, dropping the clause survives, and is named."""
    rule = changed(tmp_path, "kernel_text_change")
    path = rule.path.with_suffix(".documents.json")
    proof = json.loads(path.read_text("utf-8"))
    proof["must_not_match"] = [case for case in proof["must_not_match"] if "hidden module" not in case["why"]]
    path.write_text(json.dumps(proof), "utf-8")
    outcome = mutate(rule, read_proof(rule))
    assert 0 < len(outcome.survivors) < outcome.mutants
    assert any('"kernel_hook_drift"' in survivor for survivor in outcome.survivors)
    assert outcome.killed == 1 - len(outcome.survivors) / outcome.mutants


def test_a_mutant_is_asked_only_where_its_rule_looks(tmp_path: Path) -> None:
    """A document of a data stream that the rule does not read kills nothing, alone or beside one that is read."""
    rule = changed(tmp_path, "kernel_text_change")
    path = rule.path.with_suffix(".documents.json")
    proof = json.loads(path.read_text("utf-8"))
    before = mutate(rule, read_proof(rule))
    kept = [case for case in proof["must_not_match"] if "hidden module" not in case["why"]]
    taken = next(case for case in proof["must_not_match"] if "hidden module" in case["why"])
    elsewhere = {"data_stream": {"dataset": "doorwatch.inventory"}}
    foreign = {"like": taken["like"], "document": {**taken["document"], **elsewhere}}
    harmless = {"like": taken["like"], "document": {"doorwatch": None}}
    proof["must_not_match"] = [*kept, {"why": "beside a foreign one", "documents": [foreign, harmless]}]
    path.write_text(json.dumps(proof), "utf-8")
    after = mutate(rule, read_proof(rule))
    assert not before.survivors
    assert any('"kernel_hook_drift"' in survivor for survivor in after.survivors)
