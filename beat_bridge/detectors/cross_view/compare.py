"""A view from inside against one from outside.

**Never a thing that merely began or ended.** Two looks of one view stand around a look of the other: what both outer
looks show as the same thing was there all the time, and the look in between, if it lists everything, had to show it.
The outer look before must have ended when the one between begins, and the one after may begin only when that has ended:
whoever takes the looks sees to it.

`compare` takes either order. Outside, inside, outside finds what the guest hides from itself. Inside, outside, inside
finds what only the guest shows: a forged view, or a thing unhooked from every list that is walked outside.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from beat_bridge.detectors.cross_view.account import SENSOR, Account
from beat_bridge.detectors.cross_view.questions import (
    BPF_LINKS,
    BPF_MAPS,
    BPF_PROGRAMS,
    MODULES,
    PROCESSES,
    SOCKETS,
    Question,
    T,
    lists_all,
)
from beat_bridge.detectors.cross_view.telling import ONLY_INSIDE, RENAMED, difference, view_of
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Reason, Value, Viewpoint
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.findings import Finding, Standing
from beat_bridge.model.inventory import Inventory

START_MARGIN = timedelta(seconds=2)
"""Start times count from the boot time, which is told in whole seconds, twice rounded."""


class Comparison(Value, frozen=True, kw_only=True):
    """What two views say of each other."""

    findings: tuple[Finding, ...]
    coverage: Coverage
    """Of the sensor `cross_view`: what could be compared, and why the rest could not."""

    def told_of(self, look: Inventory) -> Inventory:
        """The look with this comparison's coverage, for documents and for the life of its findings."""
        others = tuple(entry for entry in look.coverage if entry.sensor != SENSOR)
        return msgspec.structs.replace(look, coverage=(*others, self.coverage))


@dataclass(frozen=True, slots=True)
class _Looks:
    """Two looks of one view around a look of another."""

    before: Inventory
    between: Inventory
    after: Inventory
    one_sample: bool = False
    """`before` and `after` are one and the same look, which came later; what it holds began before `between`."""

    @property
    def outside(self) -> bool:
        """The outer ones are from outside the guest."""
        return self.after.viewpoint is Viewpoint.HYPERVISOR

    @property
    def views(self) -> tuple[str, str]:
        """The outer view and the one between, in words."""
        return view_of(self.after), view_of(self.between)


def bracketed(before: Inventory, inside: Inventory, after: Inventory) -> tuple[Finding, ...]:
    """The findings of `compare`, without its coverage."""
    return compare(before, inside, after).findings


def compare(before: Inventory, between: Inventory, after: Inventory) -> Comparison:
    """What both looks of one view show and the look of the other view in between does not, or shows otherwise.

    Args:
        before: Ended before `between` began.
        between: From the other side.
        after: From the same viewpoint as `before`; began after `between` had ended.

    Raises:
        DoorwatchError: The viewpoints are not one around another, or one of the looks is of another boot.
    """
    if before.viewpoint is not after.viewpoint or not _are_two_sides(before, between):
        raise DoorwatchError(
            f"cannot compare looks from {before.viewpoint.value}, {between.viewpoint.value} and "
            f"{after.viewpoint.value}: give two of one side around one of the other (hypervisor, host, hypervisor)"
        )
    _must_be_one_boot(between, after, before)
    account, looks = Account(), _Looks(before, between, after)
    findings = [
        *_bracket(PROCESSES, looks, account),
        *_bracket(SOCKETS, looks, account),
        *_bracket(MODULES, looks, account),
        *_bracket(BPF_PROGRAMS, looks, account),
        *_bracket(BPF_MAPS, looks, account),
        *_bracket(BPF_LINKS, looks, account),
    ]
    return Comparison(findings=tuple(findings), coverage=account.coverage())


