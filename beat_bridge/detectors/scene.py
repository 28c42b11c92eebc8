"""What several questions need to know about one inventory, worked out once for a pass."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from beat_bridge.cbpf import Link, judge
from beat_bridge.model.base import Verdict
from beat_bridge.model.filters import FilterJudgement, FilterKind, Program
from beat_bridge.model.findings import Finding, FindingKind
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.processes import Executable, Process
from beat_bridge.model.sockets import Socket

AF_INET, AF_INET6, AF_PACKET = 2, 10, 17
"""include/linux/socket.h"""
SOCK_RAW = 3
"""include/linux/net.h"""
_INTERNET = frozenset({AF_INET, AF_INET6})
_NETWORK = frozenset({AF_INET, AF_INET6, AF_PACKET})
MOST_PROGRAMS = 1024
"""Different programs judged in one pass: a hostile process may attach any number, each slow to follow."""


def is_capturing(socket: Socket) -> bool:
    """A packet or raw socket: it sees packets that were never addressed to a port of its own."""
    return socket.family == AF_PACKET or (socket.type == SOCK_RAW and socket.family in _INTERNET)


def hears_the_network(socket: Socket) -> bool:
    """Packets from outside reach it. Filters on AF_NETLINK (udev monitors) and AF_UNIX sockets are another matter."""
    return socket.family in _NETWORK


def link_of(socket: Socket) -> Link:
    """What the packet begins with that the socket's filter sees."""
    return Link.of_socket(socket.family, socket.type, socket.protocol if isinstance(socket.protocol, int) else 0)


@dataclass(frozen=True)
class Scene:
    """One inventory, indexed."""

    inventory: Inventory

    @cached_property
    def processes(self) -> Mapping[int, Process]:
        """By pid."""
        return self.inventory.by_pid()

    @cached_property
    def sockets_of(self) -> Mapping[int, Sequence[Socket]]:
        """Sockets by the pid of each holder."""
        held: defaultdict[int, list[Socket]] = defaultdict(list)
        for socket in self.inventory.sockets:
            for pid in {holder.pid for holder in socket.holders}:
                held[pid].append(socket)
        return held

    @cached_property
    def _judgements(self) -> Mapping[tuple[Program, Link], FilterJudgement]:
        known: dict[tuple[Program, Link], FilterJudgement] = {}
        for socket in self.inventory.sockets:
            if socket.filter.kind is FilterKind.CLASSIC and hears_the_network(socket):
                asked = (socket.filter.program, link_of(socket))
                if asked not in known and len(known) < MOST_PROGRAMS:
                    known[asked] = judge(*asked)
        return known

    def judgement(self, socket: Socket) -> FilterJudgement | None:
        """What the socket's classic filter demands; None where it has none that hears the network."""
        if socket.filter.kind is not FilterKind.CLASSIC or not hears_the_network(socket):
            return None
        return self._judgements.get((socket.filter.program, link_of(socket))) or FilterJudgement(
            verdict=Verdict.UNKNOWN,
            summary=f"Not judged: this host carries more than {MOST_PROGRAMS} different filters.",
            complete=False,
        )

    def holders(self, socket: Socket) -> tuple[Process, ...]:
        """The processes that hold a socket, the one that runs longest first: it opened it, the others inherited."""
        found = {holder.pid: self.processes[holder.pid] for holder in socket.holders if holder.pid in self.processes}
        return tuple(sorted(found.values(), key=lambda process: (process.start_ticks, process.pid)))

    def captures(self, process: Process) -> bool:
        """It holds a packet or raw socket."""
        return any(is_capturing(socket) for socket in self.sockets_of.get(process.pid, ()))

    def finding(  # noqa: PLR0913 - one argument for each thing every finding says, all by name
        self,
        kind: FindingKind,
        subject: str,
        *,
        verdict: Verdict,
        confidence: float,
        explanation: str,
        reasons: Sequence[str],
        techniques: Sequence[str],
        process: Process | None = None,
        socket: Socket | None = None,
    ) -> Finding:
        """A finding about this inventory's host, with the process's parent where it is known."""
        return Finding(
            kind=kind,
            host=self.inventory.host,
            viewpoint=self.inventory.viewpoint,
            subject=subject,
            verdict=verdict,
            confidence=confidence,
            explanation=explanation,
            reasons=tuple(reasons),
            techniques=tuple(sorted(set(techniques))),
            process=process,
            parent=None if process is None else self.processes.get(process.parent_pid),
            socket=socket,
        )


def subject_of(process: Process) -> str:
    """`process:PID:START_TICKS`."""
    return f"process:{process.identity}"


def called(process: Process) -> str:
    """A process as a person would name it: `process 812 (/dev/shm/x, deleted)`."""
    if not isinstance(process.executable, Executable):
        return f"process {process.pid} ({process.name})"
    deleted = ", deleted" if process.executable.deleted else ""
    return f"process {process.pid} ({process.executable.path}{deleted})"


def capitalised(sentence: str) -> str:
    """With a capital first letter, the rest as it is."""
    return sentence[:1].upper() + sentence[1:]
