"""The steps that make a document fit to store."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.ecs.fields import LONGEST_KEYWORD
from beat_bridge.ecs.shape import (
    LIMITS,
    LONGEST_ARRAY,
    bound_text,
    drop_empty,
    epoch,
    finish,
    merge,
    name_unavailable,
    printable,
)
from beat_bridge.model.base import Reason, Unavailable
from tests.inventories.strategies import TEXT

REFUSED = Unavailable(reason=Reason.REFUSED, detail="EPERM")
LEAVES = st.one_of(TEXT, st.integers(), st.floats(), st.booleans(), st.none(), st.just(REFUSED))
ANYTHING = st.recursive(
    st.one_of(LEAVES, st.lists(LEAVES, max_size=4)),  # no fragment has objects in lists
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["process", "host"]), ANYTHING))
def test_any_body_becomes_json(body: dict[str, Any]) -> None:
    """Whatever a fragment holds, what comes out is JSON that another parser reads back unchanged."""
    done = finish(body)
    assert json.loads(json.dumps(done, allow_nan=False)) == done


@given(TEXT)
def test_printable_text_shows_nothing_else(text: str) -> None:
    """No control, direction or surrogate character is left, and what printed before is untouched."""
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert not text.isprintable() or shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb", "a\\x0ab"),
        ("\udcff", "\\xff"),
        ("\ud800", "\\ud800"),
        ("\u202egnp", "\\u202egnp"),
        ("\U000e0001", "\\U000e0001"),
        ("grün", "grün"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, shown: str) -> None:
    """Escapes name the byte or the code point."""
    assert printable(text) == shown


def test_what_is_missing_is_named_by_field_and_reason() -> None:
    """An unavailable leaf leaves the document and is listed."""
    body = drop_empty(name_unavailable({"process": {"executable": REFUSED, "pid": 5}}))
    assert body == {"process": {"pid": 5}, "doorwatch": {"unavailable": ["process.executable: refused: EPERM"]}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**63, -(2**63) - 1, [2**64]])
def test_numbers_no_store_can_hold_are_named(value: Any) -> None:
    """A number beyond 64 bits, or none at all, is said to be unavailable rather than sent."""
    done = finish({"process": {"pid": value}})
    assert "process" not in done
    assert done["doorwatch"]["unavailable"][0].startswith("process.pid: failed: ")


def test_nothing_empty_is_left() -> None:
    """None, empty text, empty lists and objects go; zero and false stay."""
    assert drop_empty({"a": None, "b": "", "c": [], "d": {"e": {}}, "f": 0, "g": False}) == {"f": 0, "g": False}


def test_long_text_is_cut_and_named() -> None:
    """A text beyond its limit is cut to it and the field is listed; one at the limit is not."""
    done = bound_text({"process": {"name": "x" * (LONGEST_KEYWORD + 1), "title": "y" * LONGEST_KEYWORD}})
    assert len(done["process"]["name"]) == LONGEST_KEYWORD
    assert done["process"]["title"] == "y" * LONGEST_KEYWORD
    assert done["doorwatch"]["truncated"] == ["process.name"]


def test_escapes_count_towards_the_limit() -> None:
    """Text that grows by escaping still fits its field."""
    done = bound_text({"process": {"name": "\x00" * LONGEST_KEYWORD}})
    assert len(done["process"]["name"]) == LONGEST_KEYWORD
    assert done["doorwatch"]["truncated"] == ["process.name"]


def test_long_lists_are_cut_and_named() -> None:
    """A list beyond its limit is cut and the field is listed."""
    done = bound_text({"process": {"args": ["x"] * (LONGEST_ARRAY + 1)}})
    assert len(done["process"]["args"]) == LONGEST_ARRAY
    assert done["doorwatch"]["truncated"] == ["process.args"]


def test_the_largest_program_is_kept_whole() -> None:
    """4,096 instructions in decimal fit the limit of their field."""
    assert LIMITS["doorwatch.filter.program"] >= 4096 * len(",65535 255 255 4294967295") + 4


def test_fragments_that_contradict_each_other_are_a_mistake() -> None:
    """Two fragments may share an object, never a leaf."""
    assert merge({"a": {"b": 1}}, {"a": {"c": 2}}) == {"a": {"b": 1, "c": 2}}
    with pytest.raises(ValueError, match=r"a\.b is given twice"):
        merge({"a": {"b": 1}}, {"a": {"b": 1}})


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e20, -1e20])
def test_a_number_that_is_no_moment_is_said_to_be_none(seconds: float) -> None:
    """Seconds that no calendar has become unavailable."""
    told = epoch(seconds)
    assert isinstance(told, Unavailable)
    assert told.reason is Reason.FAILED


def test_seconds_become_utc() -> None:
    """BPFDoor's favourite second, in UTC."""
    assert epoch(1225394236.0) == "2008-10-30T19:17:16.000000Z"
