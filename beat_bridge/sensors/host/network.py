"""The network namespaces of a host, and the packet and raw sockets in each, by every interface that tells them.

Two views of the same tables: packet_diag and raw_diag (which need the namespace to be entered) and
`/proc/PID/net/{packet,raw,raw6}` (which any user may read, for any process). One that shows what the other hides is
itself a sign: a rootkit usually patches the functions behind /proc/net.
"""

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.filters import Instruction, Program
from beat_bridge.sensors.host import proc
from beat_bridge.sensors.sock_diag.namespaces import Visit, enter_directly
from beat_bridge.sensors.sock_diag.survey import Survey, survey

MAX_NAMESPACES = 4096
_PATHS_KEPT = 4
_TABLE_BYTES = 16 << 20


@dataclass(slots=True)
class Listed:
    """One packet or raw socket as the tables tell it."""

    inode: int
    family: int
    type: int
    protocol: int | None
    """None where this table does not tell it."""
    network_namespace: int | None
    """None where it could not be told which one this is."""
    interface_index: int = 0
    cookie: int = 0
    program: Program = ()
    seen_by: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Namespaces:
    """The network namespaces that are reachable from here."""

    paths: dict[int, list[str]] = field(default_factory=dict)
    """Inode to paths that lead there."""
    tables: dict[int, list[str]] = field(default_factory=dict)
    """Inode to directories that hold its `packet`, `raw` and `raw6`."""
    of_process: dict[int, int] = field(default_factory=dict)
    """Pid to the inode of its namespace."""
    unnamed: dict[int, list[str]] = field(default_factory=dict)
    """Directories as in `tables` of namespaces that this user may not name or enter, by the inode of `packet`."""
    left_out: int = 0
    """Namespaces past MAX_NAMESPACES, and mount namespaces that were not searched for more."""

    def add(self, inode: int, path: str) -> None:
        """One more way to a namespace."""
        if inode not in self.paths and len(self.paths) >= MAX_NAMESPACES:
            self.left_out += 1
            return
        known = self.paths.setdefault(inode, [])
        if len(known) < _PATHS_KEPT and path not in known:
            known.append(path)


def namespaces(pids: Iterable[int], threads: Mapping[int, Sequence[int]]) -> Namespaces:
    """The namespaces of processes and of their threads, and those bound to a name (`ip netns`), wherever mounted.

    Args:
        pids: The processes.
        threads: Their further threads, where they have some (`proc.threads_of`).
    """
    found = Namespaces()
    refused = []
    mounts: dict[str, int] = {}
    for pid in pids:
        try:
            _add_namespace(pid, f"/proc/{pid}", found)
            mounts.setdefault(proc.link(f"/proc/{pid}/ns/mnt"), pid)
        except PermissionError:
            refused.append(pid)
        except OSError:
            pass  # it has ended, or only its first thread has
        for thread in threads.get(pid, ())[: proc.MAX_THREADS]:
            with suppress(OSError):
                _add_namespace(pid, f"/proc/{pid}/task/{thread}", found)
    for inode, path in _bound_namespaces("self", ""):
        found.add(inode, path)
    mounts.pop(proc.link("/proc/self/ns/mnt"), None)
    found.left_out += max(len(mounts) - MAX_NAMESPACES, 0)
    for pid in list(mounts.values())[:MAX_NAMESPACES]:
        for inode, path in _bound_namespaces(str(pid), f"/proc/{pid}/root"):
            found.add(inode, path)
    _add_unnamed(refused, found)
    return found


def _add_namespace(pid: int, place: str, found: Namespaces) -> None:
    inode = proc.namespace_inode(proc.link(f"{place}/ns/net"))
    if inode is None:
        return
    found.of_process.setdefault(pid, inode)
    tables = found.tables.setdefault(inode, [])
    if len(tables) < _PATHS_KEPT:
        tables.append(f"{place}/net")
        found.add(inode, f"{place}/ns/net")


def _add_unnamed(pids: Iterable[int], found: Namespaces) -> None:
    """Sort processes that hide their namespace by the inode of `/proc/PID/net/packet`, which differs in each."""
    own = _tables_inode("self")
    for pid in pids:
        tables = _tables_inode(str(pid))
        if tables is None:
            continue
        if tables == own:
            found.of_process[pid] = own_namespace()
        elif len(known := found.unnamed.setdefault(tables, [])) < _PATHS_KEPT:
            known.append(f"/proc/{pid}/net")


def _tables_inode(process: str) -> int | None:
    try:
        return os.stat(f"/proc/{process}/net/packet").st_ino  # noqa: PTH116 - asked of every process
    except OSError:
        return None


