"""What changes while it is looked at is asked for again; what stays unreadable is told."""

from collections.abc import Collection, Iterator

import pytest
from drgn import FaultError

from beat_bridge.model.base import Reason
from beat_bridge.sensors.hypervisor.kernel.asking import listed, read_each, walked
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.program import view
from tests.beat_bridge.sensors.hypervisor.kernel.parts import BASE, mapped, program

PROG = program(mapped())


def _failing(times: int, items: str = "abc", good: int = 1) -> Iterator[Iterator[str]]:
    """Walks over letters, the first ones of which break off behind the first few."""

    def walk(number: int) -> Iterator[str]:
        yield from items[:good]
        if number < times:
            raise FaultError("torn", number)
        yield from items[good:]

    return (walk(number) for number in range(100))


@pytest.mark.parametrize("times", range(4))
def test_a_walk_that_breaks_off_begins_anew(times: int) -> None:
    """Up to three broken walks are forgotten for one that is whole, and leave no gap."""
    gaps, walks = Gaps(), _failing(times)
    assert walked(PROG, lambda: next(walks), "letters", gaps) == list("abc")
    assert gaps.complete


def test_a_walk_that_never_ends_well_is_a_gap() -> None:
    """What broken walks met is kept, and that they broke off is told once."""
    gaps, walks = Gaps(), _failing(100)
    assert walked(PROG, lambda: next(walks), "letters", gaps) == ["a"]
    assert (gaps.listed, gaps.missed, gaps.reason) == (False, 1, Reason.FAILED)
    assert gaps.detail.startswith("letters: torn")


def test_memory_is_read_anew_for_another_walk() -> None:
    """A page that was remembered from before the fault is not what the next walk sees."""
    memory = mapped()
    prog = program(memory)

    def walk() -> Iterator[int]:
        value = view(prog).read(BASE + 0x8000, 1)[0]
        memory.put(0x8000, 7)
        if value != 7:
            raise FaultError("torn", 0)
        yield value

    gaps = Gaps()
    assert walked(prog, walk, "values", gaps) == [7]
    assert gaps.complete


def test_what_no_kernel_of_this_kind_has_is_not_asked_for_again() -> None:
    """A missing symbol or member is told as not supported, after one walk."""
    gaps, begun = Gaps(), []

    def walk() -> Iterator[str]:
        begun.append(1)
        yield "a"
        raise LookupError("no such member")

    assert walked(PROG, walk, "letters", gaps) == []
    assert (len(begun), gaps.listed, gaps.reason) == (1, False, Reason.UNSUPPORTED)


def _reader(failing: dict[str, int]) -> Iterator[tuple[str, str | FaultError]]:
    """Read letters into capitals; each of some faults so many times; `c` is in no list by the second time."""

    def read(key: str) -> str:
        failing[key] = failing.get(key, 0) - 1
        if failing[key] >= 0:
            raise FaultError("gone", 0)
        return key.upper()

    def there(some: Collection[str]) -> list[str]:
        return [key for key in some if key != "c"]

    return read_each(PROG, "abcd", read, there)


def test_what_has_ended_is_no_gap() -> None:
    """Of what cannot be read, what no list shows any more is passed over, the rest is read again, or told."""
    assert list(_reader({})) == [("a", "A"), ("b", "B"), ("c", "C"), ("d", "D")]
    found = dict(_reader({"b": 1, "c": 9, "d": 9}))
    assert (found["a"], found["b"], set(found)) == ("A", "B", {"a", "b", "d"})
    assert isinstance(found["d"], FaultError)


def test_memory_is_read_anew_for_another_try() -> None:
    """What is read the second time is what lies there by then."""
    memory = mapped()
    prog = program(memory)

    def read(key: str) -> str:
        value = view(prog).read(BASE + 0x8000, 1)[0]
        memory.put(0x8000, 7)
        if value != 7:
            raise FaultError("torn", 0)
        return key.upper()

    assert list(read_each(prog, "a", read, list)) == [("a", "A")]


def test_a_list_that_cannot_be_walked_again_excuses_nobody() -> None:
    """Where the second walk breaks off, all that could not be read counts as being there."""
    whole, torn = _failing(0), _failing(9)
    assert list(listed(lambda: next(whole))(["a", "z"])) == ["a"]
    assert list(listed(lambda: next(torn))(["a", "z"])) == ["a", "z"]
