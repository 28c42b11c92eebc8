"""The search for the holders of sockets that nobody seems to hold, and the merging of views."""

import os
import socket

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.filters import FilterKind, Instruction
from beat_bridge.sensors.host import network, sockets
from beat_bridge.sensors.host.descriptors import Descriptors
from beat_bridge.sensors.host.network import Listed
from beat_bridge.sensors.host.socket_filters import Interview
from beat_bridge.sensors.host.tables import Tables

NEVER_AN_INODE = 1 << 40
"""Socket inodes have 32 bits."""


def _listed(namespace: int | None, **changes: object) -> Listed:
    entry = Listed(NEVER_AN_INODE, socket.AF_PACKET, socket.SOCK_RAW, 3, namespace, seen_by={"packet_diag"})
    for name, value in changes.items():
        setattr(entry, name, value)
    return entry


def _search(entry: Listed) -> Tables:
    tables = Tables()
    tables.take([entry])
    namespaces = network.namespaces([os.getpid()], {})
    sockets._search_holders([NEVER_AN_INODE], namespaces, tables, Descriptors(), Interview())
    return tables


def test_a_socket_closed_during_the_look_is_not_an_orphan() -> None:
    """A socket that the tables showed at first and no longer show is dropped, not told as held by nobody."""
    assert _search(_listed(network.own_namespace())).listed == {}


def test_a_socket_whose_tables_cannot_be_read_again_stays() -> None:
    """Where it cannot be made sure that a socket is gone it is told."""
    assert NEVER_AN_INODE in _search(_listed(None)).listed


def test_the_program_of_packet_diag_stands_in_for_an_answer() -> None:
    """A socket that nobody may be asked for carries what packet_diag shows, and unknown where it shows none."""
    program = (Instruction(6, 0, 0, 1),)
    shown = sockets._merge(7, _listed(1, program=program), Interview(), Descriptors(), complete=False)
    hidden = sockets._merge(7, _listed(1), Interview(), Descriptors(), complete=False)
    assert (shown.filter.kind, shown.filter.program) == (FilterKind.CLASSIC, program)
    assert hidden.filter.kind is FilterKind.UNKNOWN
    assert isinstance(hidden.filter.unavailable, Unavailable)
    assert hidden.filter.unavailable.reason is Reason.REFUSED


def test_holders_are_processes_with_their_lowest_descriptor() -> None:
    """Several descriptors, and threads with tables of their own, count once for their process."""
    held = Descriptors(threads={11: 10})
    for pid, number in ((10, 9), (10, 4), (11, 3), (12, 5)):
        held.add_socket(7, pid, number)
    found = sockets._merge(7, _listed(1), Interview(), held, complete=True)
    assert [(each.pid, each.fd) for each in found.holders] == [(10, 3), (12, 5)]
