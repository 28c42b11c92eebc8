"""An inventory as rows of our tables. Pure; every cell is text, as osquery takes it over its wire."""

from collections.abc import Callable, Mapping

from beat_bridge.detectors import detect
from beat_bridge.detectors.scene import Scene
from beat_bridge.model.base import Unavailable, Verdict
from beat_bridge.model.filters import FilterJudgement, FilterKind, program_sha256
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.processes import Executable, Process
from beat_bridge.model.sockets import Holder, Socket
from osquery_packs.extension import schema

Row = dict[str, str]
MOST_ROWS = 20_000
"""Of one table: osquery keeps a result in memory, and a message of Thrift's has a limit."""
LONGEST_CELL = 4_096
"""Characters."""
_NOBODY = Holder(pid=-1, fd=-1)


def socket_filter_rows(inventory: Inventory) -> list[Row]:
    """`doorwatch_socket_filters`."""
    scene = Scene(inventory)
    processes = inventory.by_pid()
    rows: list[Row] = []
    for socket in inventory.sockets:
        if socket.filter.kind is FilterKind.NONE:
            continue
        judgement = scene.judgement(socket)
        holders = socket.holders or (_NOBODY,)
        rows.extend(_filter_row(socket, holder, processes.get(holder.pid), judgement) for holder in holders)
    return rows[:MOST_ROWS]


def finding_rows(inventory: Inventory) -> list[Row]:
    """`doorwatch_findings`."""
    return [
        _cells(
            schema.FINDINGS,
            finding_key=finding.key,
            kind=finding.kind,
            verdict=finding.verdict,
            confidence=finding.confidence,
            subject=finding.subject,
            pid=finding.process.pid if finding.process else -1,
            path=_path(finding.process),
            techniques=",".join(finding.techniques),
            explanation=finding.explanation,
            reasons="; ".join(finding.reasons),
        )
        for finding in detect(inventory)[:MOST_ROWS]
    ]


def coverage_rows(inventory: Inventory) -> list[Row]:
    """`doorwatch_coverage`."""
    return [
        _cells(
            schema.COVERAGE,
            sensor=entry.sensor,
            status=entry.status,
            reason=entry.reason or "",
            detail=entry.detail,
            examined=entry.examined,
            missed=entry.missed,
            looked_at=int(inventory.taken_at.timestamp()),
        )
        for entry in inventory.coverage
    ]


def failure_row(reason: str, detail: str, at: float) -> Row:
    """`doorwatch_coverage` where there is no inventory at all."""
    return _cells(
        schema.COVERAGE,
        sensor="look",
        status="none",
        reason=reason,
        detail=detail,
        examined=0,
        missed=0,
        looked_at=int(at),
    )


ROWS: Mapping[str, Callable[[Inventory], list[Row]]] = {
    schema.SOCKET_FILTERS.name: socket_filter_rows,
    schema.FINDINGS.name: finding_rows,
    schema.COVERAGE.name: coverage_rows,
}


def _filter_row(socket: Socket, holder: Holder, process: Process | None, judgement: FilterJudgement | None) -> Row:
    program = socket.filter.program
    verdict, summary = _verdict(socket, judgement)
    return _cells(
        schema.SOCKET_FILTERS,
        pid=holder.pid,
        fd=holder.fd,
        path=_path(process),
        cmdline=_cmdline(process),
        deleted=_deleted(process),
        socket=socket.inode,
        family=socket.family,
        type=socket.type,
        protocol=-1 if isinstance(socket.protocol, Unavailable) else socket.protocol,
        net_namespace="" if isinstance(socket.network_namespace, Unavailable) else socket.network_namespace,
        kind=socket.filter.kind,
        filter_sha256=program_sha256(program) if program else "",
        instructions=len(program),
        verdict=verdict,
        magic=", ".join(magic.text for magic in judgement.magic) if judgement else "",
        family_name=judgement.family if judgement else "",
        summary=summary,
    )


def _verdict(socket: Socket, judgement: FilterJudgement | None) -> tuple[str, str]:
    """What the filter is taken for, and why."""
    if judgement is not None:
        return judgement.verdict, judgement.summary
    match socket.filter.kind:
        case FilterKind.CLASSIC:
            return "", "Not judged: this socket hears only what is sent to it."
        case FilterKind.EBPF:
            return Verdict.UNKNOWN, "An eBPF program: its instructions cannot be read through the socket."
        case _:
            detail = socket.filter.unavailable.detail if socket.filter.unavailable else ""
            return Verdict.UNKNOWN, detail or "The socket could not be asked for its filter."


def _path(process: Process | None) -> str:
    return process.executable.path if process and isinstance(process.executable, Executable) else ""


def _deleted(process: Process | None) -> int:
    return int(process.executable.deleted) if process and isinstance(process.executable, Executable) else -1


def _cmdline(process: Process | None) -> str:
    return " ".join(process.args) if process and isinstance(process.args, tuple) else ""


def _cells(table: schema.Table, **values: object) -> Row:
    """A row with exactly the table's columns; what a hostile process put into its names cannot break the wire."""
    assert values.keys() == {column.name for column in table.columns}, table.name  # noqa: S101 - of this module's own making
    return {name: _text(value) for name, value in values.items()}


def _text(value: object) -> str:
    return str(value)[:LONGEST_CELL].replace("\0", " ").encode("utf-8", "backslashreplace").decode()