def single(inside: Inventory, outside: Inventory, *, imaged_at: datetime | None = None) -> Comparison:
    """One look from inside, and one later look from outside or one memory image taken later.

    A process that began before the look from inside and is there in the later one was there in between. What has no
    start time (sockets, modules, eBPF objects) is told as undecided, never as hidden.

    Args:
        inside: From inside.
        outside: From outside.
        imaged_at: When the memory image was taken; without it, the moment of the look counts, which is right for a
            running guest only.

    Raises:
        DoorwatchError: The viewpoints are the same side, the boots differ, or the image is the older one.
    """
    if not _are_two_sides(outside, inside):
        raise DoorwatchError(
            f"cannot compare looks from {inside.viewpoint.value} and {outside.viewpoint.value}: give one from each side"
        )
    _must_be_one_boot(inside, outside)
    if (imaged_at or outside.taken_at) < inside.taken_at:
        raise DoorwatchError(
            "the look from outside is older than the one from inside, so that nothing can be said of what began in "
            "between: look from outside once more"
        )
    account = Account()
    if _clock_was_set(inside, outside):
        account.lacks(
            Reason.FAILED,
            "processes: the guest's clock was set between the two looks, so that start times cannot be compared: look "
            "from inside once more",
            len(outside.processes),
        )
        outside = msgspec.structs.replace(outside, processes=())
    earlier = msgspec.structs.replace(
        outside,
        processes=tuple(
            process
            for process in outside.processes
            if process.started_at <= (inside.taken_at - START_MARGIN).timestamp()
        ),
    )
    findings = tuple(_bracket(PROCESSES, _Looks(earlier, inside, earlier, one_sample=True), account))
    _undecided(SOCKETS, outside, inside, account)
    _undecided(MODULES, outside, inside, account)
    _undecided(BPF_PROGRAMS, outside, inside, account)
    _undecided(BPF_MAPS, outside, inside, account)
    _undecided(BPF_LINKS, outside, inside, account)
    return Comparison(findings=findings, coverage=account.coverage())


def _clock_was_set(inside: Inventory, outside: Inventory) -> bool:
    """Whether a process that both show began at another date in one than in the other."""
    there = {process.identity: process.started_at for process in outside.processes}
    margin = START_MARGIN.total_seconds()
    return any(
        abs(process.started_at - there[process.identity]) > margin
        for process in inside.processes
        if process.identity in there
    )


def not_compared(look: Inventory) -> Inventory:
    """A look that there was no other view to compare with: its coverage says so."""
    account = Account()
    account.lacks(Reason.ABSENT, "there is no view from the other side: give one to find what only one of them shows")
    return Comparison(findings=(), coverage=account.coverage()).told_of(look)


def _are_two_sides(one: Inventory, other: Inventory) -> bool:
    return (one.viewpoint is Viewpoint.HYPERVISOR) is not (other.viewpoint is Viewpoint.HYPERVISOR)


def _must_be_one_boot(*looks: Inventory) -> None:
    """Of one boot, by its random id. The first look outside may lack it: a kernel makes it when it is first asked."""
    known = {look.host.boot_id for look in looks if look.host.boot_id}
    if len(known) != 1 or not (looks[0].host.boot_id and looks[1].host.boot_id):
        told = ", ".join(look.host.boot_id or "none" for look in looks)
        raise DoorwatchError(f"cannot compare looks unless all are of one boot of one host; their boot ids: {told}")


def _bracket(question: Question[T], looks: _Looks, account: Account) -> Iterator[Finding]:
    first, last = question.compared(looks.before), question.compared(looks.after)
    shown = question.things(looks.between)
    throughout = sorted(first.keys() & last.keys())
    view, other = looks.views
    obstacle = _obstacle(question, looks.between) or _clocks(question, throughout, shown)
    if obstacle:
        account.lacks(*obstacle, count=len(throughout))
        return
    if not lists_all(looks.after, question.sensor):
        account.lacks(Reason.FAILED, f"{question.plural}: {view} does not list them all")
    unseen = unsure = 0
    for subject in throughout:
        thing = last[subject]
        same = question.same(first[subject], thing)
        if subject in shown or same is False:
            account.compared += 1
            clauses = _clauses(question, first[subject], thing, shown.get(subject)) if same else []
            if clauses and looks.outside and not looks.one_sample:
                yield _told_otherwise(question, thing, subject, looks, clauses)
        elif same is None:
            unsure += 1
        elif question.shows(looks.between, thing):
            account.compared += 1
            yield _hidden(question, thing, subject, looks)
        else:
            unseen += 1
    if unsure:
        account.lacks(
            Reason.UNSUPPORTED,
            f"{unsure} {question.plural} are missing from {other}, and it cannot be told whether they were loaded or "
            "removed in the meantime: compare again",
            unsure,
        )
    if unseen:
        account.lacks(Reason.FAILED, f"{unseen} {question.plural} lie where {other} could not look", unseen)


