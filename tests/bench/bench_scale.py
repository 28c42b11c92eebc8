"""How the cost of looking from below grows: with processes, with memory, and with the guests that are watched."""

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

from beat_bridge.sensors.hypervisor.guests.qmp import open_qmp
from beat_bridge.sensors.hypervisor.sight import Sight
from tests.bench.figures import Figure, seconds
from tests.lab.guest import Guest, image, plants

MIB = 1 << 20
_RELEASE = "bookworm"
_CROWDS = (100, 1000, 5000)
_SIZES = (512 * MIB, 2048 * MIB, 8192 * MIB)
_GUESTS = 10
_ROUNDS = 5


def figures() -> Sequence[Figure]:
    """All three."""
    return [*_crowds(), *_sizes(), *_many()]


def _sight(guest: Guest, cache: Path) -> Sight:
    return Sight(open_qmp(guest.qmp_path).memory, kernels=(guest.kernel_image,), cache_dir=cache)


def _crowds() -> Iterator[Figure]:
    """One guest, ever more processes in it: what each costs."""
    before: tuple[int, float] | None = None
    with (
        TemporaryDirectory() as cache,
        Guest(image(_RELEASE), memory=2048 * MIB) as guest,
        closing(_sight(guest, Path(cache))) as sight,
    ):
        for crowd in _CROWDS:
            with plants.program(guest, "crowd", str(crowd)):
                count = len(sight.look().processes)
                median = statistics.median(seconds(sight.look, _ROUNDS)) * 1000
            grown = (
                ""
                if before is None
                else (f"; {count / before[0]:.1f} times the processes cost {median / before[1]:.1f} times as much")
            )
            yield Figure(
                name=f"full pass, {crowd:,} more processes",
                value=median,
                unit="ms",
                target="",
                met=None,
                note=f"{count:,} processes, {median * 1000 / count:.0f} us each{grown}",
            )
            before = (count, median)


def _sizes() -> Iterator[Figure]:
    """Ever larger guests, equally idle: from the first look, which searches RAM, to those that follow."""
    smallest = 0.0
    for size in _SIZES:
        with TemporaryDirectory() as cache, Guest(image(_RELEASE), memory=size) as guest:
            with closing(_sight(guest, Path(cache))) as sight:
                sight.look()  # the kernel is in the cache from now on
            with closing(_sight(guest, Path(cache))) as sight:
                first = seconds(sight.look, 1, 0)[0] * 1000
                median = statistics.median(seconds(sight.look, _ROUNDS)) * 1000
        smallest = smallest or median
        yield Figure(
            name=f"full pass, a guest of {size / (1024 * MIB):g} GiB, idle",
            value=median,
            unit="ms",
            target="",
            met=None,
            note=f"the first look {first:.0f} ms; {median / smallest:.2f} times the pass over {_SIZES[0] // MIB} MiB",
        )


def _many() -> Iterator[Figure]:
    """Ten guests, looked at in turn by one process."""
    with TemporaryDirectory() as cache, ExitStack() as stack:
        guests = [stack.enter_context(Guest(image(_RELEASE), memory=256 * MIB)) for _ in range(_GUESTS)]
        sights = [stack.enter_context(closing(_sight(guest, Path(cache)))) for guest in guests]
        for sight in sights:
            sight.look()
        rounds, spent = [], []
        for _ in range(_ROUNDS):
            began, processor = time.perf_counter(), time.process_time()
            for sight in sights:
                sight.look()
            rounds.append(time.perf_counter() - began)
            spent.append(time.process_time() - processor)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    yield Figure(
        name=f"{_GUESTS} guests of 256 MiB, one look at each",
        value=statistics.median(rounds) * 1000,
        unit="ms",
        target="",
        met=None,
        note=f"{statistics.median(spent) * 1000:.0f} ms of processor time: {statistics.median(spent) * 10:.1f}% of one "
        f"when each is looked at every 10 s; {pages * os.sysconf('SC_PAGE_SIZE') / MIB:.0f} MiB resident with all",
    )
