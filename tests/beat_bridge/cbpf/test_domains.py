"""Interval sets against Python's own sets."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.cbpf import domains
from beat_bridge.cbpf.domains import WORD, Domain

TOP = 40
small_sets = st.frozensets(st.integers(0, TOP), max_size=TOP)
anywhere = st.lists(st.integers(0, WORD), max_size=6)


def members(domain: Domain) -> set[int]:
    """The members, one by one."""
    return {value for low, high in domain for value in range(low, high + 1)}


def is_normal(domain: Domain) -> bool:
    """Sorted, disjoint, nothing touching."""
    return all(low <= high for low, high in domain) and all(one[1] + 1 < other[0] for one, other in pairwise(domain))


@given(small_sets, small_sets)
def test_set_operations(left: frozenset[int], right: frozenset[int]) -> None:
    """Every operation on two sets agrees with the built-in sets, and its result is in normal form."""
    a, b = domains.of_points(left), domains.of_points(right)
    for ours, theirs in (
        (domains.intersection(a, b), left & right),
        (domains.union(a, b), left | right),
        (domains.difference(a, b), left - right),
        (domains.complement(a, TOP), set(range(TOP + 1)) - left),
    ):
        assert members(ours) == theirs
        assert is_normal(ours)
    assert domains.subset(a, b) == (left <= right)
    assert domains.size(a) == len(left)
    assert domains.points(a, 5) == (sorted(left) if len(left) <= 5 else None)


@given(anywhere, st.integers(0, WORD))
def test_moving_and_mirroring(values: list[int], delta: int) -> None:
    """Rotation adds modulo 2**32 and negation mirrors, also across the ends."""
    domain = domains.of_points(values)
    assert members(domains.rotated(domain, delta)) == {value + delta & WORD for value in values}
    assert members(domains.negated(domain)) == {-value & WORD for value in values}
    assert is_normal(domains.rotated(domain, delta))
    assert is_normal(domains.negated(domain))


@given(st.lists(st.integers(0, WORD), min_size=1, max_size=20))
def test_common_bits_hold_for_every_member(values: list[int]) -> None:
    """The bits said to be common are common."""
    mask, value = domains.common_bits(domains.of_points(values))
    assert all(member & mask == value for member in values)
    if len(set(values)) == 1:
        assert mask == WORD
