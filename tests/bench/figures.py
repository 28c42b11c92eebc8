"""A measured figure, its peer from the same run, and the table of them."""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured quantity."""

    name: str
    value: float
    unit: str
    target: str
    """In words, as the promise was given: `<= 150 ms`; empty where there is none."""
    met: bool | None
    """None where there is no target."""
    peer: str = ""
    peer_value: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """What ours is of the peer's, measured in the same run."""
        return None if not self.peer_value else self.value / self.peer_value


def seconds(work: Callable[[], object], runs: int = 9, warm_up: int = 1) -> list[float]:
    """Wall-clock seconds of each of some runs, after a warm-up."""
    for _ in range(warm_up):
        work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def in_turn(ours: Callable[[], object], theirs: Callable[[], object], runs: int = 9) -> tuple[float, float]:
    """Median seconds of two kinds of work, run alternately so that a drifting machine is fair to both."""
    ours(), theirs()
    pairs = [(seconds(ours, 1, 0)[0], seconds(theirs, 1, 0)[0]) for _ in range(runs)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def print_figures(figures: Sequence[Figure]) -> None:
    """Each figure on a line of its own, with what it is measured against below it: names are long, terminals narrow."""
    words = {None: "", True: ": met", False: ": MISSED"}
    for figure in figures:
        sys.stdout.write(f"{figure.value:>12,.4g} {figure.unit:<12} {figure.name}\n")
        below = []
        if figure.target:
            below.append(f"target {figure.target}{words[figure.met]}")
        if figure.peer_value is not None:
            below.append(f"{figure.peer} {figure.peer_value:,.4g} {figure.unit}, ratio {figure.ratio or 0:.3g}")
        below += [figure.note] if figure.note else []
        if below:
            sys.stdout.write(f"{'':26}{'; '.join(below)}\n")
