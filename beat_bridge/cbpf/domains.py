"""Sets of 32-bit words as sorted, disjoint, non-adjacent closed intervals."""

from bisect import bisect_right
from collections.abc import Iterable

Domain = tuple[tuple[int, int], ...]
WORD = 0xFFFFFFFF
EVERYTHING: Domain = ((0, WORD),)
NOTHING: Domain = ()
ZERO: Domain = ((0, 0),)
NOT_ZERO: Domain = ((1, WORD),)

MUCH = 4
"""So many times more intervals are cheaper to search than to go through."""


def below(top: int) -> Domain:
    """0 to `top`, inclusive."""
    return ((0, top),)


def single(value: int) -> Domain:
    """One word."""
    return ((value, value),)


def of_points(values: Iterable[int]) -> Domain:
    """A set from its members."""
    return normalise((value, value) for value in values)


def normalise(intervals: Iterable[tuple[int, int]]) -> Domain:
    """Sort, and join what touches."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(intervals):
        if joined and low <= joined[-1][1] + 1:
            if high > joined[-1][1]:
                joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return tuple(joined)


def intersection(left: Domain, right: Domain) -> Domain:  # noqa: PLR0911 - short ways for the shapes that are frequent
    """What is in both."""
    if len(left) == 1 and len(right) == 1:  # nearly always: this is the busiest line of an analysis
        (low, high), (other_low, other_high) = left[0], right[0]
        if low >= other_low and high <= other_high:
            return left
        if other_low >= low and other_high <= high:
            return right
        low, high = (other_low, high) if other_low > low else (low, other_high)
        return ((low, high),) if low <= high else ()
    if len(left) == 1:
        return _cut(right, *left[0])
    if len(right) == 1:
        return _cut(left, *right[0])
    if len(left) > len(right):
        left, right = right, left
    if MUCH * len(left) < len(right):
        return tuple(interval for low, high in left for interval in _cut(right, low, high))
    found = []
    i = j = 0
    while i < len(left) and j < len(right):
        low = max(left[i][0], right[j][0])
        high = min(left[i][1], right[j][1])
        if low <= high:
            found.append((low, high))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)


def union(left: Domain, right: Domain) -> Domain:
    """What is in either."""
    if len(right) == 1:
        left, right = right, left
    if len(left) == 1 and right:  # one interval more, mostly between two others
        low, high = left[0]
        index = bisect_right(right, (low, WORD))
        if (index == 0 or right[index - 1][1] + 1 < low) and (index == len(right) or high + 1 < right[index][0]):
            return (*right[:index], left[0], *right[index:])
    return normalise((*left, *right))


def difference(left: Domain, right: Domain) -> Domain:
    """What is in the first and not in the second."""
    if len(right) == 1:
        low, high = right[0]
        below_it = _cut(left, 0, low - 1) if low else ()
        return (*below_it, *_cut(left, high + 1, WORD)) if high < WORD else below_it
    return intersection(left, complement(right))


def _cut(domain: Domain, low: int, high: int) -> Domain:
    """What of a domain lies from `low` to `high`."""
    first = max(0, bisect_right(domain, (low, WORD)) - 1)
    last = bisect_right(domain, (high, WORD))
    kept = list(domain[first:last])
    if kept and kept[0][1] < low:
        del kept[0]
    if not kept:
        return ()
    if kept[0][0] < low:
        kept[0] = (low, kept[0][1])
    if kept[-1][1] > high:
        kept[-1] = (kept[-1][0], high)
    return tuple(kept)


def complement(domain: Domain, top: int = WORD) -> Domain:
    """What of 0..top is not in it."""
    found = []
    start = 0
    for low, high in domain:
        if low > start:
            found.append((start, min(low - 1, top)))
        start = high + 1
        if start > top:
            return tuple(found)
    found.append((start, top))
    return tuple(found)


def contains(domain: Domain, value: int) -> bool:
    """Whether a word is in it."""
    return any(low <= value <= high for low, high in domain)


def subset(left: Domain, right: Domain) -> bool:
    """Whether all of `left` is in `right`."""
    if left is right:
        return True
    if len(right) == 1:
        return not left or (right[0][0] <= left[0][0] and left[-1][1] <= right[0][1])
    return left == right or intersection(left, right) == left


def size(domain: Domain) -> int:
    """How many words are in it."""
    return sum(high - low + 1 for low, high in domain)


def points(domain: Domain, limit: int) -> list[int] | None:
    """Its members, or None where there are more than `limit`."""
    if len(domain) > limit or (domain and domain[-1][1] - domain[-1][0] >= limit) or size(domain) > limit:
        return None
    return [value for low, high in domain for value in range(low, high + 1)]


def rotated(domain: Domain, delta: int) -> Domain:
    """Every member plus `delta`, modulo 2**32."""
    moved = []
    for low, high in domain:
        if high - low == WORD:
            return EVERYTHING
        start, end = (low + delta) & WORD, (high + delta) & WORD
        moved += [(start, end)] if start <= end else [(start, WORD), (0, end)]
    return normalise(moved)


def negated(domain: Domain) -> Domain:
    """Minus every member, modulo 2**32."""
    mirrored = []
    for low, high in domain:
        if low == 0:
            mirrored.append((0, 0))
            low = 1  # noqa: PLW2901 - zero is its own mirror image
        if low <= high:
            mirrored.append((WORD + 1 - high, WORD + 1 - low))
    return normalise(mirrored)


def common_bits(domain: Domain) -> tuple[int, int]:
    """The bits in which all members agree: (mask, value).

    Exact for sets of up to 16 members; else what the first and the last member have in common from the top.
    """
    first, last = domain[0][0], domain[-1][1]
    few = points(domain, 16) if len(domain) > 1 else None
    if few is None:
        differing = (1 << (first ^ last).bit_length()) - 1
    else:
        differing = 0
        for value in few:
            differing |= value ^ first
    return WORD & ~differing, first & ~differing
