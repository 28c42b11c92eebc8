"""Made-up histories of hosts: things begin and end whenever they like, looks take their time, and some things hide.

What is checked: nothing that merely began or ended is ever told, and what hid through all looks always is.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.detectors import detect
from beat_bridge.detectors.cross_view import bracketed, compare, confirm, reportable, single
from beat_bridge.model.base import Verdict, Viewpoint
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.model.findings import Finding, FindingKind, Standing
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.kernel import BpfLink, BpfMap, BpfProgram
from tests.inventories.builders import BOOTED, NOON, inventory, module, process, socket

DAY = 1000
"""Seconds of a history; looks lie within."""
ALWAYS = DAY * 2


@dataclass(frozen=True)
class Lived:
    """One thing, from when to when it was there, and whether it hid from inside."""

    kind: str
    number: int
    begun: float
    ended: float
    hidden: bool = False
    unlinked: bool = False
    """It was taken out of one of the kernel's lists when it began."""
    ending: bool = False
    """It is about to be taken out of them."""

    def at(self, moment: float) -> bool:
        """Whether it is there."""
        return self.begun <= moment < self.ended

    @property
    def subject(self) -> str:
        """As findings name it."""
        subject, thing = SUBJECTS[self.kind], MAKERS[self.kind](self, False)
        return subject(thing)


def _process(lived: Lived, inside: bool) -> Any:
    # process ids come again: of a thousand numbers ten are in use
    seen = {"task_list", "pid_table"} - ({"task_list"} if lived.unlinked else set())
    return process(
        100 + lived.number % 10,
        f"/usr/bin/p{lived.number}",
        started_at=NOON.timestamp() + lived.begun,
        start_ticks=round((NOON.timestamp() + lived.begun - BOOTED) * 100),
        seen_by=() if inside else tuple(sorted(seen)),
        state="ended" if lived.ending else "",
    )


def _socket(lived: Lived, inside: bool) -> Any:
    seen = {"descriptor", "packet_sklist"} - ({"packet_sklist"} if lived.unlinked else set())
    return socket(1000 + lived.number, seen_by=("packet_diag",) if inside else tuple(sorted(seen)))


def _module(lived: Lived, inside: bool) -> Any:
    # names come again when a module is loaded anew
    seen = {"module_kset", "module_list", "module_tree"} - ({"module_list"} if lived.unlinked else set())
    return module(
        f"m{lived.number % 3}",
        instance=5000 + lived.number,
        seen_by=("proc_modules",) if inside else tuple(sorted(seen)),
    )


MAKERS: dict[str, Callable[[Lived, bool], Any]] = {
    "process": _process,
    "socket": _socket,
    "module": _module,
    "program": lambda lived, _: BpfProgram(id=1 + lived.number, type="kprobe", tag=f"{lived.number:016x}"),
    "map": lambda lived, _: BpfMap(id=1 + lived.number, type="hash"),
    "link": lambda lived, _: BpfLink(id=1 + lived.number, type="tracing", program_id=1),
}
SUBJECTS: dict[str, Callable[[Any], str]] = {
    "process": lambda thing: f"process:{thing.identity}",
    "socket": lambda thing: f"socket:{thing.inode}",
    "module": lambda thing: f"module:{thing.name}",
    "program": lambda thing: f"bpf_program:{thing.id}",
    "map": lambda thing: f"bpf_map:{thing.id}",
    "link": lambda thing: f"bpf_link:{thing.id}",
}
FEW = {"process": 10, "module": 3}
"""How many names there are that come again."""


@st.composite
def histories(draw: st.DrawFn) -> tuple[Lived, ...]:
    """What was there on one day; names that come again are never used by two at once."""
    things = []
    for number in range(draw(st.integers(0, 30))):
        kind = draw(st.sampled_from(sorted(MAKERS)))
        begun = draw(st.one_of(st.just(-50), st.integers(-50, DAY)))
        ended = draw(st.one_of(st.just(ALWAYS), st.integers(begun + 1, DAY + 1)))
        things.append(Lived(kind, number, begun, ended, draw(st.booleans())))
    return tuple(_without_namesakes(things))


def _without_namesakes(things: Iterable[Lived]) -> Iterator[Lived]:
    last: dict[tuple[str, int], float] = {}
    for thing in sorted(things, key=lambda each: each.begun):
        name = (thing.kind, thing.number % FEW.get(thing.kind, 10**9))
        if last.get(name, -(10**9)) <= thing.begun:
            last[name] = thing.ended
            yield thing