def _bound_namespaces(process: str, root: str) -> list[tuple[int, str]]:
    """Network namespaces that are mounted on a file where a process can see it: (inode, path from here)."""
    try:
        raw = proc.read(f"/proc/{process}/mountinfo", _TABLE_BYTES)
    except OSError:
        return []
    return [(inode, root + path) for inode, path in parse_bound_namespaces(proc.lines(raw))] if b"net:[" in raw else []


def parse_bound_namespaces(rows: Iterable[Sequence[str]]) -> list[tuple[int, str]]:
    """The nsfs mounts among the lines of a mountinfo file (proc_pid_mountinfo(5))."""
    found = []
    for fields in rows:
        if len(fields) > 6 and fields[3].startswith("net:[") and "nsfs" in fields[6:]:
            inode = proc.namespace_inode(fields[3])
            if inode is not None:
                found.append((inode, fields[4].replace("\\040", " ")))
    return found


def parse_proc_packet(raw: bytes, namespace: int | None) -> list[Listed]:
    """The sockets in a `/proc/PID/net/packet` (net/packet/af_packet.c, packet_seq_show); lines that are none are left.

    Columns: sk RefCnt Type Proto Iface R Rmem User Inode; Proto is hexadecimal.
    """
    found = []
    for fields in proc.lines(raw):
        try:
            kind, protocol, interface, inode = int(fields[2]), int(fields[3], 16), int(fields[4]), int(fields[8])
        except (ValueError, IndexError):
            continue  # the heading
        found.append(Listed(inode, socket.AF_PACKET, kind, protocol, namespace, interface, seen_by={"proc_net_packet"}))
    return found


def parse_proc_raw(raw: bytes, namespace: int | None, family: int) -> list[Listed]:
    """The sockets in a `/proc/PID/net/raw` or `raw6` (net/ipv4/raw.c); lines that are none are left.

    Columns: sl local_address:protocol ... uid timeout inode; the protocol stands, in hexadecimal, where a port would.
    """
    found = []
    for fields in proc.lines(raw):
        try:
            protocol, inode = int(fields[1].rpartition(":")[2], 16), int(fields[9])
        except (ValueError, IndexError):
            continue  # the heading
        found.append(Listed(inode, family, socket.SOCK_RAW, protocol, namespace, seen_by={"proc_net_raw"}))
    return found


def proc_tables(directories: Sequence[str], namespace: int | None) -> list[Listed]:
    """The packet and raw sockets that /proc/PID/net shows, through the first process that is still there.

    Raises:
        OSError: None of the directories can be read.
    """
    failure = OSError("no process is left in it")
    for directory in directories:
        try:
            found = parse_proc_packet(proc.read(f"{directory}/packet", _TABLE_BYTES), namespace)
        except OSError as error:
            failure = error
            continue
        for name, family in (("raw", socket.AF_INET), ("raw6", socket.AF_INET6)):
            try:
                found += parse_proc_raw(proc.read(f"{directory}/{name}", _TABLE_BYTES), namespace, family)
            except OSError:
                continue  # no IPv6 here, or the process has just ended
        return found
    raise failure


def own_namespace() -> int:
    """Inode of the network namespace of this process."""
    return os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116 - one call, no object


class Look:
    """The tables of all namespaces; a helper may work on some of them while the caller does something else."""

    def __init__(self, paths: Mapping[int, Sequence[str]], bulk: bool = True) -> None:
        own = own_namespace()
        foreign = {inode: ways for inode, ways in paths.items() if inode != own}
        self._found = enter_directly(foreign, bulk)
        if own in paths:
            self._found[own] = survey(bulk)
        refused = {
            inode: foreign[inode]
            for inode, answer in self._found.items()
            if isinstance(answer, Unavailable) and answer.reason is Reason.REFUSED
        }
        self._visit = Visit(refused, bulk)

    def surveys(self) -> dict[int, Survey | Unavailable]:
        """One entry for each namespace that was asked for."""
        return {**self._found, **self._visit.surveys()}


def listed(answer: Survey, namespace: int | None) -> list[Listed]:
    """The packet and raw sockets of a survey."""
    found = [
        Listed(
            each.inode,
            socket.AF_PACKET,
            each.kind,
            each.protocol,
            namespace,
            each.interface_index,
            each.cookie,
            tuple(Instruction(*fields) for fields in each.program),
            {"packet_diag"},
        )
        for each in answer.packet
    ]
    found += [
        Listed(inode, family, socket.SOCK_RAW, None, namespace, seen_by={"raw_diag"})
        for inode, family in answer.raw.items()
    ]
    return found
