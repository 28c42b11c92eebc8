"""DRAKVUF's lines, read one after the other, within bounds."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import BinaryIO

from beat_bridge.model.base import Reason, Value, Viewpoint
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.host import Host
from beat_bridge.model.inventory import Inventory
from beat_bridge.sensors.drakvuf.events import LONGEST_LINE, parse
from beat_bridge.sensors.drakvuf.tracking import PLUGINS, Tracking

_NOT_ASKED = {
    "pid_files": "files under /run: look from inside as well",
    "kernel_hooks": "the kernel's text and tables: look from outside as well (doorwatch scan --guest)",
}
_EVENTS_ONLY = {
    "processes": "processes whose start it did not see are known by their program alone",
    "packet_sockets": "sockets that were opened before DRAKVUF began are not told",
    "socket_filters": "events tell that a filter was attached, not its instructions",
    "bpf_objects": "eBPF objects that were there before DRAKVUF began are not told, nor when one goes",
}


class Reading(Value, frozen=True, kw_only=True):
    """What was made of some lines."""

    inventory: Inventory
    """From the viewpoint `drakvuf`; its coverage tells of the lines under the sensor `drakvuf`."""
    events: int = 0
    """Lines that were used."""
    foreign: int = 0
    """Lines of plugins that are not read here."""
    malformed: int = 0
    """Lines that are no event of DRAKVUF's."""
    oversized: int = 0
    """Lines longer than LONGEST_LINE."""
    left_out: int = 0
    """Events there was no room for."""


def read_stream(stream: BinaryIO, host: Host, *, booted_at: float = 0.0) -> Reading:
    """`read_lines` of a file or pipe, of which never more than one line's longest is held."""
    return read_lines(_lines(stream), host, booted_at=booted_at)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    while line := stream.readline(LONGEST_LINE + 1):
        yield line
        while len(line) > LONGEST_LINE and not line.endswith(b"\n"):  # the rest of a line that was too long
            line = stream.readline(LONGEST_LINE + 1)


def read_lines(lines: Iterable[bytes], host: Host, *, booted_at: float = 0.0) -> Reading:
    """What some lines of DRAKVUF's tell of a guest.

    Args:
        lines: With or without line breaks; empty ones are passed over.
        host: The guest; DRAKVUF itself does not tell which.
        booted_at: When its kernel began, in seconds since the epoch: start times are told in clock ticks since then,
            as those of other views, but for what lies between the start and the first event.
    """
    tracking = Tracking(booted_at)
    used = foreign = malformed = oversized = 0
    first = ""
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            oversized += 1
            first = first or f"line {number} is longer than {LONGEST_LINE >> 10} KiB"
            continue
        if not line.strip():
            continue
        try:
            event = parse(line)
        except ValueError as error:
            malformed += 1
            first = first or f"line {number}: {str(error)[:120]}"
            continue
        if event.plugin not in PLUGINS:
            foreign += 1
        elif tracking.take(event):
            used += 1
        else:
            malformed += 1
            first = first or f"line {number}: an event of {event.plugin} without process or time"
    lost = {
        "are no event of DRAKVUF's": malformed,
        "are too long": oversized,
        "found no room": tracking.left_out,
    }
    return Reading(
        inventory=Inventory(
            host=host,
            viewpoint=Viewpoint.DRAKVUF,
            taken_at=datetime.fromtimestamp(tracking.latest, UTC),
            processes=tracking.processes(),
            sockets=tracking.sockets(),
            bpf_programs=tuple(tracking.bpf_programs),
            bpf_maps=tuple(tracking.bpf_maps),
            coverage=(_of_lines(used, foreign, lost, first), *_of_sensors(used, tracking)),
        ),
        events=used,
        foreign=foreign,
        malformed=malformed,
        oversized=oversized,
        left_out=tracking.left_out,
    )


def _of_lines(used: int, foreign: int, lost: Mapping[str, int], first: str) -> Coverage:
    missed = sum(lost.values())
    details = [f"{count} lines {words}" for words, count in lost.items() if count]
    if first:
        details.append(f"the first: {first}")
    if foreign:
        details.append(f"{foreign} lines of other plugins were passed over")
    if not used:
        details.append("no event was read: was DRAKVUF run with `-o json` and the plugins syscalls, procmon, ebpfmon?")
    whole = used and not missed
    return Coverage(
        sensor="drakvuf",
        status=CoverageStatus.COMPLETE if whole else CoverageStatus.PARTIAL if used else CoverageStatus.NONE,
        reason=None if whole else Reason.FAILED if missed else Reason.ABSENT,
        detail="; ".join(details),
        examined=used,
        missed=missed,
    )


def _of_sensors(used: int, tracking: Tracking) -> Iterator[Coverage]:
    status = CoverageStatus.PARTIAL if used else CoverageStatus.NONE
    for sensor, detail in _EVENTS_ONLY.items():
        yield Coverage(sensor=sensor, status=status, reason=Reason.UNSUPPORTED, detail=f"DRAKVUF: {detail}")
    loaded = f"{tracking.modules_loaded} modules were loaded; " if tracking.modules_loaded else ""
    modules = f"DRAKVUF: {loaded}it tells neither their names nor hidden ones: look from outside as well"
    yield Coverage(sensor="modules", status=CoverageStatus.NONE, reason=Reason.UNSUPPORTED, detail=modules)
    for sensor, detail in _NOT_ASKED.items():
        yield Coverage(
            sensor=sensor,
            status=CoverageStatus.NONE,
            reason=Reason.UNSUPPORTED,
            detail=f"DRAKVUF does not tell {detail}",
        )
