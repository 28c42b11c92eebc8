"""One key's state of an EQL sample: a different event for every item, in whatever order they happen."""

from typing import Final

from detection_rules.language.occurrences import Occurrence

MOST_SAMPLED: Final = 50
"""Items of one sample."""


class SampleMachine:
    """The events of one key; it completes once, as Elasticsearch returns one sample for each key."""

    __slots__ = ("_held", "touched")

    def __init__(self) -> None:
        self.touched = 0
        """When it last got an event, on the matcher's clock."""
        self._held: list[Occurrence] | None = []

    def take(self, items: int, event: Occurrence) -> tuple[Occurrence, ...] | None:
        """Add an event; the events of the items, in the order of the items, where they are complete now.

        An item never needs more than `items` events to choose from: the others take one each.
        """
        held = self._held
        if held is None:
            return None
        if event.reference is not None and any(known.reference == event.reference for known in held):
            return None  # delivered twice
        useful = [
            bit for bit in range(items) if event.stages >> bit & 1 and sum(k.stages >> bit & 1 for k in held) < items
        ]
        if not useful:
            return None
        held.append(event)
        chosen = _assign(items, held)
        if chosen is not None:
            self._held = None
        return chosen


def _assign(items: int, held: list[Occurrence]) -> tuple[Occurrence, ...] | None:
    """A different event for each item, by augmenting paths; None where there is none."""
    taken: dict[int, int] = {}  # event -> item

    def place(item: int, tried: set[int]) -> bool:  # its depth is at most MOST_SAMPLED
        for at, event in enumerate(held):
            if event.stages >> item & 1 and at not in tried:
                tried.add(at)
                if at not in taken or place(taken[at], tried):
                    taken[at] = item
                    return True
        return False

    if not all(place(item, set()) for item in range(items)):
        return None
    by_item = {item: held[at] for at, item in taken.items()}
    return tuple(by_item[item] for item in range(items))
