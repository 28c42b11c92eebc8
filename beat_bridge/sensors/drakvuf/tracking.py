"""What follows from event after event: who runs what, and who opened which socket."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.filters import FilterKind, SocketFilter
from beat_bridge.model.kernel import BpfMap, BpfProgram
from beat_bridge.model.processes import Environment, Executable, Process
from beat_bridge.model.sockets import Holder, Socket
from beat_bridge.sensors.drakvuf.events import Event, number

PLUGINS = frozenset({"procmon", "syscall", "sysret", "ebpfmon", "filetracer"})
"""Those that are read: the names in `Plugin`."""
MOST = 65_536
"""Of each kind of thing: a hostile guest may make any number."""
_AF_INET, _AF_INET6, _AF_PACKET = 2, 10, 17
_SOCK_RAW, _TYPE_BITS = 3, 0xF  # include/linux/net.h: SOCK_TYPE_MASK
_SOL_SOCKET, _SO_ATTACH_FILTER, _SO_DETACH_FILTER, _SO_ATTACH_BPF = 1, 26, 27, 50
_SIGNS = frozenset({"HOME=/tmp", "HISTFILE=/dev/null", "MYSQL_HISTFILE=/dev/null"})
_DESCRIPTORS = ("/dev/fd/", "/proc/self/fd/")
_TICKS = 100
_UNKNOWN_DESCRIPTOR = -1
_T = TypeVar("_T")


def _untold(what: str) -> Unavailable:
    return Unavailable(reason=Reason.UNSUPPORTED, detail=f"DRAKVUF does not tell {what}")


_NO_FILTER = SocketFilter(kind=FilterKind.NONE)
_CLASSIC = SocketFilter(
    kind=FilterKind.UNKNOWN, unavailable=_untold("the instructions of the classic filter that was attached")
)
_EBPF = SocketFilter(kind=FilterKind.EBPF, unavailable=_untold("which eBPF program was attached"))
_CARRIED = {_SO_ATTACH_FILTER: _CLASSIC, _SO_ATTACH_BPF: _EBPF, _SO_DETACH_FILTER: _NO_FILTER}


@dataclass(slots=True)
class _Sockets:
    """The packet and raw sockets of one process."""

    calling: dict[int, Socket] = field(default_factory=dict)
    """By thread, the socket that its call of socket(2) gives."""
    open: dict[int, Socket] = field(default_factory=dict)
    """By descriptor."""


@dataclass(slots=True)
class Tracking:
    """Fed with events in their order."""

    booted_at: float
    latest: float = 0.0
    """The moment of the latest event, in seconds since the epoch."""
    left_out: int = 0
    modules_loaded: int = 0
    bpf_programs: list[BpfProgram] = field(default_factory=list)
    bpf_maps: list[BpfMap] = field(default_factory=list)
    _running: dict[int, Process] = field(default_factory=dict)
    _ended: list[Process] = field(default_factory=list)
    """What ran something before, by another execution, or is gone: it is told all the same."""
    _sockets: dict[int, _Sockets] = field(default_factory=dict)
    """By process."""
    _past: list[Socket] = field(default_factory=list)
    """Sockets that were closed, or of whose call nothing more was heard."""
    _opened: int = 0
    _memfds: set[int] = field(default_factory=set)
    """Processes that made one."""

    def take(self, event: Event) -> bool:
        """Follow one event; False where it says neither who nor when."""
        pid, at = number(event.pid), event.seconds
        if pid is None or at is None or pid >= 1 << 32:
            return False
        self.latest = max(self.latest, at)
        if event.plugin == "procmon":
            self._of_process(event, pid, at)
        elif event.plugin == "ebpfmon":
            self._of_bpf(event, at)
        elif event.method in _CALLS:
            _CALLS[event.method](self, event, pid, at)
        return True

    def processes(self) -> tuple[Process, ...]:
        """Everything that was seen to run, those that still do last."""
        return (*self._ended, *self._running.values())

    def sockets(self) -> tuple[Socket, ...]:
        """Packet and raw sockets that were opened, the latest first."""
        held = [socket for each in self._sockets.values() for socket in (*each.calling.values(), *each.open.values())]
        return tuple(sorted((*self._past, *held), key=lambda socket: socket.inode))

    def _of_process(self, event: Event, pid: int, at: float) -> None:
        if event.running_process is not None:
            self._began(self._process(event, pid, at, event.running_process))
        elif event.command_line is not None or event.image_path_name is not None:
            self._executed(event, pid, at)
        elif event.exit_status is not None and number(event.tid) in {None, pid}:
            self._gone(pid)

    def _executed(self, event: Event, pid: int, at: float) -> None:
        path = event.image_path_name or event.file_name or event.process_name or ""
        made = self._process(event, pid, at, path)
        name = event.file_name or path
        executable = made.executable
        if isinstance(executable, Executable) and pid in self._memfds and name.startswith(_DESCRIPTORS):
            executable = msgspec.structs.replace(executable, memfd=True)
        self._gone(pid, keep_sockets=True)
        self._began(
            msgspec.structs.replace(
                made,
                name=name.rpartition("/")[2][:15],
                # procmon joins them by spaces
                args=tuple(event.command_line.split(" ")) if event.command_line else (),
                executable=executable,
                environment=_environment(event.environment),
            )
        )

    def _process(self, event: Event, pid: int, at: float, path: str) -> Process:
        user = number(event.user_id)
        deleted = path.endswith(" (deleted)")
        path = path.removesuffix(" (deleted)")
        is_file = path.startswith(("/", "memfd:"))
        return Process(
            pid=pid,
            parent_pid=number(event.ppid) or 0,
            start_ticks=round((at - self.booted_at) * _TICKS),
            started_at=at,
            name=(path.rpartition("/")[2] if is_file else path)[:15],
            args=_untold("the arguments of what ran before it began"),
            executable=Executable(path=path, deleted=deleted, memfd=path.startswith(("/memfd:", "memfd:")))
            if is_file
            else _untold("its executable"),
            environment=_untold("its environment"),
            user_id=_untold("its user") if user is None else user,
            stdio_null=_untold("its standard streams"),
            network_namespace=_untold("its network namespace"),
        )

    def _began(self, process: Process) -> None:
        if len(self._running) + len(self._ended) < MOST:
            self._running[process.pid] = process
        else:
            self.left_out += 1

    def _gone(self, pid: int, *, keep_sockets: bool = False) -> None:
        process = self._running.pop(pid, None)
        if process is not None:
            self._ended.append(process)
        if keep_sockets:
            return  # but for those that close on execution, of which no event tells
        self._memfds.discard(pid)
        left = self._sockets.pop(pid, _Sockets())
        self._past += (*left.calling.values(), *left.open.values())

    def _of_bpf(self, event: Event, at: float) -> None:
        kind = (event.type or "").lower()
        if event.value == "BPF_PROG_LOAD":
            program = BpfProgram(id=_made_up(at), type=kind.removeprefix("bpf_prog_type_"))
            self._keep(self.bpf_programs, program)
        elif event.value == "BPF_MAP_CREATE":
            self._keep(self.bpf_maps, BpfMap(id=_made_up(at), type=kind.removeprefix("bpf_map_type_")))

    def _keep(self, things: list[_T], thing: _T) -> None:
        if len(things) < MOST:
            things.append(thing)
        else:
            self.left_out += 1

    def open_socket(self, event: Event, pid: int, at: float) -> None:
        """`socket`, entered or left."""
        thread = number(event.tid) or pid
        if event.plugin == "sysret":
            self._left(pid, thread, number(event.ret))
            return
        family, kind = number(event.domain), (number(event.socket_type) or 0) & _TYPE_BITS
        if family != _AF_PACKET and not (kind == _SOCK_RAW and family in {_AF_INET, _AF_INET6}):
            return
        if self._opened >= MOST:
            self.left_out += 1
            return
        self._opened += 1
        protocol = number(event.protocol) or 0
        if family == _AF_PACKET:  # in network byte order
            protocol = (protocol & 0xFF) << 8 | protocol >> 8 & 0xFF
        calling = self._sockets.setdefault(pid, _Sockets()).calling
        if thread in calling:  # a call whose return was not told
            self._past.append(calling[thread])
        calling[thread] = Socket(
            inode=_made_up(at),
            family=family,
            type=kind,
            protocol=protocol,
            network_namespace=_untold("its network namespace"),
            filter=_NO_FILTER,
            holders=(Holder(pid=pid, fd=_UNKNOWN_DESCRIPTOR),),
            holders_complete=False,
            seen_by=("drakvuf_syscalls",),
        )

    def _left(self, pid: int, thread: int, descriptor: int | None) -> None:
        mine = self._sockets.get(pid, _Sockets())
        opened = mine.calling.pop(thread, None)
        # errors are below zero, which is far above any descriptor in hexadecimal
        if opened is None or descriptor is None or descriptor >= 1 << 31:
            return
        if descriptor in mine.open:
            self._past.append(mine.open[descriptor])
        mine.open[descriptor] = msgspec.structs.replace(opened, holders=(Holder(pid=pid, fd=descriptor),))

    def set_option(self, event: Event, pid: int, _at: float) -> None:
        """`setsockopt`: a filter is attached or detached."""
        carried = _CARRIED.get(number(event.optname) or 0)
        mine, descriptor = self._sockets.get(pid), number(event.sockfd)
        if event.plugin != "syscall" or number(event.level) != _SOL_SOCKET or carried is None or mine is None:
            return
        if descriptor is not None and descriptor in mine.open:
            mine.open[descriptor] = msgspec.structs.replace(mine.open[descriptor], filter=carried)
        elif len(mine.calling) == 1:
            # without sysret events no descriptor is known: then it is the one socket that this process opened
            ((thread, opened),) = mine.calling.items()
            mine.calling[thread] = msgspec.structs.replace(opened, filter=carried)

    def close(self, event: Event, pid: int, _at: float) -> None:
        """`close`: the descriptor may be given to another file."""
        mine, descriptor = self._sockets.get(pid), number(event.fd)
        if event.plugin == "syscall" and mine is not None and descriptor is not None and descriptor in mine.open:
            self._past.append(mine.open.pop(descriptor))

    def make_memfd(self, _event: Event, pid: int, _at: float) -> None:
        """`memfd_create`."""
        if len(self._memfds) < MOST:
            self._memfds.add(pid)

    def load_module(self, event: Event, _pid: int, _at: float) -> None:
        """`init_module`, `finit_module`."""
        self.modules_loaded += event.plugin == "syscall"


_CALLS: dict[str, Callable[[Tracking, Event, int, float], None]] = {
    "socket": Tracking.open_socket,
    "setsockopt": Tracking.set_option,
    "close": Tracking.close,
    "memfd_create": Tracking.make_memfd,
    "init_module": Tracking.load_module,
    "finit_module": Tracking.load_module,
}


def _made_up(at: float) -> int:
    """A number that is no inode and no id, and the same whenever this event is read: microseconds, below zero."""
    return -round(at * 1_000_000)


def _environment(told: str | None) -> Environment | Unavailable:
    """What procmon was asked to tell: chosen variables, joined by commas."""
    signs = tuple(sorted(_SIGNS.intersection((told or "").split(","))))
    if not signs:
        return _untold("the whole environment")
    return Environment(count=len((told or "").split(",")), signs=signs)
