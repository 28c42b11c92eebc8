"""The sockets that can see other people's packets, and those that carry a filter: every view of them, merged.

The kernel's tables say which sockets exist (network.py), descriptors say who holds them (descriptors.py), and each
socket that may carry a filter is asked (socket_filters.py). What this adds is the merging, and the search for the
holders of sockets that nobody seems to hold. Accounts for the sensors `packet_sockets` and `socket_filters`.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.filters import FilterKind, SocketFilter
from beat_bridge.model.sockets import Holder, Socket
from beat_bridge.sensors.host import network, proc
from beat_bridge.sensors.host.descriptors import Descriptors, walk, walk_threads
from beat_bridge.sensors.host.network import Listed, Namespaces
from beat_bridge.sensors.host.socket_filters import Interview, interview
from beat_bridge.sensors.sock_diag.survey import Survey

_HOLDERS_KEPT = 64


@dataclass(slots=True)
class SocketLook:
    """The outcome of one look at all sockets."""

    sockets: tuple[Socket, ...]
    listed_namespaces: tuple[int, ...]
    """Those whose packet sockets were all told, sorted."""
    coverage: tuple[Coverage, ...]
    descriptors: Descriptors
    namespaces: Namespaces


@dataclass(slots=True)
class Tables:
    """The kernel's socket tables of all namespaces."""

    listed: dict[int, Listed] = field(default_factory=dict)
    """Packet and raw sockets by inode."""
    clear: set[int] = field(default_factory=set)
    """Sockets that have no filter: they are not charged for one."""
    charged: set[int] = field(default_factory=set)
    complete: set[int] = field(default_factory=set)
    """Namespaces whose packet sockets were all told."""
    not_entered: list[Unavailable] = field(default_factory=list)
    """One for each namespace whose packet_diag could not be read."""
    unread: int = 0
    """Namespaces of which no table could be read at all."""

    def take(self, entries: Iterable[Listed]) -> None:
        """Merge what one interface shows into what others showed."""
        for entry in entries:
            known = self.listed.setdefault(entry.inode, entry)
            known.seen_by |= entry.seen_by
            known.cookie = known.cookie or entry.cookie
            known.program = known.program or entry.program
            known.protocol = entry.protocol if known.protocol is None else known.protocol
            known.interface_index = known.interface_index or entry.interface_index


def look_at_sockets() -> SocketLook:
    """Look at every socket of the host, from every side this user may look from."""
    pids = proc.pids()
    namespaces = network.namespaces(pids)
    view = network.Look(namespaces.paths)
    descriptors = walk(pids)  # while the helper visits the namespaces that need one
    tables = _tables(view.surveys(), namespaces)
    held_only = {inode: [path] for inode, path in descriptors.namespaces.items() if inode not in namespaces.paths}
    if held_only:
        _add_surveys(network.Look(held_only).surveys(), tables)
    outcome = interview(
        (descriptors.sockets - tables.clear) | (descriptors.sockets & tables.listed.keys()), descriptors
    )
    orphans = [inode for inode in tables.listed if inode not in descriptors.sockets and inode not in outcome.answers]
    if orphans:
        _search_holders(orphans, namespaces, tables, descriptors, outcome)
    complete = not descriptors.refused and not descriptors.truncated and proc.blind_spot() == ""
    sockets = tuple(
        _merge(inode, tables.listed.get(inode), outcome, descriptors, complete)
        for inode in sorted(tables.listed.keys() | outcome.answers.keys())
    )
    coverage = (
        _packet_coverage(tables, namespaces),
        _filter_coverage(tables, descriptors, outcome, sockets),
    )
    return SocketLook(sockets, tuple(sorted(tables.complete)), coverage, descriptors, namespaces)


def _tables(surveys: Mapping[int, Survey | Unavailable], namespaces: Namespaces) -> Tables:
    tables = Tables()
    _add_surveys(surveys, tables)
    named = [(inode, directories) for inode, directories in namespaces.tables.items()]
    unnamed = [(None, directories) for directories in namespaces.unnamed.values()]
    for inode, directories in (*named, *unnamed):
        try:
            tables.take(network.proc_tables(directories, inode))
            tables.complete |= set() if inode is None else {inode}
        except OSError:
            # an empty namespace whose processes have ended is no gap; one that was not entered either is
            tables.unread += inode is None or isinstance(surveys.get(inode), Unavailable)
    refused = Unavailable(reason=Reason.REFUSED, detail="its processes belong to another user")
    tables.not_entered += [refused] * len(namespaces.unnamed)
    return tables


def _add_surveys(surveys: Mapping[int, Survey | Unavailable], tables: Tables) -> None:
    for inode, answer in surveys.items():
        if isinstance(answer, Unavailable):
            if answer.reason is not Reason.ABSENT:
                tables.not_entered.append(answer)
            continue
        if number := answer.errors.get("packet_diag"):
            detail = f"packet_diag: {os.strerror(number)}"
            tables.not_entered.append(Unavailable(reason=Reason.UNSUPPORTED, detail=detail))
        else:
            tables.complete.add(inode)
        tables.take(network.listed(answer, inode))
        tables.clear |= answer.memory.clear
        tables.charged |= answer.memory.charged


