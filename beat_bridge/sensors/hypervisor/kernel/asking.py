"""Asking again: a running guest changes while it is looked at, and what ends in the middle of a look reads as torn.

What cannot be read is asked for once more, in memory read anew, after the list that showed it has been walked anew.
What is in no list by then has ended and is no gap; what is still there and still cannot be read is one.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

from drgn import FaultError, Program

from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.program import view

_Key = TypeVar("_Key")
_Found = TypeVar("_Found")
_WALKS = 4
"""Times that a list is walked at most: the scheduler's change many times in a millisecond."""


def walked(prog: Program, walk: Callable[[], Iterable[_Found]], what: str, gaps: Gaps) -> list[_Found]:
    """All that a walk yields; where it breaks off, it begins anew, a few times.

    Args:
        prog: The guest.
        walk: Begins the walk.
        what: It goes over, for the account.
        gaps: Takes what the last walk could not reach either.
    """
    broken_off: dict[_Found, None] = {}
    with gaps.question(what):
        for remaining in reversed(range(_WALKS)):
            found: list[_Found] = []
            try:
                for each in walk():
                    found.append(each)  # noqa: PERF402 - what came before a fault counts
            except FaultError:
                broken_off.update(dict.fromkeys(found))
                if not remaining:
                    raise
                view(prog).again()
            else:
                return found
    return list(broken_off)


def read_each(
    prog: Program,
    keys: Iterable[_Key],
    read: Callable[[_Key], _Found],
    there: Callable[[Collection[_Key]], Iterable[_Key]],
) -> Iterator[tuple[_Key, _Found | FaultError]]:
    """Read objects that lists have shown.

    Args:
        prog: The guest.
        keys: Which.
        read: Reads one; may raise FaultError.
        there: Which of those that could not be read still exist; asked at most once, after memory was read anew.

    Yields:
        (key, what was read), and for what exists and could not be read the second time either, (key, the fault).
    """
    failed: list[_Key] = []
    for key in keys:
        try:
            found = read(key)
        except FaultError:
            failed.append(key)
        else:
            yield key, found
    if not failed:
        return
    view(prog).again()
    for key in there(failed):
        try:
            found = read(key)
        except FaultError as error:
            yield key, error
        else:
            yield key, found


def listed(walk: Callable[[], Iterable[_Key]]) -> Callable[[Collection[_Key]], Iterable[_Key]]:
    """For `read_each`: those that a walk shows, begun anew; where it breaks off, all count as being there."""

    def there(keys: Collection[_Key]) -> Iterable[_Key]:
        shown = Gaps()
        found = set(shown.whole(walk(), "a second walk"))
        return [key for key in keys if key in found] if shown.complete else keys

    return there
