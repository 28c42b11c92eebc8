"""KQL: reading, printing, refusing and meaning."""

import itertools
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detection_rules.language import QueryError, compile_query, kql, kql_ast
from detection_rules.language.kql_ast import And, Equals, Exists, MatchAll, Not, Or, Pattern, Query, Range, Value

TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8) | st.sampled_from(
    ["or", "and", "NOT", "order", "android", "nothing", "Notes and orders"]
)
FIELDS = st.lists(TEXTS.filter(lambda text: bool(text) and "." not in text), min_size=1, max_size=3).map(".".join)
UNQUOTED = TEXTS.filter(lambda text: text == text.strip() and text not in ("", "null"))
PIECES = st.lists(UNQUOTED, min_size=1, max_size=2)
PATTERNS = st.one_of(
    PIECES.map(lambda pieces: ("", *pieces, "")),
    PIECES.map(lambda pieces: (*pieces, "")),
    st.tuples(UNQUOTED, UNQUOTED),
    PIECES.map(lambda pieces: ("", *pieces)),
)
LEAVES: st.SearchStrategy[Query] = st.one_of(
    st.builds(Equals, FIELDS, st.builds(Value, UNQUOTED) | st.builds(Value, TEXTS, st.just(True))),
    st.builds(Equals, FIELDS, PATTERNS.map(Pattern)),
    st.builds(Exists, FIELDS),
    st.builds(Range, FIELDS, st.sampled_from(["<", "<=", ">", ">="]), TEXTS.filter(lambda t: not t.startswith("now"))),
    st.just(MatchAll()),
)


def joined(inner: st.SearchStrategy[Query]) -> st.SearchStrategy[Query]:
    """And, Or, Not, flat as the reader makes them."""
    several = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        several.map(lambda parts: And(tuple(part for part in parts if not isinstance(part, And)))),
        several.map(lambda parts: Or(tuple(part for part in parts if not isinstance(part, Or)))),
        inner.map(Not),
    ).filter(lambda node: not isinstance(node, And | Or) or len(node.operands) > 1)


def read(text: str) -> Query | QueryError:
    """What reading a text comes to."""
    try:
        return kql.parse(text)
    except QueryError as error:
        return error


@settings(max_examples=300)
@given(st.recursive(LEAVES, joined, max_leaves=6))
@example(Equals("a", Value("x and y or not z AND")))
@example(Equals("not", Pattern(("or", "and"))))
@example(Equals("a", Pattern(("", "\\", ""))))
@example(Equals("a b", Value('\\ " * ( ) { } : < >')))
def test_what_is_printed_reads_back_as_the_same_query(query: Query) -> None:
    """Printing a query and reading the text gives the same query."""
    assert kql.parse(kql_ast.unparse(query)) == query


@settings(max_examples=300)
@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "a",
                "b.c",
                ":",
                "*",
                '"x',
                'y"',
                "(",
                ")",
                "{",
                "}",
                "<",
                ">=",
                "and",
                "or",
                "not",
                "AND",
                "\\*",
                "\\u0041",
                "\\q",
                "null",
                "notes",
                "order",
                "android",
                "true",
                "5",
                "a*b",
                "\t",
                "\\",
            ]
        ),
        max_size=20,
    ).map(" ".join)
)
def test_no_text_makes_the_reader_fail_otherwise(text: str) -> None:
    """Whatever the text, it is a query or a QueryError whose place lies within it."""
    outcome = read(text)
    if isinstance(outcome, QueryError):
        assert 1 <= outcome.line <= text.count("\n") + 1
        assert outcome.column >= 1
    else:
        assert kql.parse(kql_ast.unparse(outcome)) == outcome


