"""Wildcards and regular expressions, against Python's own matchers where those mean the same."""

import fnmatch
import re
import threading

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detection_rules.language.automata import MAX_STATES, RegularExpressionError
from detection_rules.language.patterns import wildcard, wildcards
from detection_rules.language.regular_expressions import compile_expression, compile_expressions

SMALL = st.text("abA*?", max_size=8)


@settings(max_examples=500)
@given(SMALL, st.text("abA", max_size=8), st.booleans())
@example("*aa*aa*", "aaa", False)  # two pieces may not share a character
@example("aa*aa", "aaa", False)
def test_wildcards_agree_with_fnmatch(pattern: str, text: str, ignore_case: bool) -> None:
    """`*` and `?` mean what the shell's matcher takes them for."""
    expected = fnmatch.fnmatchcase(text.lower(), pattern.lower()) if ignore_case else fnmatch.fnmatchcase(text, pattern)
    assert wildcard(pattern, ignore_case=ignore_case)(text) is expected


@settings(max_examples=200)
@given(st.text("ab*?", max_size=8), st.text("ab?", max_size=8))
def test_a_question_mark_can_be_literal(pattern: str, text: str) -> None:
    """Without `one`, `?` is only itself."""
    expression = ".*".join(re.escape(piece) for piece in pattern.split("*"))
    assert wildcard(pattern, ignore_case=False, one=False)(text) is bool(re.fullmatch(expression, text, re.DOTALL))


EXPRESSIONS = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\.", "1"]),
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("({}|{})".format, inner, inner),
        st.builds("({}){}".format, inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,}"])),
    ),
    max_leaves=6,
)


@settings(max_examples=500)
@given(EXPRESSIONS, st.text("ab1.", max_size=7))
def test_regular_expressions_agree_with_pythons(expression: str, text: str) -> None:
    """Where Lucene's dialect and Python's mean the same, so do we."""
    expected = re.fullmatch(expression, text, re.DOTALL | re.ASCII)
    assert compile_expression(expression, ignore_case=False)(text) is (expected is not None)


@given(st.lists(EXPRESSIONS, min_size=1, max_size=4), st.text("ab1.", max_size=7))
def test_several_expressions_match_as_each_of_them(expressions: list[str], text: str) -> None:
    """Followed at once, they say what asking one after the other says."""
    wanted = any(re.fullmatch(expression, text, re.DOTALL | re.ASCII) for expression in expressions)
    assert compile_expressions(expressions, ignore_case=False)(text) is wanted


def test_expressions_too_large_together_are_asked_apart() -> None:
    """What each may be is what each may be among others."""
    large = [f"{letter}{{2000}}" for letter in "ab"]
    assert [compile_expressions(large, ignore_case=False)(letter * (2_000)) for letter in "abc"] == [1, 1, 0]


@pytest.mark.parametrize(
    ("expression", "text", "expected"),
    [
        ("^a$", "a", False),  # in Lucene ^ and $ are characters
        ("^a$", "^a$", True),
        ("ab", "xabx", False),  # the whole text
        ('"a.b"+', "a.ba.b", True),
        ('a"."', "ab", False),
        ("()", "", True),
        ("a|", "", True),
        ("[a-c.]+", "ab.c", True),
        ("[^a-c]", "b", False),
        (r"[\w-]+", "a_-9", True),
        ("a.c", "a\nc", True),
    ],
)
def test_lucenes_own_ways(expression: str, text: str, expected: bool) -> None:
    """Lucene's dialect differs from Python's in these, and is followed."""
    assert compile_expression(expression, ignore_case=False)(text) is expected


@pytest.mark.parametrize(
    "expression",
    [
        "a~b",
        "a&b",
        "a#",
        "@",
        "<1-9>",
        "(a",
        "a)",
        "[a",
        "[]",
        "*a",
        "a{2",
        "a{3,1}",
        "a{x}",
        '"a',
        "\\",
        r"\b",
        "[b-a]",
        "(" * 100 + ")" * 100,
        "((a{999}){999}){999}",
        "(){9999}{9999}{9999}",
    ],
)
def test_bad_expressions_are_refused(expression: str) -> None:
    """What is malformed, optional in Lucene, or too large, is an error that says where."""
    with pytest.raises(RegularExpressionError, match=r"character|states"):
        compile_expression(expression, ignore_case=False)


def test_nothing_backtracks() -> None:
    """Patterns that take a backtracking matcher for ever are answered: both matchers end."""
    text = "a" * 20_000 + "!"
    answers: list[bool] = []

    def work() -> None:
        answers.append(compile_expression("(a|a)*(a|aa)+b", ignore_case=False)(text))
        answers.append(wildcard("*a" * 30 + "*b", ignore_case=False)(text))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(30)
    assert answers == [False, False]
    assert MAX_STATES < 10_000


@given(st.lists(st.text("aA*?", max_size=4), min_size=1, max_size=4), st.text("aAb*?", max_size=5), st.booleans())
def test_several_patterns_match_as_each_of_them(patterns: list[str], text: str, ignore_case: bool) -> None:
    """One matcher for several patterns agrees with asking one after the other."""
    wanted = any(wildcard(pattern, ignore_case=ignore_case)(text) for pattern in patterns)
    assert wildcards(patterns, ignore_case=ignore_case)(text) is wanted
