"""The kernel's socket tables of all namespaces, merged."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.sensors.host import network
from beat_bridge.sensors.host.network import Listed, Namespaces
from beat_bridge.sensors.sock_diag.survey import Survey


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
    local: set[int] = field(default_factory=set)
    """AF_UNIX sockets."""
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


def read_tables(surveys: Mapping[int, Survey | Unavailable], namespaces: Namespaces) -> Tables:
    """Everything the surveys and /proc/PID/net tell; a namespace of which neither can be read is counted."""
    tables = Tables()
    add_surveys(surveys, tables)
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


def add_surveys(surveys: Mapping[int, Survey | Unavailable], tables: Tables) -> None:
    """Add what further namespaces told."""
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
        tables.local |= answer.local
