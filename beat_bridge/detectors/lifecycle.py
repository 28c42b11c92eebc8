"""When a finding is told: when it opens, when its evidence changes, and when it is gone.

The ledger remembers what is open and how often each finding was told. It is a value: a pass turns one ledger into the
next. The caller spools the events first and keeps the ledger afterwards; a crash in between tells the same events
again under the same ids.

**Gone** is a claim and needs proof: see absence.py. Without it a finding stays open.

**A difference between views** is told once it is more than a candidate; a candidate keeps open what was told, and what
was confirmed while the guest stood still stays confirmed when a later look, at the running guest, shows it again.

**Bounds.** At most MOST_OPEN findings are open at once: of more, the strongest are taken, and `turned_away` counts the
rest (they open as soon as there is room). Of closed findings only key and sequence are kept, so that a finding that
returns continues its count; beyond MOST_CLOSED the ones closed longest ago are forgotten, and `sequence_floor` makes
new ones begin above them, so that no event id ever repeats. Keys hold the boot id: what belongs to an earlier boot can
never return and is forgotten without loss.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from beat_bridge.detectors.absence import Look
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value
from beat_bridge.model.findings import Change, Finding, FindingEvent, Standing
from beat_bridge.model.inventory import Inventory

MOST_OPEN = 10_000
MOST_CLOSED = 20_000


class OpenFinding(Value, frozen=True, kw_only=True):
    """A finding that was told and is not gone."""

    finding: Finding
    fingerprint: str
    first_seen: datetime
    sequence: int
    """Of the last event."""


class ClosedFinding(Value, frozen=True, kw_only=True):
    """A finding that is gone and may return."""

    host_id: str
    boot_id: str
    sequence: int


class Ledger(Value, frozen=True, kw_only=True):
    """What was told so far, by finding key, oldest first."""

    open: dict[str, OpenFinding] = {}  # noqa: RUF012 - msgspec copies an empty default for each ledger
    closed: dict[str, ClosedFinding] = {}  # noqa: RUF012
    sequence_floor: int = 0
    """Where findings that were never told, or were forgotten, begin to count."""
    turned_away: int = 0
    """Findings of the last pass that did not open because MOST_OPEN already were."""


def encode(ledger: Ledger) -> bytes:
    """The ledger as one JSON object."""
    return msgspec.json.encode(ledger)


def decode(data: bytes, source: str) -> Ledger:
    """Read what `encode` wrote.

    Args:
        data: JSON.
        source: Where it came from, for the error line.

    Raises:
        DoorwatchError: It is not a ledger.
    """
    try:
        return msgspec.json.decode(data, type=Ledger)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DoorwatchError(
            f"{source}: not a ledger of findings: {error}; move it away to tell every open finding anew"
        ) from error


def advance(
    ledger: Ledger, findings: Sequence[Finding], inventory: Inventory
) -> tuple[Ledger, tuple[FindingEvent, ...]]:
    """What one pass adds to what was told.

    Args:
        ledger: After the pass before; findings of other hosts and viewpoints in it are left alone.
        findings: What `detect` made of the inventory.
        inventory: The look itself: its coverage says what absence means.

    Returns:
        The next ledger, and the events in the order gone, then opened and changed as the findings stand.
    """
    current = _firm(ledger, findings)
    gone = _gone(ledger, current, inventory)
    remaining = {key: entry for key, entry in ledger.open.items() if key not in gone}
    closed = {**ledger.closed, **{key: _closed(event) for key, event in gone.items()}}
    told, turned_away = _told(remaining, closed, ledger.sequence_floor, current, inventory.taken_at)
    opened = {event.finding.key: _open(event) for event in told}
    closed, floor = _forget(
        {key: entry for key, entry in closed.items() if key not in opened}, ledger.sequence_floor, inventory
    )
    # an open finding whose evidence stays keeps its newest wording, so that its last event tells the latest
    refreshed = {
        key: msgspec.structs.replace(entry, finding=current[key]) if key in current else entry
        for key, entry in remaining.items()
    }
    after = Ledger(open={**refreshed, **opened}, closed=closed, sequence_floor=floor, turned_away=turned_away)
    return after, (*gone.values(), *told)


def _firm(ledger: Ledger, findings: Sequence[Finding]) -> dict[str, Finding]:
    """Findings by key, each as firmly as it was ever told; candidates that were never told are left out."""
    firm: dict[str, Finding] = {}
    for finding in findings:
        entry = ledger.open.get(finding.key)
        if entry is not None and _standing(entry.finding) > _standing(finding):
            firm[finding.key] = entry.finding
        elif finding.standing is not Standing.CANDIDATE:
            firm[finding.key] = finding
    return firm


def _standing(finding: Finding) -> int:
    return -1 if finding.standing is None else list(Standing).index(finding.standing)


def _gone(ledger: Ledger, current: Mapping[str, Finding], inventory: Inventory) -> dict[str, FindingEvent]:
    events: dict[str, FindingEvent] = {}
    look = Look(inventory)
    named = {_regardless_of_boot(finding) for finding in current.values() if finding.host.boot_id}
    for key, entry in ledger.open.items():
        if key in current:
            continue
        if not entry.finding.host.boot_id and _regardless_of_boot(entry.finding) in named:
            reason = "it is told under the boot's id, which was not known before"
        else:
            reason = look.why_gone(entry.finding)
        if reason:
            finding = msgspec.structs.replace(entry.finding, explanation=f"{entry.finding.explanation} Gone: {reason}.")
            events[key] = FindingEvent(
                change=Change.GONE,
                finding=finding,
                at=inventory.taken_at,
                first_seen=entry.first_seen,
                sequence=entry.sequence + 1,
            )
    return events


def _regardless_of_boot(finding: Finding) -> tuple[str, str, str, str]:
    """What a finding is about: a kernel has no boot id until somebody in it first asks for one."""
    return finding.host.id, finding.viewpoint.value, finding.kind.value, finding.subject


def _told(
    remaining: Mapping[str, OpenFinding],
    closed: Mapping[str, ClosedFinding],
    floor: int,
    current: Mapping[str, Finding],
    at: datetime,
) -> tuple[list[FindingEvent], int]:
    """Events of what opened or changed, and how many findings found no room."""
    fresh = [finding for key, finding in current.items() if key not in remaining]
    room = max(0, MOST_OPEN - len(remaining))
    strongest = sorted(fresh, key=lambda finding: (-finding.verdict.rank, -finding.confidence, finding.key))
    admitted = {finding.key for finding in strongest[:room]}
    events = []
    for key, finding in current.items():
        entry = remaining.get(key)
        if entry is not None and entry.fingerprint != finding.fingerprint:
            change, first_seen, sequence = Change.CHANGED, entry.first_seen, entry.sequence + 1
        elif key in admitted:
            before = closed.get(key)
            change, first_seen, sequence = Change.OPENED, at, floor if before is None else before.sequence + 1
        else:
            continue
        events.append(FindingEvent(change=change, finding=finding, at=at, first_seen=first_seen, sequence=sequence))
    return events, len(fresh) - len(admitted)


def _open(event: FindingEvent) -> OpenFinding:
    return OpenFinding(
        finding=event.finding,
        fingerprint=event.finding.fingerprint,
        first_seen=event.first_seen,
        sequence=event.sequence,
    )


def _closed(event: FindingEvent) -> ClosedFinding:
    host = event.finding.host
    return ClosedFinding(host_id=host.id, boot_id=host.boot_id, sequence=event.sequence)


def _forget(
    closed: Mapping[str, ClosedFinding], floor: int, inventory: Inventory
) -> tuple[dict[str, ClosedFinding], int]:
    """Closed findings within bounds, and the floor that keeps the forgotten ones' ids from returning."""
    host = inventory.host
    # a key of another boot of this host cannot come back; one without a boot id can, as long as the host hides its id
    may_return = ("", host.boot_id)
    kept = {key: entry for key, entry in closed.items() if entry.host_id != host.id or entry.boot_id in may_return}
    surplus = list(kept)[: max(0, len(kept) - MOST_CLOSED)]
    for key in surplus:
        floor = max(floor, kept.pop(key).sequence + 1)
    return kept, floor
