"""Terms: what lets a rule be passed over must never pass over one that fires."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_rules.index import Index
from detection_rules.language import compile_query
from detection_rules.language.branches import Branch, branches
from detection_rules.language.fields import reader
from detection_rules.language.terms import Demands

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


def holds_all(document: dict[str, Any], demands: Demands) -> bool:
    """Whether the document holds what is demanded, looked up without any index."""
    return all(
        any(isinstance(held, str) and held.lower() == value for name, value in terms for held in reader(name)(document))
        for terms in demands
    )


def agree(query: str, language: str, document: dict[str, Any]) -> None:
    """The branches together say what the query says, and none holds for a document without what it demands."""
    alternatives = branches(query, language)
    assert any(branch.holds(document) for branch in alternatives) == compile_query(query, language)(document)
    assert all(holds_all(document, branch.demands) for branch in alternatives if branch.holds(document))


@given(queries(EQL_ATOMS), st.sampled_from(["any", "process"]), DOCUMENTS)
def test_the_branches_of_eql_are_the_query(condition: str, category: str, document: dict[str, Any]) -> None:
    """Whatever the EQL query and the document: it matches when a branch holds, and then holds its demands."""
    agree(f"{category} where {condition}", "eql", document)


@given(queries(KQL_ATOMS), DOCUMENTS)
def test_the_branches_of_kql_are_the_query(query: str, document: dict[str, Any]) -> None:
    """Whatever the KQL query and the document: it matches when a branch holds, and then holds its demands."""
    agree(query, "kuery", document)


@dataclass(frozen=True)
class Asked:
    """A query, and which it is."""

    number: int
    branches: tuple[Branch, ...]

    def reads(self, _stream: str) -> bool:
        """All do."""
        return True


@given(st.lists(queries(EQL_ATOMS), min_size=1, max_size=6), DOCUMENTS)
def test_the_index_finds_what_asking_each_finds(conditions: list[str], document: dict[str, Any]) -> None:
    """Whatever the queries and the document: the index returns those that match, in their order, each once."""
    texts = [f"any where {condition}" for condition in conditions]
    index = Index([Asked(number, branches(text, "eql")) for number, text in enumerate(texts)])
    expected = [number for number, text in enumerate(texts) if compile_query(text, "eql")(document)]
    assert [asked.number for asked in index.match(document)] == expected


@pytest.mark.parametrize(
    ("language", "query", "demands"),
    [
        (
            "eql",
            'process where process.name : "Curl" and user.id == "0"',
            [["process.name=curl", "event.category=process"]],
        ),
        ("eql", 'process where process.name : "cu*"', [["event.category=process"]]),
        ("eql", 'any where x > 1 and (a == "x" or (b in ("y", "z") and length(c) > 2))', [["a=x|b=y|b=z"]]),
        ("eql", 'any where a == "x" or (b in ("y", "z") and length(c) > 2)', [["a=x"], ["b=y|b=z"]]),
        ("eql", 'any where a == "x" or length(c) > 2', [["a=x"], []]),
        ("eql", 'any where a == "HOME=/tmp" and a == "x"', [["a=home=/tmp", "a=x"]]),
        ("eql", 'any where not a == "x"', [[]]),
        (
            "kuery",
            "event.category: file and file.name: (a or B)",
            [["file.name=a|file.name=b", "event.category=file"]],
        ),
        ("kuery", "message: x", [[]]),
        ("kuery", "a: 12", [[]]),
        ("kuery", "a: true", [[]]),
    ],
)
def test_the_rarest_terms_come_first(language: str, query: str, demands: list[list[str]]) -> None:
    """Of each branch the terms that fewest documents hold come first, and none that another value could stand for."""
    found = [
        ["|".join(sorted(f"{name}={value}" for name, value in terms)) for terms in branch.demands]
        for branch in branches(query, language)
    ]
    assert found == demands
