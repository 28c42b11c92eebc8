"""A view from inside against one from outside.

**Never a thing that merely began or ended.** Two looks of one view stand around a look of the other: what both outer
looks show as the same thing was there all the time, and the look in between, if it lists everything, had to show it.
The outer look before must have ended when the one between begins, and the one after may begin only when that has ended:
whoever takes the looks sees to it.

`compare` takes either order. Outside, inside, outside finds what the guest hides from itself. Inside, outside, inside
finds what only the guest shows: a forged view, or a thing unhooked from every list that is walked outside.
"""

from datetime import datetime, timedelta

import msgspec

from beat_bridge.detectors.cross_view.account import SENSOR, Account
from beat_bridge.detectors.cross_view.bracket import Looks, bracket, obstacle_of
from beat_bridge.detectors.cross_view.questions import (
    BPF_LINKS,
    BPF_MAPS,
    BPF_PROGRAMS,
    MODULES,
    PROCESSES,
    SOCKETS,
    Question,
    T,
)
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Reason, Value, Viewpoint
from beat_bridge.model.coverage import Coverage
from beat_bridge.model.findings import Finding
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
    account, looks = Account(), Looks(before, between, after)
    findings = [
        *bracket(PROCESSES, looks, account),
        *bracket(SOCKETS, looks, account),
        *bracket(MODULES, looks, account),
        *bracket(BPF_PROGRAMS, looks, account),
        *bracket(BPF_MAPS, looks, account),
        *bracket(BPF_LINKS, looks, account),
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
    findings = tuple(bracket(PROCESSES, Looks(earlier, inside, earlier, one_sample=True), account))
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


def _undecided(question: Question[T], outside: Inventory, inside: Inventory, account: Account) -> None:
    obstacle = obstacle_of(question, inside)
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