@pytest.mark.parametrize(
    ("text", "construct", "column"),
    [
        ("error", "a value without a field", 1),
        ("a: b or c", "a value without a field", 9),
        ('"some words"', "a value without a field", 1),
        ('a: b or "c"', "a value without a field", 9),
        ("a*: { b: c }", "wildcard in the name of nested objects", 1),
        ("a: { }", "`}`", 6),
        ("a: { b: c ", "too early", 10),
        ("a: { b }", "a value without a field", 6),
        ("a: (b: c)", "`:`", 6),
        ("a > 1*", "wildcard in a range", 1),
        ("@timestamp > now-5m", "date mathematics", 1),
        ("a: null", "null", 1),
        ("a: \\q", "escape", 4),
        ("a: (b", "too early", 6),
        ("a: b)", "`)`", 5),
        ("a: b c: d", "`:`", 7),
        ("a: and", "`and`", 4),
        ("a <> b", "`>`", 4),
        ("a..b: c", "empty part", 1),
        ("a: b \\not", "line break", 4),
        ("not not a: b", "`not`", 5),
    ],
)
def test_what_is_not_supported_is_named_with_its_place(text: str, construct: str, column: int) -> None:
    """A construct that is not evaluated is an error that names it and its column."""
    with pytest.raises(QueryError) as caught:
        kql.parse(text)
    assert construct in str(caught.value)
    assert (caught.value.line, caught.value.column) == (1, column)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 40_000 + "a: b" + ")" * 40_000,
        "a: " + "(" * 40_000 + "b" + ")" * 40_000,
        "not (" * 9_000 + "a: b" + ")" * 9_000,
        "a: (" + "not (" * 9_000 + "b" + ")" * 9_001,
    ],
)
def test_deep_nesting_is_bounded(text: str) -> None:
    """However deep the text nests, it is read or refused without exhausting the stack."""
    outcome = read(text)
    assert not isinstance(outcome, QueryError) or "nested" in str(outcome) or "characters" in str(outcome)


DOCUMENT: dict[str, Any] = {
    "notes": "nothing",
    "android": "order",
    "orchestrator": {"type": "orb"},
    "@timestamp": "2026-01-15T10:00:00.000Z",
    "process": {"name": "sh", "args": ["sh", "-c", "x y"], "pid": 812, "executable": "/bin/sh"},
    "source": {"ip": "10.1.2.3"},
    "ok": True,
    "message": "Accepted publickey for Root",
    "empty": [],
    "dll": [
        {"name": "a", "size": 1, "sub": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]},
        {"name": "b", "size": 2, "sub.x": 3},
    ],
    "dotted.k": "v",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("*", True),
        ("*:*", True),
        ("process.name:*", True),
        ("process:*", True),
        ("empty:*", False),
        ("gone:*", False),
        ("not gone:*", True),
        ("not gone: x", True),
        ("process.name: sh", True),
        ("process.name: SH", False),
        ('process.name: "sh"', True),
        ("process.name: s", False),
        ("process.name: s*", True),
        ("process.name: *h", True),
        ('process.name: "s*"', False),
        ("process.name: s\\*", False),
        ("process.name: s?", False),
        ("process.args: x y", True),
        ("process.args: (x or sh)", True),
        ("process.args: (sh and -c)", True),
        ("process.args: (sh and not -c)", False),
        ("process.pid: 812", True),
        ("process.pid: 8*", True),
        ("process.pid >= 812 and process.pid < 813", True),
        ('process.pid: "812"', True),
        ("process.pid > 9", True),
        ("process.pid > 1000", False),
        ("source.ip: 10.0.0.0/8", True),
        ("source.ip: 10.2.0.0/16", False),
        ("source.ip: 10.1.2.3", True),
        ("ok: true", True),
        ("ok: false", False),
        ("@timestamp >= 2026-01-15", True),
        ('@timestamp >= "2026-01-15"', True),
        ('@timestamp > "2026-01-15"', False),
        ('@timestamp <= "2026-01-15"', True),
        ('@timestamp < "2026-01-15"', False),
        ('@timestamp: "2026-01-15"', True),
        ('@timestamp: "2026-01-16"', False),
        ("message: publickey", True),
        ("message: PUBLICKEY", True),
        ("message: password publickey", True),
        ('message: "publickey for root"', True),
        ('message: "publickey root"', False),
        ("message: publ*", True),
        ("NOT process.name: sh OR ok: true", True),
        ("process.name: sh AND (ok: false OR process.pid: 812)", True),
        ("process.name: x or process.name: sh and ok: false", False),
        ("notes: nothing", True),
        ("notes: (notepad.exe or nothing)", True),
        ("notes: (hing or not nothing)", False),
        ("android: order", True),
        ("ok: true and orchestrator.type: or*", True),
        ("ok: false or andrew: x", False),
        ("process.*: sh", True),
        ("process.*: nobody", False),
        ("*: 812", True),
        ("*name: *", True),
        ("*: publickey", True),
        ("message*: PUBLICKEY", True),
        ("process.* > 800", True),
        ("*.nothing: *", False),
        ("dll: { name: a and size: 2 }", False),
        ("dll: { name: a and size: 1 }", True),
        ("dll: { name: a } and dll: { size: 2 }", True),
        ("dll: { not name: a }", True),
        ("not dll: { name: a }", False),
        ("dll: { sub: { x: 1 and y: 2 } }", True),
        ("dll: { sub: { x: 1 and y: 4 } }", False),
        ("dll: { s*.x: 3 and name: b }", True),
        ("dll: { s*.x: 4 or s*.y: 9 }", False),
        ("dotted: { k: v }", True),
        ("gone: { name: * }", False),
        ("source.ip >= 10.1.2.0 and source.ip < 10.1.2.10", True),
        ('source.ip: "::ffff:10.1.2.3"', True),
        ('source.ip: "::/0"', True),
        ('@timestamp: "1768471200000"', True),
        ('@timestamp < "1768471200000"', False),
        ('@timestamp: "2026-01-15T10"', True),
        ('message: "don\'t"', False),
        ("process.executable: /bin/*", True),
        ('process.executable: "/bin/sh"', True),
    ],
)
def test_what_queries_mean(text: str, expected: bool) -> None:
    """Each query says of the document what Kibana would find."""
    assert compile_query(text)(DOCUMENT) is expected


