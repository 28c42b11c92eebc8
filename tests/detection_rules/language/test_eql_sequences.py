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


A, B, C, D, M, N = (is_(letter) for letter in "ABCDMN")


@pytest.mark.parametrize(
    ("query", "letters", "expected"),
    [
        # until: "A, B and A, B, C match but not A, C, B" (C is the expiration event)
        (f"sequence {A} {B} until {C}", "A B", [(1, 2)]),
        (f"sequence {A} {B} until {C}", "A B C", [(1, 2)]),
        (f"sequence {A} {B} until {C}", "A C B", []),
        (f"sequence {A} {B} until {C}", "C A B", [(2, 3)]),
        (f"sequence {A} {B} until {C}", "A C A B", [(3, 4)]),
        (f"sequence {A} {B} {D} until {C}", "A B C D", []),
        (f"sequence {A} {B} until {A}", "A B", []),  # what begins and ends at once ends
        (f"sequence {A} {B} until {B}", "A B", [(1, 2)]),  # what completes is not between
        # with runs: the same item, several times
        (f"sequence {A} {B} with runs=3 {C}", "A B B B C", [(1, 2, 3, 4, 5)]),
        (f"sequence {A} {B} with runs=3 {C}", "A B B C", []),
        (f"sequence {A} {B} with runs=3 {C}", "A B B B B C", [(1, 2, 3, 4, 6)]),
        (f"sequence {A} with runs=2", "A A", [(1, 2)]),
        (f"sequence {A} with runs=2", "A A A A", [(1, 2), (2, 3), (3, 4)]),
        # missing events
        (f"sequence with maxspan=1h {A} !{M} {B}", "A B", [(1, 2)]),
        (f"sequence with maxspan=1h {A} !{M} {B}", "A M B", []),
        (f"sequence with maxspan=1h {A} !{M} {B}", "M A B M", [(2, 3)]),
        (f"sequence with maxspan=1h {A} {B} !{M} {C}", "A M B C", [(1, 3, 4)]),
        (f"sequence with maxspan=1h {A} {B} !{M} {C}", "A B M C", []),
        (f"sequence with maxspan=1h {A} !{M} {B} !{N} {C}", "A N B M C", [(1, 3, 5)]),
        (f"sequence with maxspan=1h {A} !{M} {B} !{N} {C}", "A B N C", []),
        (f"sequence with maxspan=5s {A} !{M}", "A", [(1,)]),
        (f"sequence with maxspan=5s {A} !{M}", "A x x x x M", []),
        (f"sequence with maxspan=5s {A} !{M}", "A x x x x x M", [(1,)]),
        (f"sequence with maxspan=5s !{M} {A}", "M x x x x A", []),
        (f"sequence with maxspan=5s !{M} {A}", "M x x x x x A", [(7,)]),
        (f"sequence with maxspan=5s !{M} {A} {B}", "M x x x A x B", [(5, 7)]),
        (f"sequence with maxspan=5s !{M} {A} {B}", "M x A x B", []),
        (f"sequence with maxspan=5s !{M} {A} !{N}", "A", [(1,)]),
        (f"sequence with maxspan=5s !{M} {A} !{N}", "N A M", [(2,)]),
        (f"sequence with maxspan=5s {A} {B} !{M}", "A x B x x M", []),
        (f"sequence with maxspan=5s {A} {B} !{M}", "A x B x x x M", [(1, 3)]),
        (f"sequence with maxspan=5s {A} !{M} with runs=2 {B}", "A M B", []),
        # an event is not in the gap behind itself
        (f"sequence with maxspan=1h {A} !{A} {B}", "A B", [(1, 2)]),
        (f"sequence with maxspan=1h {A} !{B} {B}", "A B", [(1, 2)]),
        # a broken match still takes the place of the older one, as Elasticsearch checks what is missing at the end
        (f"sequence with maxspan=1h {A} {A} !{M} {A}", "A A M A A", [(2, 4, 5)]),
        (f"sequence with maxspan=1h {A} !{M} {B} {C}", "A B A M B C", []),
    ],
)
def test_until_runs_and_missing_events(query: str, letters: str, expected: list[tuple[int, ...]]) -> None:
    """They mean what the documentation says, case by case."""
    assert found(query, named(letters)) == expected


