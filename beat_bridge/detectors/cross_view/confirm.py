"""Does a look that was taken while the guest stood still show the same?"""

from collections.abc import Iterable, Iterator

import msgspec

from beat_bridge.detectors.cross_view import lists
from beat_bridge.detectors.cross_view.account import SENSOR
from beat_bridge.detectors.cross_view.questions import (
    BPF_LINKS,
    BPF_MAPS,
    BPF_PROGRAMS,
    MODULES,
    OTHER,
    PROCESSES,
    SOCKETS,
    Question,
    T,
    lists_all,
)
from beat_bridge.detectors.cross_view.telling import KINDS, confirmed
from beat_bridge.detectors.scene import Scene
from beat_bridge.model.base import Reason, Viewpoint
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.findings import Finding, Standing
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.processes import Process


def confirm(findings: Iterable[Finding], still: Inventory) -> tuple[Finding, ...]:
    """Those differences between views that still stand while nothing can begin or end.

    A thing that the look shows as before is confirmed. One that it should show and does not has ended, and is left out.
    Where it could not look, a difference stays what it was, unconfirmed. What only the view from inside shows cannot be
    confirmed from outside: it stays what it was, unless the look shows it. Findings of other kinds pass unchanged.

    Args:
        findings: Of one guest.
        still: A look from outside while the guest was paused, later than those the findings are from.
    """
    stands = {finding.subject for finding in lists.find(Scene(still))}
    return tuple(kept for finding in findings for kept in _settled(finding, still, stands))


def reportable(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Without candidates, which one torn look may have made."""
    return tuple(finding for finding in findings if finding.standing is not Standing.CANDIDATE)


def undecided(look: Inventory, findings: Iterable[Finding]) -> Inventory:
    """The look, whose coverage of `cross_view` says how many candidates are left that nobody will confirm.

    They are never told, and silence is not agreement.
    """
    left = [finding for finding in findings if finding.standing is Standing.CANDIDATE]
    if not left:
        return look
    detail = (
        f"lists of the kernel disagreed over {len(left)} things in one look at a running guest ({left[0].subject}), "
        "which was not let stand still to confirm it: look again, with a pause"
    )
    before = next((entry for entry in look.coverage if entry.sensor == SENSOR), None)
    said = Coverage(
        sensor=SENSOR,
        status=CoverageStatus.PARTIAL,
        reason=(before and before.reason) or Reason.FAILED,
        detail="; ".join(filter(None, (before.detail if before else "", detail))),
        examined=before.examined if before else 0,
        missed=(before.missed if before else 0) + len(left),
    )
    others = tuple(entry for entry in look.coverage if entry.sensor != SENSOR)
    return msgspec.structs.replace(look, coverage=(*others, said))


def _settled(finding: Finding, still: Inventory, stands: set[str]) -> Iterator[Finding]:
    if finding.kind not in KINDS or finding.standing is None:
        yield finding
    elif finding.host.boot_id != still.host.boot_id and finding.host.boot_id and still.host.boot_id:
        return  # of a boot that has ended
    elif finding.process is not None:
        yield from _asked(PROCESSES, finding.process, finding, still, stands)
    elif finding.socket is not None:
        yield from _asked(SOCKETS, finding.socket, finding, still, stands)
    elif finding.module is not None:
        yield from _asked(MODULES, finding.module, finding, still, stands)
    elif finding.bpf_program is not None:
        yield from _asked(BPF_PROGRAMS, finding.bpf_program, finding, still, stands)
    elif finding.bpf_map is not None:
        yield from _asked(BPF_MAPS, finding.bpf_map, finding, still, stands)
    elif finding.bpf_link is not None:
        yield from _asked(BPF_LINKS, finding.bpf_link, finding, still, stands)
    else:
        yield finding


def _asked(question: Question[T], thing: T, finding: Finding, still: Inventory, stands: set[str]) -> Iterator[Finding]:
    now = question.things(still).get(finding.subject)
    gone = now is None or question.same(thing, now) is False
    if isinstance(now, Process) and now.state == "ended":
        return  # while its lists were compared it still ran
    if Viewpoint.HYPERVISOR in finding.missing_from:
        if gone:
            yield finding
    elif gone or now is None:
        if not question.shows(still, thing):
            yield finding
    elif not finding.missing_from:
        # lists that agree by now belong to a thing that was beginning or ending
        if finding.subject in stands:
            yield confirmed(finding)
        elif not lists_all(still, question.sensor):
            yield finding
    elif _is_told_otherwise(finding) and any(question.differences(thing, now)):
        yield finding  # it has changed meanwhile: what was compared is not there any more
    else:
        yield confirmed(finding)


def _is_told_otherwise(finding: Finding) -> bool:
    return any(OTHER in reason for reason in finding.reasons)
