"""Kernel integrity: unexplained bytes over boots with KASLR, changed bytes that are found, and what a look costs."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from beat_bridge.model.kernel import Hook
from beat_bridge.sensors.hypervisor.looking import Introspection
from beat_bridge.sensors.hypervisor.memory.layout import q35
from beat_bridge.sensors.hypervisor.memory.ram_file import RamFile
from beat_bridge.sensors.hypervisor.symbols.profile import load_profile
from tests.bench.figures import Figure, seconds
from tests.lab.guest import RELEASES, Guest, accelerator, image, plants
from tests.lab.guest.bytes_changed import stopped

_BOOTS = 10
_CHANGES = 60
_LOOKS = 9
_FIRST_TARGET, _PASS_TARGET = 300, 30
_SURFACES = ("kernel_text", "syscall_dispatch", "read_only_data", "module_text")


def figures() -> Sequence[Figure]:
    """Of each release: ten boots, a busy guest included, and sixty changed bytes in the last."""
    return [figure for release in RELEASES for figure in _of(release)]


def _of(release: str) -> Iterator[Figure]:
    booted = image(release)
    unexplained, slides, first, later = 0, set[int](), list[float](), list[float]()
    found = 0
    with TemporaryDirectory() as cache:
        for boot in range(_BOOTS):
            with Guest(booted, accelerated_by=accelerator(booted)) as guest, ExitStack() as stack:
                memory = RamFile(guest.ram_file, q35(guest.memory))
                stack.callback(memory.close)
                profile = load_profile(guest.kernel_image, memory, Path(cache))
                slides.add(profile.kernel_offset)
                watched = Introspection(memory, profile)
                start = time.perf_counter()
                unexplained += len(_changed(watched))
                first.append(time.perf_counter() - start)
                later += seconds(watched.look, _LOOKS)
                with plants.program(guest, "bustle"):
                    unexplained += sum(len(_changed(watched)) for _ in range(_LOOKS))
                if boot == _BOOTS - 1:
                    found = _found(guest, watched)
    yield Figure(
        name=f"places with unexplained bytes, {release}",
        value=unexplained,
        unit="places",
        target="0",
        met=unexplained == 0,
        note=f"{_BOOTS} boots at {len(slides)} places, {1 + _LOOKS} looks each, {_LOOKS} of them at a busy guest",
    )
    yield Figure(
        name=f"changed bytes of code found with their function, {release}",
        value=found,
        unit="bytes",
        target=f"{_CHANGES} of {_CHANGES}",
        met=found == _CHANGES,
        note="one at a time, chosen at random",
    )
    for name, times, target in (("first look", first, _FIRST_TARGET), ("later looks", later, _PASS_TARGET)):
        median = statistics.median(times) * 1000
        note = f"the whole pass; fastest {min(times) * 1000:.0f} ms"
        yield Figure(
            name=f"{name}, {release}",
            value=median,
            unit="ms",
            target=f"<= {target} ms",
            met=median <= target,
            note=note,
        )


def _changed(watched: Introspection) -> list[Hook]:
    hooks = watched.look().hooks
    return [hook for hook in hooks if hook.surface in _SURFACES and hook.actual != hook.expected and not hook.explained]


def _found(guest: Guest, watched: Introspection) -> int:
    found = 0
    with stopped(guest) as still:
        for number, place in enumerate(still.places(_CHANGES, seed=len(guest.kernel_release))):
            with still.changed(place.address, still.flipped(place, number)):
                names = [hook.symbol.partition("+")[0] for hook in _changed(watched)]
            found += names == [place.function] or names in ([name] for name in still.names(place.start))
    return found