def look(history: Iterable[Lived], begin: float, end: float, viewpoint: Viewpoint, seed: int) -> Inventory:
    """A look that takes from `begin` to `end` and comes to each thing at some moment of its own."""
    moments = Random(seed)  # noqa: S311 - an order, not a secret
    inside = viewpoint is not Viewpoint.HYPERVISOR
    shown = [
        MAKERS[thing.kind](thing, inside)
        for thing in history
        if thing.at(moments.uniform(begin, end)) and not (inside and thing.hidden)
    ]
    return inventory(*shown, viewpoint=viewpoint, taken_at=NOON + timedelta(seconds=begin))


def subjects(findings: Iterable[Finding]) -> set[str]:
    """What findings are about."""
    return {finding.subject for finding in findings}


LOOKS = st.lists(st.integers(1, DAY), min_size=6, max_size=6, unique=True).map(sorted)
SEEDS = st.integers(0, 2**32)


@settings(max_examples=150)
@given(histories(), LOOKS, SEEDS)
def test_hidden_is_what_lived_through_and_was_not_shown(history: tuple[Lived, ...], at: list[int], seed: int) -> None:
    """All that hid through a bracket is told, and nothing that did not hide ever is."""
    before = look(history, at[0], at[1], Viewpoint.HYPERVISOR, seed)
    between = look(history, at[2], at[3], Viewpoint.HOST, seed + 1)
    after = look(history, at[4], at[5], Viewpoint.HYPERVISOR, seed + 2)
    told = compare(before, between, after)
    assert told.findings == bracketed(before, between, after)
    hid = {thing.subject for thing in history if thing.hidden}
    through = {each.subject for each in history if each.hidden and each.begun <= at[0] and each.ended > at[5]}
    assert through <= subjects(told.findings) <= hid
    assert told.coverage.status is CoverageStatus.COMPLETE or "cannot be told" in told.coverage.detail
    assert {finding.verdict for finding in told.findings} <= {Verdict.SUSPICIOUS}


@settings(max_examples=80)
@given(histories(), LOOKS, st.integers(DAY, DAY + 50), SEEDS)
def test_only_what_still_stands_is_confirmed(history: tuple[Lived, ...], at: list[int], pause: int, seed: int) -> None:
    """Under pause what hid and is still there becomes malicious; what has ended is let go; nothing else comes in."""
    before = look(history, at[0], at[1], Viewpoint.HYPERVISOR, seed)
    between = look(history, at[2], at[3], Viewpoint.AGENT, seed + 1)
    after = look(history, at[4], at[5], Viewpoint.HYPERVISOR, seed + 2)
    found = bracketed(before, between, after)
    settled = confirm(found, look(history, pause, pause, Viewpoint.HYPERVISOR, seed))
    alive = {thing.subject for thing in history if thing.at(pause)}
    assert subjects(settled) == subjects(found) & alive
    assert all(finding.verdict is Verdict.MALICIOUS for finding in settled)
    assert all(finding.standing is Standing.CONFIRMED for finding in settled)


@settings(max_examples=80)
@given(histories(), LOOKS, SEEDS)
def test_what_only_the_inside_shows_is_told(history: tuple[Lived, ...], at: list[int], seed: int) -> None:
    """The other way about: what the inside shows twice and the outside never had; nothing that began or ended."""
    forged = tuple(replace(thing, hidden=False) for thing in history if thing.hidden)
    real = tuple(replace(thing, hidden=False) for thing in history if not thing.hidden)
    before = look((*real, *forged), at[0], at[1], Viewpoint.HOST, seed)
    between = look(real, at[2], at[3], Viewpoint.HYPERVISOR, seed + 1)
    after = look((*real, *forged), at[4], at[5], Viewpoint.HOST, seed + 2)
    found = bracketed(before, between, after)
    through = {each.subject for each in forged if each.begun <= at[0] and each.ended > at[5]}
    real_names = {thing.subject for thing in real}
    assert through - real_names <= subjects(found) <= {thing.subject for thing in forged}
    still = look(real, DAY, DAY, Viewpoint.HYPERVISOR, seed)
    assert all(finding.verdict is Verdict.SUSPICIOUS for finding in confirm(found, still))


