"""A guest owns every byte that is read: whatever it writes there, a look ends, and never with a traceback."""

import random
import struct
from collections import Counter
from collections.abc import Sequence

import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Reason
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.model.inventory import Inventory, decode, encode
from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.looking import SENSORS, Introspection
from beat_bridge.sensors.hypervisor.memory import PhysicalMemory, Region
from beat_bridge.sensors.hypervisor.memory.paging import PAGE_SIZE, AddressSpace
from beat_bridge.sensors.hypervisor.symbols.profile import Profile, load_profile
from tests.beat_bridge.sensors.hypervisor.kernel.conftest import Watched

RUNS = 300
_WORD = struct.Struct("<Q")


class Corrupted:
    """A guest's RAM, of which some words are others. A page that was read stays the same, as in a saved image."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory
        self._saved: dict[tuple[int, int], bytes] = {}
        self.words: dict[int, int] = {}
        """Physical address to what is read there instead."""

    def values(self) -> list[int]:
        """Words that were read and look like addresses of the kernel."""
        whole = [data for data in self._saved.values() if len(data) % 8 == 0]
        return [word for data in whole for (word,) in _WORD.iter_unpack(data) if word > 0xFFFF_0000_0000_0000]

    def read(self, address: int, size: int) -> bytes:
        """As PhysicalMemory."""
        data = self._saved.get((address, size))
        if data is None:
            data = self._saved[address, size] = self._memory.read(address, size)
        hit = [at for at in self.words if address <= at < address + size]
        if not hit:
            return data
        changed = bytearray(data)
        for at in hit:
            changed[at - address : at - address + 8] = _WORD.pack(self.words[at])[: size - (at - address)]
        return bytes(changed)

    def regions(self) -> Sequence[Region]:
        """As PhysicalMemory."""
        return self._memory.regions()

    def populated(self) -> Sequence[Region]:
        """As PhysicalMemory."""
        return self._memory.populated()

    def refresh(self) -> None:
        """As PhysicalMemory."""

    def pause(self) -> None:
        """As PhysicalMemory."""

    def resume(self) -> None:
        """As PhysicalMemory."""

    def close(self) -> None:
        """As PhysicalMemory."""


def corrupted_looks(memory: PhysicalMemory, profile: Profile, runs: int, seed: int) -> Counter[str]:
    """Look at a guest again and again, each time with other words changed among those that a look reads.

    Returns:
        How often a look gave an inventory with gaps, one without, and none at all.
    """
    chance = random.Random(seed)  # noqa: S311 - the same ones each time
    corrupted = Corrupted(memory)
    introspection = Introspection(corrupted, profile, budget_seconds=5)
    reads, values = _recorded(introspection), corrupted.values()
    outcomes: Counter[str] = Counter()
    for _ in range(runs):
        corrupted.words = {}
        for _ in range(chance.choice((1, 1, 2, 5, 20, 100))):
            address, size = chance.choice(reads)
            at = address + chance.randrange(max(size // 8, 1)) * 8
            wild = (chance.getrandbits(64), 0, 1, (1 << 64) - 1, chance.getrandbits(16), chance.choice(values))
            corrupted.words[at] = chance.choice((*wild, *(chance.choice(values) for _ in range(4))))
        try:
            seen = introspection.look()
        except DoorwatchError:
            outcomes["refused"] += 1
            continue
        assert decode(encode(seen), "a look at a corrupted guest") == seen
        _check_account(seen)
        outcomes["gaps" if any(each.sensor in SENSORS for each in seen.gaps) else "whole"] += 1
    return outcomes


def _recorded(introspection: Introspection) -> Sequence[tuple[int, int]]:
    """What a look reads: (physical address, size) of structures and of page table entries."""
    space = view(introspection._prog).space
    found: dict[tuple[int, int], None] = {}

    def read(address: int, size: int) -> bytes:
        data = AddressSpace.read(space, address, size)
        found[space.translate(address), size] = None
        return data

    space.read = read  # type: ignore[method-assign] # for one look
    try:
        introspection.look()
    finally:
        del space.read
    # of a table of page frames, any entry
    return [*found, *((table, PAGE_SIZE) for table in space._tables)]


def _check_account(seen: Inventory) -> None:
    """Every sensor gives one account, and each that is not complete says why."""
    assert [each.sensor for each in seen.coverage] == [*SENSORS, "pid_files"]
    for each in seen.coverage:
        assert (each.status is CoverageStatus.COMPLETE) == (each.reason is None) == (not each.detail)
        assert "\n" not in each.detail


@pytest.mark.guest
def test_random_corruption_never_breaks_a_look(watched: Watched) -> None:
    """Hundreds of looks at corrupted memory all end, with an inventory that tells its gaps or with one clear line."""
    outcomes = corrupted_looks(watched.memory, watched.profile, RUNS, seed=4)
    assert outcomes.total() == RUNS
    assert outcomes["gaps"] > RUNS // 10


@pytest.mark.guest
def test_another_kernel_in_its_place_is_one_line(watched: Watched) -> None:
    """A guest whose kernel is not where it was gives a line that says so, and no inventory."""
    corrupted = Corrupted(watched.memory)
    introspection = Introspection(corrupted, watched.profile)
    corrupted.words = {watched.profile.physical(watched.profile.address("linux_banner")): 0}
    with pytest.raises(DoorwatchError, match="restarted"):
        introspection.look()


@pytest.mark.guest
def test_without_an_image_the_code_is_not_called_clean(watched: Watched) -> None:
    """A profile out of the guest's own RAM sees the same things, and says that code could not be compared."""
    alone = Introspection(watched.memory, load_profile(None, watched.memory)).look()
    whole = watched.look()
    assert {process.pid for process in whole.processes if process.seen_by} >= {1}
    assert {module.name for module in alone.modules} == {module.name for module in whole.modules}
    (coverage,) = (each for each in alone.coverage if each.sensor == "kernel_hooks")
    assert (coverage.status, coverage.reason) == (CoverageStatus.PARTIAL, Reason.UNSUPPORTED)
    assert "give the image" in coverage.detail


@pytest.mark.guest
def test_a_pass_that_takes_too_long_is_cut_short_and_says_so(watched: Watched) -> None:
    """With no time at all nothing is seen, and no sensor calls that complete."""
    seen = Introspection(watched.memory, watched.profile, budget_seconds=1e-4)
    with pytest.raises(DoorwatchError, match="longer than it may"):
        seen.look()
    briefly = Introspection(watched.memory, watched.profile)
    whole = briefly.look()
    briefly._budget = 0.004
    cut = briefly.look()
    assert len(cut.processes) <= len(whole.processes)
    late = [each for each in cut.gaps if each.reason is Reason.FAILED]
    assert late
    assert "longer than it may" in late[-1].detail
