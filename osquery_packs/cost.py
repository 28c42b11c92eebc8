"""What a query costs the host it runs on: an estimate from the files it makes osquery open.

osquery's tables are loops over /proc and over directories, so a query costs what its tables read. The estimate counts
those reads on a reference host and multiplies them by what one was measured to cost (35 ms for a pass over 500
processes with 6,500 descriptors, Linux 6.18, one core). A table that is asked with the rows of another, as `file` in a
join, is read once a row. It is right within a small factor, and good for comparing queries; `osquery_schedule` on a
host tells what they really cost there.
"""

import re
from typing import Annotated

import msgspec

from beat_bridge.model.base import Value
from osquery_packs import tables
from osquery_packs.model import Pack, Query

MICROSECONDS_A_READ = 5.0
_UNKNOWN = 1_000
"""Reads of a table that is not described below: more than most, so that nothing looks cheap for being unknown."""
_DIRECTORY_ENTRIES = 100
_LITERAL = re.compile(r"'(/[^']*)'")


class ReferenceHost(Value, frozen=True, kw_only=True):
    """How many of each there are."""

    processes: Annotated[int, msgspec.Meta(ge=1)] = 500
    descriptors: Annotated[int, msgspec.Meta(ge=1)] = 6_500
    network_namespaces: Annotated[int, msgspec.Meta(ge=1)] = 5


class Cost(Value, frozen=True, kw_only=True):
    """Of one query."""

    reads: int
    """File operations in one run."""
    milliseconds: float
    """Processor time of one run."""
    seconds_a_day: float
    """Processor time of all runs of a day."""

    @property
    def share(self) -> float:
        """Of one core."""
        return self.seconds_a_day / 86_400


def cost(query: Query, host: ReferenceHost | None = None) -> Cost:
    """Estimate one query."""
    host = host or ReferenceHost()
    with tables.database() as database:
        read = tables.tables_read(database, query.sql)
    reads = sum(_reads(table, query.sql, host, joined="processes" in read) for table in read)
    milliseconds = reads * MICROSECONDS_A_READ / 1_000
    return Cost(
        reads=reads,
        milliseconds=round(milliseconds, 3),
        seconds_a_day=round(milliseconds / 1_000 * 86_400 / query.interval, 1),
    )


def total(packs: tuple[Pack, ...], host: ReferenceHost | None = None) -> float:
    """Share of one core that all queries of some packs take together."""
    return sum(cost(query, host).share for pack in packs for query in pack.queries.values())


def _reads(table: str, sql: str, host: ReferenceHost, *, joined: bool) -> int:
    known = {
        # status, stat, cmdline, exe, cwd, root, io, cgroup, and whether the program is there
        "processes": 9 * host.processes,
        "process_envs": host.processes,
        "process_open_sockets": host.descriptors + host.processes + 12 * host.network_namespaces,
        "listening_ports": host.descriptors + host.processes + 12 * host.network_namespaces,
        "kernel_modules": 1,
        "iptables": 6,
        "system_controls": 200,
        "osquery_flags": 0,
        "osquery_extensions": 0,
        # events are kept by osquery itself: a query reads its own database
        "process_events": 50,
        # one look at the host, kept for some seconds for all three
        "doorwatch_socket_filters": 2 * host.descriptors + 9 * host.processes,
        "doorwatch_findings": 2 * host.descriptors + 9 * host.processes,
        "doorwatch_coverage": 2 * host.descriptors + 9 * host.processes,
    }
    if table != "file":
        return known.get(table, _UNKNOWN)
    if joined:
        return host.processes
    paths = _LITERAL.findall(sql)
    return sum(1 if "directory" not in sql and "%" not in path else _DIRECTORY_ENTRIES for path in paths) or _UNKNOWN
