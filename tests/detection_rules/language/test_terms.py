"""Terms: what lets a rule be passed over must never pass over one that fires."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_rules.language import compile_query
from detection_rules.language.fields import reader
from detection_rules.language.terms import demanded_terms

WORDS = ["process", "start", "exec", "Exec", "true", "inf", "nan", "/usr/bin/x", "a b", "10.0.0.1", "12"]
FIELDS = ["event.category", "event.type", "process.name", "user.id", "message"]
EQL_ATOMS = [
    '{f} == "{v}"',
    '"{v}" == {f}',
    '{f} != "{v}"',
    '{f} : "{v}"',
    '{f} like~ ("{v}", "process")',
    '{f} : "{v}*"',
    '{f} in ("{v}", "start")',
    '{f} in~ ("{v}", "START")',
    '{f} not in ("{v}", "start")',
    '{f} regex "{v}"',
    "{f} == null",
    "length({f}) > 3",
]
KQL_ATOMS = ["{f}: {v}", '{f}: "{v}"', "{f}: ({v} or start)", "not {f}: {v}", "{f}: {v}*", "{f}: *", "{f} >= {v}"]
VALUE = st.sampled_from([*WORDS, "START", "Process", True, False, None, 12, float("inf"), float("nan"), 1.5])
DOCUMENTS = st.dictionaries(st.sampled_from(FIELDS), VALUE | st.lists(VALUE, max_size=3), max_size=5)


def queries(atoms: list[str]) -> st.SearchStrategy[str]:
    """Conditions put together at will."""
    atom = st.builds(
        lambda shape, field, word: shape.format(f=field, v=word),
        st.sampled_from(atoms),
        st.sampled_from(FIELDS),
        st.sampled_from(WORDS),
    )
    return st.recursive(
        atom,
        lambda inner: (
            st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
            | st.builds("not ({})".format, inner)
        ),
        max_leaves=5,
    )


def holds_one(document: dict[str, Any], terms: frozenset[tuple[str, str]]) -> bool:
    """Whether the document holds a term, looked up without any index."""
    return any(
        isinstance(held, str) and held.lower() == value for name, value in terms for held in reader(name)(document)
    )


@settings(deadline=None)  # the first query of all builds the parser
@given(queries(EQL_ATOMS), st.sampled_from(["any", "process"]), DOCUMENTS)
def test_a_document_that_matches_eql_holds_a_term(condition: str, category: str, document: dict[str, Any]) -> None:
    """Whatever the EQL query and the document: a match holds one of the terms, where there are any."""
    query = f"{category} where {condition}"
    terms = demanded_terms(query, "eql")
    if terms is not None and compile_query(query, "eql")(document):
        assert holds_one(document, terms)


@settings(deadline=None)  # the first query of all builds the parser
@given(queries(KQL_ATOMS), DOCUMENTS)
def test_a_document_that_matches_kql_holds_a_term(query: str, document: dict[str, Any]) -> None:
    """Whatever the KQL query and the document: a match holds one of the terms, where there are any."""
    terms = demanded_terms(query, "kuery")
    if terms is not None and compile_query(query, "kuery")(document):
        assert holds_one(document, terms)


@pytest.mark.parametrize(
    ("language", "query", "terms"),
    [
        ("eql", 'process where process.name : "Curl" and user.id == "0"', {("process.name", "curl")}),
        ("eql", 'process where process.name : "cu*"', {("event.category", "process")}),
        ("eql", 'any where a == "x" or (b in ("y", "z") and length(c) > 2)', {("a", "x"), ("b", "y"), ("b", "z")}),
        ("eql", 'any where a == "x" or length(c) > 2', None),
        ("eql", 'any where not a == "x"', None),
        ("kuery", "event.category: file and file.name: (a or B)", {("file.name", "a"), ("file.name", "b")}),
        ("kuery", "message: x", None),
        ("kuery", "a: 12", None),
        ("kuery", "a: true", None),
    ],
)
def test_the_rarest_terms_are_chosen(language: str, query: str, terms: set[tuple[str, str]] | None) -> None:
    """Of what a query demands the terms that fewest documents hold are taken, and none that could hold otherwise."""
    assert demanded_terms(query, language) == terms
