"""Rule files as text."""

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from detection_rules import load_rules
from detection_rules.rule_file import content_of
from detection_rules.toml_writer import PROSE, WIDTH, fold, write

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    [
        '"""',
        "'''",
        '""""',
        '"',
        "\\",
        "\\u0041",
        "\n",
        "\r\n",
        "a\n\nb\n",
        "\x00",
        "\x7f",
        "é",
        "🙂",
        " x ",
        "# no",
        "]",
    ]
)
_scalar = _text | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_key = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
_value = st.recursive(
    _scalar,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_key, inner, max_size=3),
    max_leaves=8,
)


def folded(value: Any, key: str = "") -> Any:
    """What the writer promises to keep: all but the line breaks of prose and around a query."""
    if isinstance(value, dict):
        return {name: folded(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [folded(item, key) for item in value]
    return fold(value) if key in PROSE and isinstance(value, str) else value


@settings(max_examples=300)
@given(rule=st.dictionaries(_key.filter(lambda key: key != "query"), _value, min_size=1, max_size=5), query=_text)
def test_what_is_written_reads_as_the_same(rule: dict[str, Any], query: str) -> None:
    """TOML's own reader gives back every value, whatever is in it."""
    again = tomllib.loads(write({"rule": {**rule, "query": query}}))["rule"]
    assert again.pop("query").strip() == query.strip()
    assert folded(again) == folded(rule)


@settings(max_examples=100)
@given(rule=st.dictionaries(_key, _value, max_size=4))
def test_writing_what_was_written_changes_nothing(rule: dict[str, Any]) -> None:
    """The form is a fixed point."""
    text = write({"metadata": {"a": 1}, "rule": rule})
    assert write(tomllib.loads(text)) == text


def test_prose_is_wrapped() -> None:
    """No line of a description or of a false positive is longer than the page, in every shipped rule."""
    for rule in load_rules():
        content = content_of(rule.source.file)
        text = write({"rule": {key: value for key, value in content["rule"].items() if key in PROSE}})
        assert max(map(len, text.splitlines())) <= WIDTH
