"""Configuration and playbooks: every complaint is one line with the place in the file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beat_bridge import strict_yaml
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value


class Inner(Value, frozen=True, kw_only=True):
    """A nested section."""

    port: int = 1


class Outer(Value, frozen=True, kw_only=True):
    """A file."""

    name: str
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()


def _complaint(text: str) -> str:
    with pytest.raises(DoorwatchError) as caught:
        strict_yaml.parse(text.encode(), Outer, "f.yml")
    return str(caught.value)


def test_a_good_file_becomes_a_typed_value() -> None:
    """What the file says is what the value holds."""
    value = strict_yaml.parse(b"name: a\ninner:\n  port: 2\nmany:\n- port: 3\n", Outer, "f.yml")
    assert value == Outer(name="a", inner=Inner(port=2), many=(Inner(port=3),))


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("name: a\n\nport: 3\n", 3, "port"),
        ("name: a\ninner:\n  prot: 3\n", 3, "prot"),
        ("name: a\ninner:\n  port: x\n", 3, "whole number"),
        ("name: a\nmany:\n- port: 1\n- port: [2]\n", 4, "whole number"),
        ("name: a\nname: b\n", 2, "twice"),
        ("name: &x a\ninner: *x\n", 2, "alias"),
        ("name: [a\n", 2, "expected"),
        ("inner: {}\n", 1, "name"),
        ("", 1, "name"),
        ("- 1\n", 1, "section of keys"),
    ],
)
def test_a_fault_is_one_line_that_names_its_place(text: str, line: int, word: str) -> None:
    """Unknown keys, wrong types, repeated keys, aliases and broken YAML are told with file and line."""
    complaint = _complaint(text)
    assert complaint.startswith(f"f.yml:{line}:"), complaint
    assert word in complaint
    assert "\n" not in complaint


@given(st.binary(max_size=200))
def test_no_bytes_bring_anything_but_a_value_or_one_line(data: bytes) -> None:
    """Whatever is in the file, the answer is a value or a DoorwatchError of one line."""
    try:
        strict_yaml.parse(data, Outer, "f.yml")
    except DoorwatchError as error:
        assert "\n" not in str(error)  # noqa: PT017 - only one of the two outcomes raises


def test_a_billion_laughs_file_is_refused_at_once() -> None:
    """Aliases cannot be used to blow up memory."""
    bomb = "name: a\nmany: &a [1]\n" + "".join(f"k{i}: &k{i} [*a, *a]\n" for i in range(50))
    assert "alias" in _complaint(bomb)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    """A file over the limit is named as such."""
    path = tmp_path / "big.yml"
    path.write_bytes(b"#" * (strict_yaml.MAX_BYTES + 1))
    with pytest.raises(DoorwatchError, match="larger than"):
        strict_yaml.load(path, Outer)


def test_place_names_the_line_of_a_value(tmp_path: Path) -> None:
    """A value that is well formed but of no use is told with the line it stands on."""
    path = tmp_path / "f.yml"
    path.write_text("name: a\nmany:\n- port: 1\n- port: 2\n")
    assert strict_yaml.place(path, "many[1].port") == f"{path}:4"
