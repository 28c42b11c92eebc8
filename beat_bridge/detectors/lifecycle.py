"""When a finding is told: when it opens, when its evidence changes, and when it is gone.

The ledger remembers what is open and how often each finding was told. It is a value: a pass turns one ledger into the
next. The caller spools the events first and keeps the ledger afterwards; a crash in between tells the same events
again under the same ids.

**Gone** is a claim, and needs a look: a finding that a pass does not show is gone only if every sensor that its kind
depends on looked completely in that pass, or if the thing itself was seen: it was looked at again and is in order, its
process id belongs to a process that began later, or the host was started anew. Otherwise the finding stays open.

**Bounds.** At most MOST_OPEN findings are open at once: of more, the strongest are taken, and `turned_away` counts the
rest (they open as soon as there is room). Of closed findings only key and sequence are kept, so that a finding that
returns continues its count; beyond MOST_CLOSED the ones closed longest ago are forgotten, and `sequence_floor` makes
new ones begin above them, so that no event id ever repeats. Keys hold the boot id: what belongs to an earlier boot can
never return and is forgotten without loss.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from beat_bridge.detectors.pid_files import has_the_shape
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.model.filters import FilterKind
from beat_bridge.model.findings import Change, Finding, FindingEvent, FindingKind
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.processes import Executable

MOST_OPEN = 10_000
MOST_CLOSED = 20_000

SENSORS: Mapping[FindingKind, frozenset[str]] = {
    FindingKind.SOCKET_FILTER: frozenset({"socket_filters", "packet_sockets"}),
    FindingKind.MASQUERADE: frozenset({"processes"}),
    FindingKind.SHARED_MEMORY_EXECUTION: frozenset({"processes", "packet_sockets"}),
    FindingKind.ABNORMAL_PID_FILE: frozenset({"pid_files", "processes", "packet_sockets"}),
    FindingKind.ORPHAN_SOCKET: frozenset({"socket_filters", "packet_sockets"}),
    FindingKind.KERNEL_HOOK_DRIFT: frozenset({"kernel_hooks"}),
    FindingKind.BACKDOOR_PROCESS: frozenset({"processes", "socket_filters", "packet_sockets", "pid_files"}),
}
"""What must have looked completely before the absence of a finding means anything."""


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
    current = {finding.key: finding for finding in findings}
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


def _gone(ledger: Ledger, current: Mapping[str, Finding], inventory: Inventory) -> dict[str, FindingEvent]:
    events: dict[str, FindingEvent] = {}
    for key, entry in ledger.open.items():
        reason = "" if key in current else _why_gone(entry.finding, inventory)
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


def _why_gone(finding: Finding, inventory: Inventory) -> str:
    """The reason why a finding that a pass does not show is gone; empty while that cannot be said."""
    if finding.host.id != inventory.host.id or finding.viewpoint is not inventory.viewpoint:
        return ""
    if finding.host.boot_id != inventory.host.boot_id:
        # an inventory that could not read its boot id proves no restart
        return "the host was started anew" if inventory.host.boot_id and finding.host.boot_id else ""
    complete = {entry.sensor for entry in inventory.coverage if entry.status is CoverageStatus.COMPLETE}
    partial = {entry.sensor for entry in inventory.coverage if entry.status is not CoverageStatus.COMPLETE}
    if SENSORS[finding.kind] <= complete - partial:
        return "a complete look no longer shows it"
    return _seen_otherwise(finding, inventory)


def _seen_otherwise(finding: Finding, inventory: Inventory) -> str:
    """What no gap in coverage can explain away: the very thing was seen, and is in order or is another by now."""
    process = finding.process
    if process is not None and finding.subject == f"process:{process.identity}":
        now = inventory.by_pid().get(process.pid)
        if now is not None and now.start_ticks > process.start_ticks:
            return f"process id {now.pid} belongs to a later process"
    in_order = _IN_ORDER.get(finding.kind)
    return "it was looked at again and is in order" if in_order and in_order(finding, inventory) else ""


def _process_in_order(finding: Finding, inventory: Inventory) -> bool:
    return any(
        f"process:{now.identity}" == finding.subject
        and isinstance(now.executable, Executable)
        and not now.executable.memfd
        and isinstance(now.args, tuple)
        for now in inventory.processes
    )


def _filter_in_order(finding: Finding, inventory: Inventory) -> bool:
    read = (FilterKind.NONE, FilterKind.CLASSIC)
    return any(f"socket:{now.inode}" == finding.subject and now.filter.kind in read for now in inventory.sockets)


def _file_in_order(finding: Finding, inventory: Inventory) -> bool:
    was = finding.pid_file
    return was is not None and any(now.path == was.path and not has_the_shape(now) for now in inventory.pid_files)


def _hook_in_order(finding: Finding, inventory: Inventory) -> bool:
    return any(f"hook:{now.surface}:{now.symbol}" == finding.subject for now in inventory.hooks)


_IN_ORDER: Mapping[FindingKind, Callable[[Finding, Inventory], bool]] = {
    # the thing itself is in the inventory, legible, and the pass has no finding about it
    FindingKind.SOCKET_FILTER: _filter_in_order,
    FindingKind.MASQUERADE: _process_in_order,
    FindingKind.SHARED_MEMORY_EXECUTION: _process_in_order,
    FindingKind.ABNORMAL_PID_FILE: _file_in_order,
    FindingKind.KERNEL_HOOK_DRIFT: _hook_in_order,
}


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
    # a key of another boot of this host cannot come back
    kept = {key: entry for key, entry in closed.items() if entry.host_id != host.id or entry.boot_id == host.boot_id}
    surplus = list(kept)[: max(0, len(kept) - MOST_CLOSED)]
    for key in surplus:
        floor = max(floor, kept.pop(key).sequence + 1)
    return kept, floor