def _search_holders(
    orphans: Sequence[int], namespaces: Namespaces, tables: Tables, descriptors: Descriptors, outcome: Interview
) -> None:
    """Make sure of sockets that nobody seems to hold.

    The holder may be a thread with a descriptor table of its own, or a process that began, or was handed the socket,
    while the walk was elsewhere; or the socket was closed in the meantime. What is left after threads, a second walk
    and a second reading of the tables is held by nobody who shows himself (a socket in flight over SCM_RIGHTS, a
    process hidden from /proc).
    """
    pids = proc.pids()
    threads = walk_threads(pids)
    again = walk(pids)
    for source in (threads, again):
        found = [inode for inode in orphans if inode in source.sockets and inode not in descriptors.sockets]
        late = interview(found, source)
        outcome.answers.update(late.answers)
        outcome.failures.update(late.failures)
        for inode in found:
            descriptors.adopt(inode, source)
    lost = [inode for inode in orphans if inode not in descriptors.sockets]
    wanted = {tables.listed[inode].network_namespace for inode in lost}
    view = network.Look({inode: paths for inode, paths in namespaces.paths.items() if inode in wanted}, bulk=False)
    still = Tables()
    for inode, answer in view.surveys().items():
        if isinstance(answer, Survey):
            still.take(network.listed(answer, inode))
    for inode, directories in namespaces.tables.items():
        if inode in wanted:
            try:
                still.take(network.proc_tables(directories, inode))
            except OSError:
                continue
    for inode in lost:
        if tables.listed[inode].network_namespace is not None and inode not in still.listed:
            del tables.listed[inode]


def _merge(inode: int, entry: Listed | None, outcome: Interview, descriptors: Descriptors, complete: bool) -> Socket:
    asked = outcome.answers.get(inode)
    holders: dict[int, int] = {}
    for pid, descriptor in descriptors.holders(inode):
        process = descriptors.threads.get(pid, pid)
        holders[process] = min(descriptor, holders.get(process, descriptor))
    seen_by = (entry.seen_by if entry else set()) | ({"pidfd_getfd"} if asked else set())
    namespace = entry.network_namespace if entry else None
    protocol = entry.protocol if entry else None
    return Socket(
        inode=inode,
        family=asked.family if asked else entry.family if entry else 0,
        type=asked.type if asked else entry.type if entry else 0,
        protocol=_first_known(protocol, asked.protocol if asked else None, "this interface does not tell the protocol"),
        network_namespace=_first_known(
            namespace, asked.network_namespace if asked else None, "this user may not name the namespace"
        ),
        interface_index=(entry.interface_index if entry else 0) or (asked.interface_index if asked else 0),
        cookie=(entry.cookie if entry else 0) or (asked.cookie if asked else 0),
        filter=asked.filter if asked else _filter_of(inode, entry, outcome),
        holders=tuple(Holder(pid=pid, fd=fd) for pid, fd in sorted(holders.items())[:_HOLDERS_KEPT]),
        holders_complete=complete,
        seen_by=tuple(sorted(seen_by)),
    )


def _first_known(first: int | None, second: int | Unavailable | None, otherwise: str) -> int | Unavailable:
    if first is not None:
        return first
    return Unavailable(reason=Reason.REFUSED, detail=otherwise) if second is None else second


def _filter_of(inode: int, entry: Listed | None, outcome: Interview) -> SocketFilter:
    """The filter of a socket that could not be asked."""
    if entry and entry.program:
        return SocketFilter(kind=FilterKind.CLASSIC, program=entry.program)
    nobody = Unavailable(reason=Reason.REFUSED, detail="no process that may be asked for it holds this socket")
    return SocketFilter(kind=FilterKind.UNKNOWN, unavailable=outcome.failures.get(inode, nobody))


def _packet_coverage(tables: Tables, namespaces: Namespaces) -> Coverage:
    details = []
    missed = len(tables.not_entered)
    reason = None
    if missed:
        reason = tables.not_entered[0].reason
        detail = (
            f"{missed} of {len(namespaces.paths) + len(namespaces.unnamed)} network namespaces could not be entered"
        )
        details.append(f"{detail} ({tables.not_entered[0].detail}); {proc.more_rights()}")
    if blind := proc.blind_spot():
        reason = reason or Reason.UNSUPPORTED
        details.append(blind)
    status = CoverageStatus.PARTIAL if details else CoverageStatus.COMPLETE
    if tables.unread and not tables.listed and tables.unread >= len(namespaces.paths) + len(namespaces.unnamed):
        status = CoverageStatus.NONE
    return Coverage(
        sensor="packet_sockets",
        status=status,
        reason=reason,
        detail="; ".join(details),
        examined=len(tables.listed),
        missed=missed,
    )


def _filter_coverage(
    tables: Tables, descriptors: Descriptors, outcome: Interview, sockets: Sequence[Socket]
) -> Coverage:
    unknown = {each.inode for each in sockets if each.filter.kind is FilterKind.UNKNOWN}
    undecided = unknown | outcome.failures.keys() | (tables.charged - descriptors.sockets - outcome.asked)
    examined = len(outcome.asked | tables.clear)
    details, reason = [], None
    if descriptors.refused:
        reason = Reason.REFUSED
        details.append(f"the descriptors of {len(descriptors.refused)} processes may not be read; {proc.more_rights()}")
    if undecided:
        failure = next(iter(outcome.failures.values()), None)
        reason = reason or (failure.reason if failure else Reason.REFUSED)
        why = f" ({failure.detail})" if failure else ""
        details.append(f"{len(undecided)} sockets may carry a filter and could not be asked{why}")
    if descriptors.truncated:
        reason = reason or Reason.FAILED
        details.append("there are more descriptors than one look takes")
    if blind := proc.blind_spot():
        reason = reason or Reason.UNSUPPORTED
        details.append(blind)
    status = CoverageStatus.PARTIAL if details else CoverageStatus.COMPLETE
    if undecided and not examined:
        status = CoverageStatus.NONE
    return Coverage(
        sensor="socket_filters",
        status=status,
        reason=reason,
        detail="; ".join(details),
        examined=examined,
        missed=len(undecided),
    )
