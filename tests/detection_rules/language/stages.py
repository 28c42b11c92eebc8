"""Sequences found the other way: stage by stage over all events, as Elasticsearch's own engine works.

The product goes through the events once and keeps a state machine. This goes through the stages, keeps every pending
sequence in a list for each stage, and takes from it what lies before the event: slow, and without any state to bound.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Fits = Callable[[str], bool]


@dataclass(frozen=True)
class Query:
    """What is looked for. Each item has a letter; those in `missing` must not happen."""

    items: tuple[str, ...]
    missing: tuple[bool, ...]
    span: int | None
    until: str | None


def sequences(query: Query, letters: Sequence[str], times: Sequence[int]) -> list[tuple[int, ...]]:
    """The places of the events of every match, from 0; `letters` in the order of their `times`."""
    positive = [at for at, missing in enumerate(query.missing) if not missing]
    pending: list[list[int]] = [[at] for at, letter in enumerate(letters) if letter == query.items[positive[0]]]
    for stage in positive[1:]:
        following: list[list[int]] = []
        for at, letter in enumerate(letters):
            if letter != query.items[stage]:
                continue
            before = [sequence for sequence in pending if sequence[-1] < at]
            if not before:
                continue
            pending = [sequence for sequence in pending if sequence[-1] >= at]
            newest = max(before, key=lambda sequence: sequence[-1])
            if query.span is not None and times[at] - times[newest[0]] > query.span:
                continue
            ends = [place for place in range(at) if letters[place] == query.until]
            if ends and ends[-1] >= newest[-1]:
                continue
            following.append([*newest, at])
        pending = following
    return sorted(tuple(sequence) for sequence in pending if not _broken(query, positive, sequence, letters, times))


def _broken(
    query: Query, positive: list[int], sequence: list[int], letters: Sequence[str], times: Sequence[int]
) -> bool:
    span = query.span or 0
    for item, missing in enumerate(query.missing):
        if not missing:
            continue
        before = [sequence[at] for at, stage in enumerate(positive) if stage < item]
        after = [sequence[at] for at, stage in enumerate(positive) if stage > item]
        for at, letter in enumerate(letters):
            if letter != query.items[item]:
                continue
            behind = at > before[-1] if before else times[at] >= times[sequence[-1]] - span and at < sequence[0]
            ahead = at < after[0] if after else times[at] <= times[sequence[0]] + span and at > sequence[-1]
            if behind and ahead:
                return True
    return False