@pytest.mark.parametrize(
    ("by", "first", "second", "expected"),
    [
        ("by user.id", {"user": {"id": "a"}}, {"user": {"id": "a"}}, True),
        ("by user.id", {"user": {"id": "a"}}, {"user": {"id": "A"}}, False),
        ("by user.id", {"user": {"id": "a"}}, {"user": {"id": "b"}}, False),
        ("by user.id", {"user": {"id": 7}}, {"user": {"id": "7"}}, True),
        ("by user.id", {"user": {"id": 7}}, {"user": {"id": 7.0}}, True),
        ("by user.id", {"user.id": "a"}, {"user": {"id": ["a"]}}, True),
        # "by default, a join key must be a non-null field value"
        ("by user.id", {}, {}, False),
        ("by user.id", {"user": {"id": None}}, {"user": {"id": []}}, False),
        ("by ?user.id", {}, {}, True),
        ("by ?user.id", {}, {"user": {"id": None}}, True),
        ("by ?user.id", {}, {"user": {"id": "a"}}, False),
        ("by host.id, ?user.id", {"host": {"id": 1}}, {"host": {"id": 1}}, True),
        ("by host.id, ?user.id", {"user": {"id": 1}}, {"user": {"id": 1}}, False),
        # a field with several values joins by each of them
        ("by user.id", {"user": {"id": ["a", "b"]}}, {"user": {"id": ["b", "c"]}}, True),
        ("by user.id", {"user": {"id": ["a", "b"]}}, {"user": {"id": ["c"]}}, False),
    ],
)
def test_what_joins(by: str, first: dict[str, Any], second: dict[str, Any], expected: bool) -> None:
    """Events join by equal values; a missing one joins nothing unless the key is optional, and then only its like."""
    documents = [event(1, "A", **first), event(2, "B", **second)]
    assert bool(found(f"sequence {by} {A} {B}", documents)) is expected


def test_items_may_join_by_different_fields() -> None:
    """A file that is later executed: `by file.path` here, `by process.executable` there, and `sequence by` for both."""
    item = "[process where process.name == "
    query = f'sequence by user.id {item}"A"] by file.path {item}"B"] by process.executable'

    def documents(path: str, user: str) -> list[dict[str, Any]]:
        first = event(1, "A", file={"path": "/tmp/x"}, user={"id": "u"})  # noqa: S108 - no file is made
        second = event(2, "B", user={"id": user})
        second["process"]["executable"] = path
        return [first, second]

    assert found(query, documents("/tmp/x", "u")) == [(1, 2)]  # noqa: S108 - as above
    assert found(query, documents("/tmp/y", "u")) == []  # noqa: S108 - as above
    assert found(query, documents("/tmp/x", "v")) == []  # noqa: S108 - as above


@pytest.mark.parametrize(
    ("letters", "hosts", "expected"),
    [
        ("A B", "h h", [(1, 2)]),
        ("B A", "h h", [(2, 1)]),  # in the order of the items
        ("A A", "h h", []),
        ("A B", "h i", []),
        ("A B A B", "h i i h", [(1, 4), (3, 2)]),
        ("A B A B", "h h h h", [(1, 2)]),  # one for each key
    ],
)
def test_a_sample_is_in_any_order(letters: str, hosts: str, expected: list[tuple[int, ...]]) -> None:
    """A sample has one event for each item, whatever their order, and one sample for each key."""
    documents = [
        event(at, letter, host={"id": host})
        for at, (letter, host) in enumerate(zip(letters.split(), hosts.split(), strict=True), start=1)
    ]
    assert found(f"sample by host.id {A} {B}", documents) == expected


def test_a_sample_needs_a_different_event_for_each_item() -> None:
    """One event does not stand for two items, and events are shared out so that all items get one, if that can be."""
    either = '[process where process.name in ("A", "B")]'
    keyed = [{**document, "host": {"id": "h"}} for document in named("B A")]
    assert found(f"sample by host.id {either} {A}", keyed) == [(1, 2)]
    assert [set(sample) for sample in found(f"sample by host.id {either} {either}", keyed)] == [{1, 2}]
    assert found(f"sample by host.id {either} {either}", keyed[:1]) == []
    assert found(f"sample by host.id {B} {either} {A}", keyed) == []
