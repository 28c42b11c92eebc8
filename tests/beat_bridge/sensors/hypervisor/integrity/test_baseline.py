"""A baseline is a value: it travels, and what is none is refused in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.integrity.baseline import MAX_BYTES, MAX_PAGES, Baseline, decode, encode

DIGESTS = st.lists(st.one_of(st.just(""), st.binary(min_size=16, max_size=16).map(bytes.hex)), max_size=20).map(tuple)


def _baseline(
    text: tuple[str, ...] = (), data: tuple[str, ...] = (), *, boot: str = "", slide: int = 0, build: str = "ab"
) -> Baseline:
    return Baseline(build_id=build, kernel_offset=slide, boot_id=boot, kernel_text=text, read_only_data=data)


@given(DIGESTS, DIGESTS, st.integers(0, 1 << 40))
def test_a_baseline_comes_back(text: tuple[str, ...], data: tuple[str, ...], slide: int) -> None:
    """What was encoded is decoded to an equal value."""
    baseline = _baseline(text, data, slide=slide, boot="1234")
    assert decode(encode(baseline), "a test") == baseline


@given(st.binary(max_size=200))
def test_anything_else_is_one_line(data: bytes) -> None:
    """Whatever the bytes are, they are refused with their source named, never with a traceback."""
    with pytest.raises(DoorwatchError, match=r"^a test: not a kernel's baseline"):
        decode(data, "a test")


@pytest.mark.parametrize(
    "data",
    [
        encode(_baseline()).replace(b'"ab"', b'"ab","more":1'),
        encode(_baseline(("",))).replace(b'[""]', b'["zz"]'),
        encode(_baseline(("",))).replace(b'[""]', b"[1]"),
        encode(_baseline(("",) * (MAX_PAGES + 1))),
        b" " * (MAX_BYTES + 1),
    ],
)
def test_a_baseline_is_strict_and_bounded(data: bytes) -> None:
    """Unknown fields, digests that are none, and more pages than a kernel has are refused."""
    with pytest.raises(DoorwatchError, match="kernel's baseline"):
        decode(data, "a test")


def test_a_baseline_too_large_is_not_even_read() -> None:
    """More bytes than a baseline can have are refused for their number."""
    with pytest.raises(DoorwatchError, match="larger than 8 MiB"):
        decode(b"[" * (MAX_BYTES + 1), "a test")


def test_a_baseline_belongs_to_one_boot() -> None:
    """Another build, another place or another boot id parts two baselines; a boot id that is not known does not."""
    baseline = _baseline(boot="one", slide=2)
    assert baseline.belongs_to(_baseline(boot="one", slide=2))
    assert baseline.belongs_to(_baseline(boot="", slide=2))
    assert not baseline.belongs_to(_baseline(boot="two", slide=2))
    assert not baseline.belongs_to(_baseline(boot="one", slide=4))
    assert not baseline.belongs_to(_baseline(boot="one", slide=2, build="cd"))
