"""The sockets that can see other people's packets, and those that carry a filter: every view of them, merged.

The kernel's tables say which sockets exist (network.py), descriptors say who holds them (descriptors.py), and each
socket that may carry a filter is asked (socket_filters.py). What this adds is the merging, and the search for the
holders of sockets that nobody seems to hold. Accounts for the sensors `packet_sockets` and `socket_filters`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.coverage import Coverage
from beat_bridge.model.filters import FilterKind, SocketFilter
from beat_bridge.model.sockets import Holder, Socket
from beat_bridge.sensors.host import network, proc, without_descriptor
from beat_bridge.sensors.host.descriptors import Descriptors, walk
from beat_bridge.sensors.host.network import Listed, Namespaces
from beat_bridge.sensors.host.socket_coverage import filter_coverage, packet_coverage
from beat_bridge.sensors.host.socket_filters import Interview, interview
from beat_bridge.sensors.host.tables import Tables, add_surveys, read_tables
from beat_bridge.sensors.sock_diag.survey import Survey

_HOLDERS_KEPT = 64
_NO_DESCRIPTOR = -1


@dataclass(slots=True)
class SocketLook:
    """The outcome of one look at all sockets."""

    sockets: tuple[Socket, ...]
    listed_namespaces: tuple[int, ...]
    """Those whose packet sockets were all told, sorted."""
    coverage: tuple[Coverage, ...]
    descriptors: Descriptors
    namespaces: Namespaces


def look_at_sockets() -> SocketLook:
    """Look at every socket of the host, from every side this user may look from."""
    pids = proc.pids()
    threads = proc.threads_of(pids)
    namespaces = network.namespaces(pids, threads)
    view = network.Look(namespaces.paths)
    descriptors = walk(pids, threads)  # while the helper visits the namespaces that need one
    tables = read_tables(view.surveys(), namespaces)
    held_only = {inode: [path] for inode, path in descriptors.namespaces.items() if inode not in namespaces.paths}
    if held_only:
        add_surveys(network.Look(held_only).surveys(), tables)
        namespaces.paths.update(held_only)
    descriptors.elsewhere = without_descriptor.registered(descriptors.rings)
    outcome = interview(
        (descriptors.sockets - tables.clear) | (descriptors.sockets & tables.listed.keys()), descriptors
    )
    passing = without_descriptor.in_flight(_places(tables.local | outcome.local, descriptors))
    orphans = [inode for inode in tables.listed if not _is_held(inode, descriptors) and inode not in outcome.answers]
    if orphans:
        _search_holders(orphans, namespaces, tables, descriptors, outcome)
    complete = not descriptors.refused and not descriptors.truncated and not proc.confined()
    sockets = tuple(
        _merge(inode, tables.listed.get(inode), outcome, descriptors, complete)
        for inode in sorted(tables.listed.keys() | outcome.answers.keys())
    )
    waiting = without_descriptor.in_flight(passing)  # what was received in the meantime was in nobody's hiding place
    coverage = (
        packet_coverage(tables, namespaces, waiting),
        filter_coverage(tables, descriptors, outcome, sockets, waiting),
    )
    return SocketLook(sockets, tuple(sorted(tables.complete)), coverage, descriptors, namespaces)


def _is_held(inode: int, descriptors: Descriptors) -> bool:
    return inode in descriptors.sockets or inode in descriptors.elsewhere


def _places(inodes: Iterable[int], descriptors: Descriptors) -> Iterator[without_descriptor.Place]:
    """Where each socket is held, once."""
    for inode in inodes:
        holder = descriptors.holder(inode, 0)
        if holder is not None:
            yield holder


def _search_holders(
    orphans: Sequence[int], namespaces: Namespaces, tables: Tables, descriptors: Descriptors, outcome: Interview
) -> None:
    """Make sure of sockets that nobody seems to hold.

    The holder may be a process that began, or was handed the socket, while the walk was elsewhere; or one that has
    only its ring mapped; or the socket was closed in the meantime. What is left after a second walk and a second
    reading of the tables is held by nobody who shows himself (a socket in flight over SCM_RIGHTS, a process hidden
    from /proc).
    """
    pids = proc.pids()
    again = walk(pids, proc.threads_of(pids))
    late = [inode for inode in orphans if inode in again.sockets]
    outcome.add(interview(late, again))
    for inode in late:
        descriptors.adopt(inode, again)
    for inode, holders in without_descriptor.mapped(pids).items():
        descriptors.elsewhere.setdefault(inode, set()).update(holders)
    lost = [inode for inode in orphans if not _is_held(inode, descriptors)]
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
    holders = dict.fromkeys(descriptors.elsewhere.get(inode, ()), _NO_DESCRIPTOR)
    for pid, descriptor in descriptors.holders(inode):
        process = descriptors.threads.get(pid, pid)
        known = holders.get(process, _NO_DESCRIPTOR)
        holders[process] = descriptor if known == _NO_DESCRIPTOR else min(descriptor, known)
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
