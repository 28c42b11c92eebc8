"""Rules about several documents, over a stream of them."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_rules import Rule, RuleSet, Watch, load_rules
from detection_rules.language import Plan, compile_rule_query
from detection_rules.language.branches import branches

TEMPLATE = load_rules().rules[0]


def rule(stem: str, query: str, stream: str = "") -> Rule:
    """A rule with nothing but a query, and perhaps the only data stream that it reads."""
    compiled = compile_rule_query(query, "eql")
    return replace(
        TEMPLATE,
        stem=stem,
        rule_id=stem,
        query=query,
        holds=compiled.holds if isinstance(compiled, Plan) else compiled,
        plan=compiled if isinstance(compiled, Plan) else None,
        branches=branches(query, "eql"),
        reads=lambda name: not stream or name == stream,
    )


PAIR = 'sequence by host with maxspan=1m [any where step == "a"] [any where step == "b"] until [any where step == "z"]'
RULES = RuleSet(
    [
        rule("alone", 'any where step == "a"'),
        rule("pair", PAIR),
        rule("sample", 'sample by host [any where step == "b"] [any where step == "c"]'),
        rule("elsewhere", PAIR, "logs-other-default"),
    ]
)


def happening(step: str, second: int, host: str = "h", dataset: str = "mine") -> dict[str, Any]:
    """A document of a data stream."""
    stream = {"type": "logs", "dataset": dataset, "namespace": "default"}
    return {"@timestamp": f"2026-01-15T00:00:{second:02}Z", "step": step, "host": host, "data_stream": stream}


def test_rules_about_one_document_and_about_several_are_told_apart() -> None:
    """`match` asks the former, `feed` the latter, `consider` both; each fires with its documents and their names."""
    watch = Watch(RULES)
    assert [fired.stem for fired in RULES.match(happening("a", 1))] == ["alone"]
    assert watch.feed(happening("a", 1), "1") == ()
    alone, together = watch.consider(happening("b", 2), "2")
    assert alone == ()
    assert [(firing.rule.stem, firing.references) for firing in together] == [("pair", ("1", "2"))]
    assert together[0].documents == (happening("a", 1), happening("b", 2))
    assert [firing.rule.stem for firing in watch.feed(happening("c", 3), "3")] == ["sample"]
    assert watch.remarks() == ()


def test_a_sequence_hears_only_of_the_data_streams_it_reads() -> None:
    """Documents of another stream are no part of it."""
    watch = Watch(RULES)
    watch.feed(happening("a", 1, dataset="other"), 1)
    fired = watch.feed(happening("b", 2, dataset="other"), 2)
    assert [firing.rule.stem for firing in fired] == ["elsewhere", "pair"]
    watch.feed(happening("a", 3), 3)
    assert [firing.rule.stem for firing in watch.feed(happening("b", 4), 4)] == ["pair"]


STREAM = st.lists(st.tuples(st.sampled_from("abcz"), st.sampled_from("hi")), max_size=12)


@settings(max_examples=100)
@given(STREAM)
def test_the_index_over_items_hides_nothing(stream: list[tuple[str, str]]) -> None:
    """Fed through the index of terms, each rule finds what it finds when it is asked about every document."""
    documents = [happening(step, at, host) for at, (step, host) in enumerate(stream)]
    watch, both = Watch(RULES), Watch(RULES)
    fed = [firing for at, document in enumerate(documents) for firing in watch.feed(document, at)]
    considered = [firing for at, document in enumerate(documents) for firing in both.consider(document, at)[1]]
    assert fed == considered
    for asked in RULES:
        if asked.plan:
            found = [firing.references for firing in fed if firing.rule is asked]
            assert sorted(found) == sorted(match.references for match in asked.match_all(documents))


@pytest.mark.parametrize("documents", [[], [happening("a", 1)], [happening("b", 1), happening("a", 2)]])
def test_no_sequence_matches_one_document(documents: list[dict[str, Any]]) -> None:
    """A rule about several is never said to match what is not complete."""
    assert RULES.rules[2].match_all(documents) == []
    assert not any(RULES.rules[2].matches(document) for document in documents)
