"""Lists that a guest has made to mislead end, and say that they were not whole."""

from collections.abc import Callable, Iterator

import pytest
from drgn import FaultError
from hypothesis import assume, given
from hypothesis import strategies as st

from beat_bridge.sensors.hypervisor.kernel.lists import TornWalkError, hlist_for_each, list_for_each
from tests.beat_bridge.sensors.hypervisor.kernel.parts import BASE, Bytes, mapped, program

_HEAD = 0x8000
_FIRST = 0x9000
_ORDER = st.permutations(range(20))


def _entry(number: int) -> int:
    return _FIRST + 32 * number


def _chain(memory: Bytes, order: list[int], *, circular: bool) -> list[int]:
    """A list as the kernel links it: the physical addresses of its entries, in order."""
    entries = [_entry(number) for number in order]
    for before, at, after in zip([_HEAD, *entries], entries, [*entries[1:], None], strict=False):
        last = BASE + _HEAD if circular else 0
        memory.put(at, last if after is None else BASE + after, BASE + before)
    memory.put(_HEAD, BASE + entries[0], BASE + entries[-1])
    return entries


def _walked(walk: Iterator[int]) -> tuple[list[int], FaultError | None]:
    """What a walk yields, and the fault it ends with."""
    seen = []
    try:
        for node in walk:
            seen.append(node - BASE)  # noqa: PERF401 - what came before the fault counts
    except FaultError as error:
        return seen, error
    return seen, None


def _list(memory: Bytes) -> tuple[list[int], FaultError | None]:
    return _walked(list_for_each(program(memory), BASE + _HEAD))


def _hlist(memory: Bytes) -> tuple[list[int], FaultError | None]:
    return _walked(hlist_for_each(program(memory), BASE + _HEAD))


@given(order=_ORDER)
def test_whole_lists_are_walked_in_order(order: list[int]) -> None:
    """Every entry comes once, in the order of its links, of lists and of hash lists."""
    memory = mapped()
    entries = _chain(memory, order, circular=True)
    assert _list(memory) == (entries, None)
    _chain(memory, order, circular=False)
    assert _hlist(memory) == (entries, None)


@given(order=_ORDER, place=st.integers(0, 19), to=st.integers(0, 20))
def test_a_link_that_leads_elsewhere_in_the_list_is_noticed(order: list[int], place: int, to: int) -> None:
    """Whichever entry a link leads to instead of the next, forwards, backwards or to the head, the walk says so."""
    memory = mapped()
    entries = _chain(memory, order, circular=True)
    targets = [*entries, _HEAD]
    assume(to != place + 1)
    memory.put(entries[place], BASE + targets[to])
    seen, error = _list(memory)
    assert isinstance(error, TornWalkError)
    assert seen[: place + 1] == entries[: place + 1]
    assert len(seen) == len(set(seen))


@given(order=_ORDER, place=st.integers(0, 19), to=st.integers(0, 19))
def test_a_link_that_leads_elsewhere_in_a_hash_list_is_noticed(order: list[int], place: int, to: int) -> None:
    """The same of hash lists, whose end leads nowhere."""
    memory = mapped()
    entries = _chain(memory, order, circular=False)
    assume(to != place + 1)
    memory.put(entries[place], BASE + entries[to])
    seen, error = _hlist(memory)
    assert isinstance(error, TornWalkError)
    assert seen == entries[: place + 1]


@given(order=_ORDER, wild=st.integers(0, (1 << 64) - 1))
def test_a_wild_pointer_ends_the_walk(order: list[int], wild: int) -> None:
    """Whatever the last link holds but the head, the good entries come and the walk ends with a fault."""
    memory = mapped()
    entries = _chain(memory, order, circular=True)
    assume(wild != BASE + _HEAD)
    memory.put(entries[-1], wild)
    seen, error = _list(memory)
    assert seen[: len(entries)] == entries
    assert error is not None


def test_an_empty_head_before_a_full_list_is_noticed() -> None:
    """A head that leads to itself while its last entry is elsewhere is no empty list; one that does so both ways is."""
    memory = mapped()
    _chain(memory, list(range(3)), circular=True)
    memory.put(_HEAD, BASE + _HEAD)
    assert isinstance(_list(memory)[1], TornWalkError)
    memory.put(_HEAD, BASE + _HEAD, BASE + _HEAD)
    assert _list(memory) == ([], None)


class _Running(Bytes):
    """A guest that changes its list when a certain place has been read."""

    def __init__(self, at: int, change: Callable[[Bytes], None]) -> None:
        super().__init__(1 << 20)
        self.ram[:] = mapped().ram
        self._at = at
        self._change = change

    def read(self, address: int, size: int) -> bytes:
        """As PhysicalMemory."""
        data = super().read(address, size)
        if address <= self._at < address + size:
            self._at = -1
            self._change(self)
        return data


def _spread(memory: Bytes) -> None:
    """Three entries, each in a page of its own."""
    for before, at, after in ((_HEAD, 0x9000, 0xA000), (0x9000, 0xA000, 0xB000), (0xA000, 0xB000, _HEAD)):
        memory.put(at, BASE + after, BASE + before)
    memory.put(_HEAD, BASE + 0x9000, BASE + 0xB000)


def _insert(memory: Bytes, before: int, after: int) -> None:
    memory.put(0xC000, BASE + after, BASE + before)
    memory.put(before, BASE + 0xC000)
    memory.put(after + 8, BASE + 0xC000)


@pytest.mark.parametrize("place", [(0x9000, 0xA000), (0xB000, _HEAD)])
def test_an_entry_that_is_added_meanwhile_tears_nothing(place: tuple[int, int]) -> None:
    """Neighbours between which a running guest puts a new entry, after one of them was read, are no torn list."""
    memory = _Running(place[0], lambda ram: _insert(ram, *place))
    _spread(memory)
    assert _list(memory) == ([0x9000, 0xA000, 0xB000], None)


def test_an_entry_that_leaves_meanwhile_is_noticed() -> None:
    """An entry that is taken out and poisoned after the one before it was read is told, for the walk to begin anew."""

    def remove(ram: Bytes) -> None:
        ram.put(0x9000, BASE + 0xB000)
        ram.put(0xB008, BASE + 0x9000)
        ram.put(0xA008, 0xDEAD_0000_0000_0122)  # LIST_POISON2

    memory = _Running(0x9000, remove)
    _spread(memory)
    seen, error = _list(memory)
    assert seen == [0x9000]
    assert isinstance(error, TornWalkError)
    assert "changes while" in str(error)
