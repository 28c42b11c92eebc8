"""Reading EQL: what it means, and that what is not supported is refused by name and place."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detection_rules.language import QueryError, eql, eql_ast
from detection_rules.language.eql_ast import (
    And,
    Arithmetic,
    Comparator,
    Comparison,
    EventQuery,
    Expression,
    Field,
    Function,
    Literal,
    Matcher,
    Matching,
    Membership,
    Negative,
    Not,
    Operator,
    Or,
)

NAMES = st.from_regex(r"[a-z_@][a-z0-9_]{0,6}", fullmatch=True)
ODD_NAMES = st.text(st.characters(blacklist_characters=".`?", blacklist_categories=["Cs"]), min_size=1, max_size=5)
FIELDS = st.builds(Field, st.lists(NAMES | ODD_NAMES, min_size=1, max_size=3).map(".".join), optional=st.booleans())
TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(-(2**40), 2**40) | st.floats(-1e9, 1e9, allow_nan=False).filter(
    lambda f: f != 0 or str(f) == "0.0"
)
STRING_LITERALS = st.builds(Literal, TEXTS)
NUMBER_LITERALS = st.builds(Literal, NUMBERS)


def over_one_field(field: Field) -> st.SearchStrategy[Expression]:
    """Conditions about one field, of every kind the grammar has."""
    numbers: st.SearchStrategy[Expression] = st.recursive(
        st.just(field) | NUMBER_LITERALS | st.just(Function("length", (field,))),
        lambda inner: (
            st.builds(Arithmetic, inner, st.sampled_from([Operator.ADD, Operator.SUBTRACT, Operator.MULTIPLY]), inner)
            | inner.filter(lambda node: not isinstance(node, Literal)).map(Negative)
        ),
        max_leaves=4,
    )
    texts: st.SearchStrategy[Expression] = st.one_of(
        st.just(field),
        st.builds(lambda part: Function("concat", (field, part)), STRING_LITERALS | NUMBER_LITERALS),
        st.builds(
            lambda a, b, c: Function("between", (field, a, b), c), STRING_LITERALS, STRING_LITERALS, st.booleans()
        ),
    )
    matchers = st.sampled_from([Matcher.SEQ, Matcher.LIKE, Matcher.LIKE_INSENSITIVE])
    return st.one_of(
        st.builds(Comparison, numbers, st.sampled_from(list(Comparator)), NUMBER_LITERALS),
        st.builds(Comparison, texts, st.sampled_from([Comparator.EQUAL, Comparator.NOT_EQUAL]), STRING_LITERALS),
        st.builds(Comparison, st.just(field), st.just(Comparator.EQUAL), st.just(Literal(None))),
        st.builds(
            Membership,
            texts,
            st.lists(STRING_LITERALS, min_size=1, max_size=3).map(tuple),
            st.booleans(),
            st.booleans(),
        ),
        st.builds(Matching, texts, matchers, st.lists(TEXTS, min_size=1, max_size=3).map(tuple)),
        st.builds(lambda part, i: Function("startsWith", (field, part), i), STRING_LITERALS, st.booleans()),
        st.just(field),
        st.builds(Literal, st.booleans()),
    )


def joined(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    """And, Or, Not over conditions, flat as the parser makes them."""
    several = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        several.map(lambda parts: And(tuple(part for part in parts if not isinstance(part, And)) or (parts[0],))),
        several.map(lambda parts: Or(tuple(part for part in parts if not isinstance(part, Or)) or (parts[0],))),
        inner.map(Not),
    ).filter(lambda node: not isinstance(node, And | Or) or len(node.operands) > 1)


CONDITIONS = st.recursive(FIELDS.flatmap(over_one_field), joined, max_leaves=6)
QUERIES = st.builds(EventQuery, st.none() | TEXTS, CONDITIONS)


def read(text: str) -> EventQuery | QueryError:
    """What reading a text comes to."""
    try:
        return eql.parse(text)
    except QueryError as error:
        return error


@settings(max_examples=200)
@given(QUERIES)
@example(EventQuery("any", Comparison(Field("and"), Comparator.EQUAL, Literal('\\ " \n \u202e \U0001f600'))))
@example(EventQuery(None, Comparison(Field("a b.`.9x"), Comparator.NOT_EQUAL, Literal(-1))))
def test_what_is_printed_reads_back_as_the_same_query(query: EventQuery) -> None:
    """Printing a query and reading the text gives the same query."""
    assert eql.parse(eql_ast.unparse(query)) == query


@settings(max_examples=300)
@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "process",
                "any",
                "where",
                "and",
                "or",
                "not",
                "in",
                "in~",
                "like",
                "like~",
                "regex",
                ":",
                "==",
                "!=",
                "<",
                ">",
                "(",
                ")",
                "[",
                "]",
                ",",
                "|",
                "+",
                "-",
                "*",
                "/",
                "%",
                '"a"',
                '"""b"""',
                "1",
                "2.5",
                ".",
                "`x`",
                "?y",
                "a.b",
                "true",
                "false",
                "null",
                "length(",
                "startsWith~(",
                "sequence",
                "by",
                "until",
                "/*",
                "*/",
                "//",
                "='",
                '"',
                "\\",
            ]
        ),
        max_size=25,
    ).map(" ".join)
)
def test_no_text_makes_the_reader_fail_otherwise(text: str) -> None:
    """Whatever the text, it is a query or a QueryError whose place lies within it."""
    outcome = read(text)
    if isinstance(outcome, QueryError):
        assert 1 <= outcome.line <= text.count("\n") + 1
        assert outcome.column >= 1
    else:
        assert eql.parse(eql_ast.unparse(outcome)) == outcome


@pytest.mark.parametrize(
    ("text", "construct", "line", "column"),
    [
        ("sequence by host.id [process where true] [file where true]", "`sequence` query", 1, 1),
        ("/* why */\nsample by host.id [process where true] [file where true]", "`sample` query", 2, 1),
        ("process where event.sequence == 1", "backquotes", 1, 15),
        ("join [process where true] [file where true]", "`join` query", 1, 1),
        ("process where true\n  | head 5", "pipe", 2, 3),
        ("process where child of [process where true]", "process relationship", 1, 21),
        ('process where process.args[0] == "x"', "`[ ]`", 1, 27),
        ("process where nonsense(process.name)", "`nonsense`", 1, 15),
        ("process where length~(process.name) == 1", "`length~`", 1, 15),
        ('process where process.name = "x"', "`=`", 1, 28),
        ("process where process.name == 'x'", "single quotes", 1, 31),
        ('process where process.name == ?"x"', "raw string", 1, 31),
        ('process where process.name !: "x"', "`!:`", 1, 28),
        ('process where process.name not like "x"', "not field like", 1, 32),
        ("process where a == 1 AND b == 2", "capitals", 1, 22),
        # "You cannot use EQL comparison operators to compare a field to another field", functions of them included:
        # https://www.elastic.co/docs/reference/query-languages/eql/eql-syntax#eql-compare-fields
        ("process where process.name == process.parent.name", "comparing two fields", 1, 15),
        ("process where a + 1 == b", "comparing two fields", 1, 15),
        ("process where length(a) > length(b)", "comparing two fields", 1, 15),
        ('process where process.name in ("a", null)', "anything but constants", 1, 15),
        ("process where process.pid : 5", "string constants", 1, 15),
        ('process where @timestamp > "now-5m"', "date mathematics", 1, 15),
        ('process where (a == 1) == "x"', "condition used as a value", 1, 15),
        ('process where string(a == 1) == "true"', "condition used as a value", 1, 15),
        ('process where a regex "x~y"', "complement", 1, 15),
        ('process where a regex "<1-9>"', "numeric interval", 1, 15),
    ],
)
def test_what_is_not_supported_is_named_with_its_place(text: str, construct: str, line: int, column: int) -> None:
    """A construct that is not evaluated is an error that names it, its line and its column."""
    with pytest.raises(QueryError) as caught:
        eql.parse(text)
    assert construct in str(caught.value)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "process",
        "process where",
        "where true",
        "process where length(a)",
        "process where 5",
        'process where "text"',
        "process where length(a, b) == 1",
        "process where length() == 1",
        "process where a < null",
        "process where true < false",
        "process where a == 1 b == 2",
        'process where length(a) == "x"',
        "process where a in ()",
        'process where a + "x" == 1',
        "process where a / 0 == 1",
        "process where a == 1e999",
        "process where a == " + "9" * 40,
        'process where a == "\\q"',
        'process where a == "\\u{110000}"',
        'process where cidrMatch(a, "10.0.0.0/64")',
        'process where a regex "(x"',
        'process where a == "unfinished',
        "process where /* unfinished",
    ],
)
def test_malformed_queries_are_refused(text: str) -> None:
    """Text that means nothing is an error, never a query that matches nothing."""
    with pytest.raises(QueryError):
        eql.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "any where " + "(" * 40_000 + "true" + ")" * 40_000,
        "any where " + "not " * 20_000 + "true",
        "any where " + "string(" * 10_000 + "a" + ")" * 10_000 + ' == "1"',
        "any where " + "- " * 20_000 + "a == 1",
        "any where a " + "+ 1 " * 20_000 + "== 1",
        "any where " + "a == 1 or " * 20_000 + "true",
    ],
)
def test_deep_nesting_is_bounded(text: str) -> None:
    """However deep the text nests, it is read or refused without exhausting the stack."""
    outcome = read(text)
    assert not isinstance(outcome, QueryError) or "nested" in str(outcome) or "characters" in str(outcome)


def test_comments_and_raw_strings() -> None:
    """Comments are skipped, and a raw string keeps its backslashes."""
    text = 'process /* one\ntwo */ where // three\n a == """C:\\x""" and `b c`.d == "\\u{41}\\t"'
    assert eql.parse(text) == EventQuery(
        "process",
        And(
            (
                Comparison(Field("a"), Comparator.EQUAL, Literal("C:\\x")),
                Comparison(Field("b c.d"), Comparator.EQUAL, Literal("A\t")),
            )
        ),
    )


def test_precedence() -> None:
    """`not` binds closer than `and`, `and` closer than `or`, products closer than sums."""
    query = eql.parse("any where not a and b or c == 1 + 2 * 3")
    inner = Comparison(
        Field("c"),
        Comparator.EQUAL,
        Arithmetic(Literal(1), Operator.ADD, Arithmetic(Literal(2), Operator.MULTIPLY, Literal(3))),
    )
    assert query.condition == Or((And((Not(Field("a")), Field("b"))), inner))
