"""Sequences and samples, held against Elastic's documentation and a naive state machine."""

from typing import Any

import pytest

from detection_rules.language import QueryError, compile_sequence, eql, eql_ast, match_all


def event(identity: int, name: str, second: float | None = None, **fields: Any) -> dict[str, Any]:
    """A process event, a second after the one before it unless told otherwise."""
    moment = identity if second is None else second
    return {
        "@timestamp": f"2026-01-15T{int(moment) // 3600:02}:{int(moment) // 60 % 60:02}:{moment % 60:06.3f}Z",
        "event": {"category": ["process"]},
        "process": {"name": name},
        **fields,
    }


def found(query: str, documents: list[dict[str, Any]]) -> list[tuple[int, ...]]:
    """What matches, as the places of the documents, counted from 1."""
    matches = match_all(compile_sequence(query), documents)
    return sorted(tuple(int(str(reference)) + 1 for reference in match.references) for match in matches)


def is_(name: str) -> str:
    """An item that one name fits."""
    return f'[process where process.name == "{name}"]'


def named(text: str) -> list[dict[str, Any]]:
    """One event for each letter, a second apart."""
    return [event(at, letter) for at, letter in enumerate(text.replace(" ", ""), start=1)]


STATES = [
    ("root", "attrib"),
    ("root", "attrib"),
    ("elkbee", "bash"),
    ("root", "bash"),
    ("root", "bash"),
    ("elkbee", "attrib"),
    ("root", "attrib"),
    ("elkbee", "bash"),
    ("root", "cat"),
    ("elkbee", "cat"),
    ("root", "cat"),
]


def test_the_state_machine_of_elastics_documentation() -> None:
    """The worked example of "How sequence queries handle matches" gives the two sequences it names."""
    documents = [event(at, name, user={"name": user}) for at, (user, name) in enumerate(STATES, start=1)]
    query = f"sequence by user.name {is_('attrib')} {is_('bash')} {is_('cat')}"
    assert found(query, documents) == [(2, 4, 9), (6, 8, 10)]


@pytest.mark.parametrize(
    ("query", "letters", "expected"),
    [
        (f"sequence {is_('A')} {is_('B')}", "A B", [(1, 2)]),
        (f"sequence {is_('A')} {is_('B')}", "B A", []),
        (f"sequence {is_('A')} {is_('B')}", "A x B", [(1, 3)]),
        (f"sequence {is_('A')} {is_('B')}", "A B B", [(1, 2)]),
        (f"sequence {is_('A')} {is_('B')}", "A A B", [(2, 3)]),
        # maxspan: from the first event, to the millisecond, its end included
        (f"sequence with maxspan=2s {is_('A')} {is_('B')}", "A x B", [(1, 3)]),
        (f"sequence with maxspan=1999ms {is_('A')} {is_('B')}", "A x B", []),
        (f"sequence with maxspan=1m {is_('A')} {is_('B')} {is_('C')}", "A B C", [(1, 2, 3)]),
        (f"sequence with maxspan=1s {is_('A')} {is_('B')} {is_('C')}", "A B C", []),
    ],
)
def test_what_the_documentation_says_of_order_and_time(
    query: str, letters: str, expected: list[tuple[int, ...]]
) -> None:
    """Events match in the order of their times, the newest start wins, and the whole fits into the span."""
    assert found(query, named(letters)) == expected


def test_what_is_printed_reads_back() -> None:
    """A sequence and a sample, printed, read back as the same query."""
    sequence = """sequence by host.id, ?user.id with maxspan=15m [any where a == 1] by x with runs=3
        ![file where true] by y [process where `by`.`c d` : "z*"] by z until [process where true] by x"""
    for text in (sequence, "sample by host.id [any where true] by x [file where a > 2] by `with`"):
        query = eql.parse_query(text)
        assert not isinstance(query, eql_ast.EventQuery)
        assert eql.parse_query(eql_ast.unparse(query)) == query


@pytest.mark.parametrize(
    ("text", "problem", "column"),
    [
        ("sequence [any where true]", "at least two items", 1),
        ("sequence with maxspan=5 [any where true] [any where true]", "takes a unit", 10),
        ("sequence with maxspan=5y [any where true] [any where true]", "takes a unit", 10),
        ("sequence with maxspan=0s [any where true] [any where true]", "whole number", 10),
        ("sequence with maxspan=1.5s [any where true] [any where true]", "whole number", 10),
        ("sequence with maxspan=1s by a [any where true] [any where true]", "stands after", 1),
        ("sequence [any where true] by a [any where true]", "different numbers of keys", 1),
        ("sequence by a [any where true] [any where true] until [any where true] by b", "different numbers", 1),
        ("sequence [any where true] with runs=0 [any where true]", "from 1 to 100", 27),
        ("sequence [any where true] with runs=101 [any where true]", "from 1 to 100", 27),
        ("sequence [any where true] with times=2 [any where true]", "with times", 27),
        ("sequence [any where true] ![any where true]", "needs `with maxspan`", 1),
        ("sequence with maxspan=1s ![any where true] ![any where true]", "at least one", 1),
        ("sequence [any where true] [any where true] | head 5", "pipe", 44),
        ("sequence [any where true] [any where true] | tail 5", "pipe", 44),
        ("sequence [any where true] fork [any where true]", "fork", 27),
        ("sequence by length(a) [any where true] [any where true]", "`(`", 19),
        ("sample [any where true] [any where true]", "needs a join key", 1),
        ("sample by a [any where true]", "at least two items", 1),
        ("sample by a with maxspan=1s [any where true] [any where true]", "`with`", 13),
        ("sample by a [any where true] ![any where true]", "`!", 30),
        ("sample by a [any where true] [any where true] until [any where true]", "`until`", 47),
        ("sequence [any where true] [any where", "ends too early", 37),
        ("sequence by `a`, [any where true] [any where true]", "subquery in `[ ]`", 18),
        ("sequence [any where a = 1] [any where true]", "`=`", 23),
    ],
)
def test_a_sequence_that_elastic_refuses_is_refused_with_its_place(text: str, problem: str, column: int) -> None:
    """What is wrong with a sequence is named, with its column."""
    with pytest.raises(QueryError) as caught:
        compile_sequence(text)
    assert problem in str(caught.value)
    assert (caught.value.line, caught.value.column) == (1, column)