def _clauses(question: Question[T], first: T, last: T, shown: T | None) -> list[str]:
    """What the other view tells otherwise. Clauses name the values, so that only what stayed the same is told."""
    if shown is None:
        return []
    then = set(question.differences(first, shown))
    return [clause for clause in question.differences(last, shown) if clause in then]


def _obstacle(question: Question[T], look: Inventory) -> tuple[Reason, str] | None:
    """Why a look cannot answer for things of this kind at all."""
    accounts = [entry for entry in look.coverage if entry.sensor == question.sensor]
    if not accounts:
        return Reason.UNSUPPORTED, f"{question.plural}: {view_of(look)} does not list them"
    said = next((entry for entry in accounts if entry.status is not CoverageStatus.COMPLETE and not entry.listed), None)
    # of sockets, those of the network namespaces that were entered can be compared
    if said is None or (question is SOCKETS and said.status is not CoverageStatus.NONE):
        return None
    return said.reason or Reason.FAILED, f"{question.plural}: {view_of(look)} does not list them all ({said.detail})"


def _clocks(question: Question[T], outer: Iterable[str], shown: Iterable[str]) -> tuple[Reason, str] | None:
    """Where most processes bear another start time in the other view, its clock is another one."""
    if question is not PROCESSES:
        return None
    there = {subject.split(":")[1]: subject for subject in shown}
    agree = Counter(there[pid] == subject for subject in outer if (pid := subject.split(":")[1]) in there)
    if agree[False] <= agree[True]:
        return None
    return Reason.FAILED, (
        f"processes: the two views count start times differently for {agree[False]} of {agree.total()} processes (a "
        "time namespace, or a forged view): take the look from inside in the initial time namespace"
    )


def _undecided(question: Question[T], outside: Inventory, inside: Inventory, account: Account) -> None:
    obstacle = _obstacle(question, inside)
    if obstacle:
        account.lacks(*obstacle, count=len(question.compared(outside)))
        return
    shown, there = question.things(inside), question.compared(outside)
    account.compared += len(there.keys() & shown.keys())
    if missing := len(there.keys() - shown.keys()):
        account.lacks(
            Reason.UNSUPPORTED,
            f"{SENSOR}: one sample, {missing} {question.plural} undecided: look outside twice",
            missing,
        )


def _hidden(question: Question[T], thing: T, subject: str, looks: _Looks) -> Finding:
    name, (view, other) = question.named(thing), looks.views
    when = "begun before, and still there after," if looks.one_sample else "before and after"
    reasons = [f"{view} shows it {when} {other}", f"{other} lists all {question.plural} and does not show it"]
    if looks.outside:
        explanation = f"{name} is there, and {other} does not show it: it is hidden from whoever looks from there."
    else:
        forged = "what is told inside is forged, or it was taken out of every list that is read outside"
        explanation = f"{name} is shown inside, twice, and no list of the kernel's has it in between: {forged}."
        reasons.append(forged)
    return difference(
        question,
        thing,
        subject=subject,
        seen=looks.after,
        explanation=explanation,
        reasons=reasons,
        standing=Standing.SAMPLED,
        missing_from=looks.between.viewpoint,
        at_most=1.0 if looks.outside else ONLY_INSIDE,
    )


def _told_otherwise(question: Question[T], thing: T, subject: str, looks: _Looks, clauses: list[str]) -> Finding:
    only_name = question is PROCESSES and all(clause.startswith("its name") for clause in clauses)
    return difference(
        question,
        thing,
        subject=subject,
        seen=looks.after,
        explanation=f"{question.named(thing)} is told otherwise by {looks.views[1]}: {'; '.join(clauses)}.",
        reasons=clauses,
        standing=Standing.SAMPLED,
        missing_from=looks.between.viewpoint,
        at_most=RENAMED if only_name else 1.0,
    )