VALUES = st.sampled_from(["a", "ab", "A", "1", "10", "true", 1, 10, 2.5, True, False, None, ""])
DOCUMENTS = st.dictionaries(st.sampled_from(["f", "g"]), VALUES | st.lists(VALUES, max_size=3), max_size=2)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list):
        return list(itertools.chain.from_iterable(_leaves(item) for item in value))
    return [] if value is None else [value]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return float(value) if value.isdigit() else None
    return float(value)


ATOMS: list[tuple[str, Any]] = [
    ("{}: a", lambda v: _text(v) == "a"),
    ("{}: 1", lambda v: _text(v) == "1"),
    ("{}: true", lambda v: _text(v) == "true"),
    ("{}: a*", lambda v: _text(v).startswith("a")),
    ("{}: *0", lambda v: _text(v).endswith("0")),
    ("{}: *", lambda _v: True),
    ("{} > 2", lambda v: (_number(v) or 0) > 2 if _number(v) is not None else _text(v) > "2"),
    ('{}: ("A" or 10)', lambda v: _text(v) in ("A", "10")),
]
ATOM = st.tuples(st.sampled_from(range(len(ATOMS))), st.sampled_from(["f", "g"]))
TREES: st.SearchStrategy[Any] = st.recursive(
    ATOM,
    lambda inner: st.tuples(st.sampled_from(["and", "or"]), inner, inner) | st.tuples(st.just("not"), inner),
    max_leaves=5,
)


def _spell(tree: Any) -> str:
    match tree:
        case ("not", inner):
            return f"not ({_spell(inner)})"
        case ("and" | "or", left, right):
            return f"({_spell(left)}) {tree[0]} ({_spell(right)})"
        case (index, field):
            return str(ATOMS[index][0].format(field))
    raise AssertionError(tree)


def _mean(tree: Any, document: dict[str, Any]) -> bool:
    match tree:
        case ("not", inner):
            return not _mean(inner, document)
        case ("and", left, right):
            return _mean(left, document) and _mean(right, document)
        case ("or", left, right):
            return _mean(left, document) or _mean(right, document)
        case (index, field):
            return any(ATOMS[index][1](value) for value in _leaves(document.get(field)))
    raise AssertionError(tree)


@settings(max_examples=300)
@given(TREES, DOCUMENTS)
def test_it_agrees_with_a_naive_evaluator(tree: Any, document: dict[str, Any]) -> None:
    """Compiled queries say of random documents what a direct reading of the rules says."""
    assert compile_query(_spell(tree))(document) is _mean(tree, document)
