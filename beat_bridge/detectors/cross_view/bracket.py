"""What both outer looks show as the same thing, and the look between them does not, or shows otherwise."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from beat_bridge.detectors.cross_view.account import Account
from beat_bridge.detectors.cross_view.questions import PROCESSES, SOCKETS, Question, T, lists_all
from beat_bridge.detectors.cross_view.telling import ONLY_INSIDE, RENAMED, difference, view_of
from beat_bridge.model.base import Reason, Viewpoint
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.model.findings import Finding, Standing
from beat_bridge.model.inventory import Inventory


@dataclass(frozen=True, slots=True)
class Looks:
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


def bracket(question: Question[T], looks: Looks, account: Account) -> Iterator[Finding]:
    """Differences over one kind of thing; what could not be compared goes to the account."""
    first, last = question.compared(looks.before), question.compared(looks.after)
    shown = question.things(looks.between)
    throughout = sorted(first.keys() & last.keys())
    view, other = looks.views
    obstacle = obstacle_of(question, looks.between) or _clocks(question, throughout, shown)
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
            f"{unsure} {question.plural} are missing from {other}, and it cannot be told whether they began or "
            "ended in the meantime: compare again",
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


def obstacle_of(question: Question[T], look: Inventory) -> tuple[Reason, str] | None:
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


def _hidden(question: Question[T], thing: T, subject: str, looks: Looks) -> Finding:
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


def _told_otherwise(question: Question[T], thing: T, subject: str, looks: Looks, clauses: list[str]) -> Finding:
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
