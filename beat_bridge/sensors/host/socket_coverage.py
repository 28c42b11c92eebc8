"""What the look at sockets could not see, in words. Accounts for the sensors `packet_sockets` and `socket_filters`."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from beat_bridge.model.base import Reason
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.filters import FilterKind
from beat_bridge.model.sockets import Socket
from beat_bridge.sensors.host import proc
from beat_bridge.sensors.host.descriptors import Descriptors
from beat_bridge.sensors.host.network import Namespaces
from beat_bridge.sensors.host.socket_filters import Interview
from beat_bridge.sensors.host.tables import Tables
from beat_bridge.sensors.host.without_descriptor import Place

_NAMED = 8
"""Processes that one line names."""


def packet_coverage(tables: Tables, namespaces: Namespaces, in_flight: Mapping[Place, int]) -> Coverage:
    """Of the tables: which namespaces were not read, and what no table need show."""
    details = []
    missed = len(tables.not_entered)
    reason = None
    if missed:
        reason = tables.not_entered[0].reason
        detail = (
            f"{missed} of {len(namespaces.paths) + len(namespaces.unnamed)} network namespaces could not be entered"
        )
        details.append(f"{detail} ({tables.not_entered[0].detail}); {proc.more_rights()}")
    if namespaces.left_out:
        reason = reason or Reason.FAILED
        details.append(f"{namespaces.left_out} namespaces were left out: there are more than one look takes")
        missed += namespaces.left_out
    if in_flight:
        reason = reason or Reason.UNSUPPORTED
        details.append(_waiting(in_flight))
        missed += sum(in_flight.values())
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


def filter_coverage(
    tables: Tables,
    descriptors: Descriptors,
    outcome: Interview,
    sockets: Sequence[Socket],
    in_flight: Mapping[Place, int],
) -> Coverage:
    """Of the sockets themselves: which may carry a filter and were not asked."""
    unknown = {each.inode for each in sockets if each.filter.kind is FilterKind.UNKNOWN}
    undecided = unknown | outcome.failures.keys() | (tables.charged - descriptors.sockets - outcome.asked)
    aside = descriptors.elsewhere.keys() - descriptors.sockets - tables.clear - tables.listed.keys()
    undecided |= aside
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
    if aside:
        reason = reason or Reason.UNSUPPORTED
        details.append(_elsewhere(aside, descriptors))
    if in_flight:
        reason = reason or Reason.UNSUPPORTED
        details.append(_waiting(in_flight))
    if descriptors.truncated:
        reason = reason or Reason.FAILED
        details.append("there are more descriptors, threads or processes than one look takes")
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
        missed=len(undecided) + sum(in_flight.values()),
    )


def _elsewhere(inodes: AbstractSet[int], descriptors: Descriptors) -> str:
    pids = sorted({pid for inode in inodes for pid in descriptors.elsewhere[inode]})
    return (
        f"{len(inodes)} sockets are kept open without a descriptor, by io_uring or a mapped ring, and are in no table "
        f"(processes {_some(pids)}): look at these processes"
    )


def _waiting(in_flight: Mapping[Place, int]) -> str:
    pids = sorted({pid for pid, _ in in_flight})
    return (
        f"{sum(in_flight.values())} descriptors were sent over unix sockets and nobody receives them (processes "
        f"{_some(pids)}): sockets can be parked there; look at these processes"
    )


def _some(pids: Sequence[int]) -> str:
    return ", ".join(map(str, pids[:_NAMED])) + (", ..." if len(pids) > _NAMED else "")