@settings(max_examples=100)
@given(histories(), st.lists(st.booleans(), min_size=30, max_size=30), LOOKS, st.integers(DAY, DAY + 50), SEEDS)
def test_lists_that_disagree_are_told_once_confirmed(
    history: tuple[Lived, ...], taken_out: list[bool], at: list[int], pause: int, seed: int
) -> None:
    """A look whose lists were read at different moments makes candidates; a pause keeps what was taken out, alone."""
    moved = tuple(
        replace(thing, unlinked=out and thing.kind in {"process", "socket", "module"})
        for thing, out in zip(history, taken_out, strict=False)
    )
    torn = _torn(moved, at, seed)
    candidates = [finding for finding in detect(torn) if finding.kind is not FindingKind.ORPHAN_SOCKET]
    assert all(finding.standing is Standing.CANDIDATE for finding in candidates)
    assert reportable(candidates) == ()
    settled = confirm(candidates, look(moved, pause, pause, Viewpoint.HYPERVISOR, seed))
    ending = look([replace(each, ending=True) for each in moved], pause, pause, Viewpoint.HYPERVISOR, seed)
    assert not [each for each in confirm(candidates, ending) if each.process is not None]
    out = {thing.subject for thing in moved if thing.unlinked}
    stayed = {each.subject for each in moved if each.unlinked and each.begun <= at[0] and each.ended > pause}
    assert stayed <= subjects(settled) <= out
    assert all(finding.verdict is Verdict.MALICIOUS for finding in settled)


HALF = st.lists(
    st.tuples(
        st.sampled_from(["beginning", "ended"]),
        st.sampled_from(
            [("task_list",), ("pid_table",), ("run_queue",), ("pid_table", "run_queue"), ("task_list", "pid_table")]
        ),
        st.booleans(),
    ),
    max_size=5,
)
"""Processes that stand in the middle of beginning or ending all day long: what they say of themselves, the lists that
show them by then, and whether they are kernel threads."""


@settings(max_examples=100)
@given(histories(), HALF, LOOKS, st.integers(DAY, DAY + 50), SEEDS)
def test_what_stands_in_the_middle_of_beginning_or_ending_is_never_told(
    history: tuple[Lived, ...], half: list[tuple[str, tuple[str, ...], bool]], at: list[int], pause: int, seed: int
) -> None:
    """However long its processor is given no time, in each look and under pause, it is neither told nor passed over."""
    stuck = tuple(
        process(
            300 + number,
            f"/usr/bin/half{number}",
            state=state,
            seen_by=tuple(sorted(seen_by)),
            kernel_thread=kernel_thread,
        )
        for number, (state, seen_by, kernel_thread) in enumerate(half)
    )

    def outside(begin: int, end: int, seed: int) -> Inventory:
        seen = look(history, begin, end, Viewpoint.HYPERVISOR, seed)
        return msgspec.structs.replace(seen, processes=(*seen.processes, *stuck))

    before, after, still = outside(at[0], at[1], seed), outside(at[4], at[5], seed + 2), outside(pause, pause, seed)
    told = compare(before, look(history, at[2], at[3], Viewpoint.HOST, seed + 1), after)
    found = (*told.findings, *(each for seen in (before, after) for each in detect(seen)))
    names = {f"process:{each.identity}" for each in stuck}
    assert not names & subjects(each for each in found if each.kind is FindingKind.HIDDEN_PROCESS)
    assert not names & subjects(confirm(found, still))
    assert bool(stuck) <= ("cannot be told" in told.coverage.detail)


def _torn(history: Iterable[Lived], at: list[int], seed: int) -> Inventory:
    """One look from outside that reads each list at a moment of its own, early or late."""
    moments = Random(seed)  # noqa: S311 - an order, not a secret
    lists = ("task_list", "pid_table", "descriptor", "packet_sklist", "module_kset", "module_list", "module_tree")
    when = {name: moments.uniform(at[0], at[5]) for name in lists}
    shown = []
    for thing in history:
        made = MAKERS[thing.kind](thing, False)
        if hasattr(made, "seen_by"):
            made = msgspec.structs.replace(made, seen_by=tuple(n for n in made.seen_by if thing.at(when[n])))
            if not made.seen_by:
                continue
        shown.append(made)
    return inventory(*shown, viewpoint=Viewpoint.HYPERVISOR)


@settings(max_examples=100)
@given(histories(), LOOKS, SEEDS)
def test_one_sample_tells_processes_alone(history: tuple[Lived, ...], at: list[int], seed: int) -> None:
    """With one look from each side only processes that began before are told; the rest is said to be undecided."""
    inside = look(history, at[0], at[1], Viewpoint.HOST, seed)
    image = look(history, at[2], at[2], Viewpoint.HYPERVISOR, seed)
    told = single(inside, image)
    hid = {thing.subject for thing in history if thing.hidden and thing.kind == "process"}
    through = {
        each.subject
        for each in history
        if each.hidden and each.kind == "process" and each.begun <= at[0] - 3 and each.ended > at[2]
    }
    assert through <= subjects(told.findings) <= hid
    unlike = [each for each in history if each.hidden and each.kind != "process" and each.at(at[2])]
    assert bool(unlike) <= (told.coverage.status is not CoverageStatus.COMPLETE)
    assert told.coverage.missed >= len(
        {each.subject for each in unlike} - {each.subject for each in history if not each.hidden}
    )
