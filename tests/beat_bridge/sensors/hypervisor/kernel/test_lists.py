"""Lists that a guest has made to mislead end, and say that they were not whole."""

from collections.abc import Iterator

from drgn import FaultError
from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.sensors.hypervisor.kernel.lists import TornWalkError, hlist_for_each, list_for_each
from tests.beat_bridge.sensors.hypervisor.kernel.parts import BASE, Bytes, mapped, program

_HEAD = 0x8000
_FIRST = 0x9000


def _entry(number: int) -> int:
    return _FIRST + 32 * number


def _chain(memory: Bytes, order: list[int], last: int) -> None:
    places = [_HEAD, *map(_entry, order)]
    for place, following in zip(places, [*(BASE + each for each in places[1:]), last], strict=True):
        memory.put(place, following)


def _walked(walk: Iterator[int]) -> tuple[list[int], FaultError | None]:
    """What a walk yields, and the fault it ends with."""
    seen = []
    try:
        for node in walk:
            seen.append(node)  # noqa: PERF402 - what came before the fault counts
    except FaultError as error:
        return seen, error
    return seen, None


@given(order=st.permutations(range(30)))
def test_whole_lists_are_walked_in_order(order: list[int]) -> None:
    """Every entry comes once, in the order of its links, of lists and of hash lists."""
    memory = mapped()
    expected = [BASE + _entry(number) for number in order]
    _chain(memory, order, BASE + _HEAD)
    assert list(list_for_each(program(memory), BASE + _HEAD)) == expected
    _chain(memory, order, 0)
    assert list(hlist_for_each(program(memory), BASE + _HEAD)) == expected


@given(order=st.permutations(range(20)), back=st.integers(0, 19))
def test_a_circle_ends(order: list[int], back: int) -> None:
    """A list that comes back to one of its entries yields each once and then says that it is torn."""
    memory = mapped()
    _chain(memory, order, BASE + _entry(order[back]))
    for walk in (list_for_each, hlist_for_each):
        seen, error = _walked(walk(program(memory), BASE + _HEAD))
        assert isinstance(error, TornWalkError)
        assert "comes back" in str(error)
        assert len(seen) == len(set(seen)) == 20


@given(order=st.permutations(range(5)), wild=st.integers(0, (1 << 64) - 1))
def test_a_wild_pointer_ends_the_walk(order: list[int], wild: int) -> None:
    """Whatever the last link holds, the good entries come and the walk ends, by itself or with a fault."""
    memory = mapped()
    _chain(memory, order, wild)
    seen, _ = _walked(list_for_each(program(memory), BASE + _HEAD))
    assert seen[:5] == [BASE + _entry(number) for number in order]
