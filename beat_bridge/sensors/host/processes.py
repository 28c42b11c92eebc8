"""Who runs, from which file, under which name. Sensor `processes`."""

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.processes import Environment, Executable, Process
from beat_bridge.sensors.host import proc
from beat_bridge.sensors.host.descriptors import Descriptors
from beat_bridge.sensors.host.file_systems import FileSystems
from beat_bridge.sensors.host.network import Namespaces
from beat_bridge.sensors.host.patience import PATIENCE_SECONDS, Stuck, each
from beat_bridge.sensors.host.syscalls import Status, statx

ENVIRONMENT_SIGNS = frozenset({b"HOME=/tmp", b"HISTFILE=/dev/null", b"MYSQL_HISTFILE=/dev/null"})
"""What BPFDoor gives its shells; nothing else of an environment is kept."""
MAX_ARGUMENT_BYTES = 32 << 10
MAX_ARGUMENTS = 4096
MAX_ENVIRONMENT_BYTES = 256 << 10
_DELETED = " (deleted)"


@dataclass(frozen=True, slots=True)
class ProcessLook:
    """The outcome of one look at all processes."""

    processes: tuple[Process, ...]
    coverage: Coverage


def look_at_processes(descriptors: Descriptors, namespaces: Namespaces) -> ProcessLook:
    """Look at every process of the host; one that ends meanwhile is left out."""
    reader = _Reader(descriptors, namespaces, _boot_time())
    everyone = proc.pids()
    processes: list[Process] = []
    untold: dict[int, Unavailable] = {}
    stuck = 0
    for pid, result in zip(everyone, each(reader.read, everyone), strict=True):
        found = result
        if isinstance(found, Stuck):
            stuck += 1
            found = reader.without_details(pid)
        if isinstance(found, Unavailable):
            untold[pid] = found
        elif found is not None:
            processes.append(found)
    return ProcessLook(tuple(processes), _coverage(processes, stuck, untold, len(everyone)))


def parse_arguments(raw: bytes) -> tuple[str, ...]:
    """The arguments in a `/proc/PID/cmdline`, MAX_ARGUMENTS at most.

    A process that rewrites its title may leave one string without the final zero byte.
    """
    if not raw:
        return ()
    return tuple(proc.text(each) for each in raw.removesuffix(b"\0").split(b"\0", MAX_ARGUMENTS)[:MAX_ARGUMENTS])


def parse_environment(raw: bytes) -> Environment:
    """What matters of a `/proc/PID/environ`: how many variables, and which signs."""
    variables = [each for each in raw.split(b"\0") if each]
    signs = sorted(proc.text(each) for each in ENVIRONMENT_SIGNS.intersection(variables))
    return Environment(count=len(variables), signs=tuple(signs))


def parse_effective_user(raw: bytes) -> int | None:
    """The effective user id in a `/proc/PID/status`."""
    for line in raw.split(b"\n"):
        if line.startswith(b"Uid:"):
            fields = line.split()
            return int(fields[2]) if len(fields) > 2 and fields[2].isdigit() else None
    return None


def _boot_time() -> int:
    """Seconds since the epoch at which the kernel began, as /proc/stat tells it: the same in every pass."""
    for line in Path("/proc/stat").read_bytes().split(b"\n"):
        if line.startswith(b"btime "):
            return int(line.split()[1])
    return 0


def unavailable(what: str, error: OSError) -> Unavailable:
    """An OSError as a value."""
    if error.errno in {errno.EPERM, errno.EACCES}:
        reason = Reason.REFUSED
    elif error.errno in {errno.ENOENT, errno.ESRCH}:
        reason = Reason.ABSENT
    elif error.errno in {errno.ENOSYS, errno.EOPNOTSUPP}:
        reason = Reason.UNSUPPORTED
    else:
        reason = Reason.FAILED
    return Unavailable(reason=reason, detail=f"{what}: {os.strerror(error.errno or 0)}")


class _Reader:
    """Reads processes for one pass."""

    def __init__(self, descriptors: Descriptors, namespaces: Namespaces, boot_time: int) -> None:
        self._descriptors = descriptors
        self._refused = frozenset(descriptors.refused)
        self._namespaces = namespaces
        self._boot_time = boot_time
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._file_systems = FileSystems()

    def read(self, pid: int) -> Process | Unavailable | None:
        """One process; None where it has ended, also where its parent has yet to take note of that (a zombie).

        Unavailable where it is there and may not even be told by its name, as a security module can have it.
        """
        status = _status(pid)
        if status is None or isinstance(status, Unavailable):
            return status
        if status.ended:
            return None
        if status.kernel_thread:
            absent = Unavailable(reason=Reason.ABSENT, detail="a kernel thread")
            return self._process(status, executable=absent, environment=absent, args=(), user_id=0)
        thread = proc.survivor(status)
        place = f"/proc/{pid}" if thread is None else f"/proc/{pid}/task/{thread}"
        found = self._process(
            status,
            executable=self._executable(place),
            args=self._arguments(place),
            environment=self._environment(place),
            user_id=self._user_id(place),
        )
        # the pid may belong to a later process by now, which is not the one that was read
        now = _status(pid)
        if isinstance(now, proc.Stat):
            return found if now.start_ticks == status.start_ticks else None
        return now

    def without_details(self, pid: int) -> Process | Unavailable | None:
        """A process that cannot be looked at without hanging: what its stat line says, which cannot hang."""
        status = _status(pid)
        if status is None or isinstance(status, Unavailable):
            return status
        late = Unavailable(reason=Reason.FAILED, detail=f"no answer within {PATIENCE_SECONDS:g} s")
        return self._process(status, executable=late, args=late, environment=late, user_id=late)

    def _process(self, status: proc.Stat, **details: Any) -> Process:
        namespace = self._namespaces.of_process.get(status.pid)
        refused = Unavailable(reason=Reason.REFUSED, detail=f"/proc/{status.pid}/ns/net may not be read")
        return Process(
            pid=status.pid,
            parent_pid=status.parent_pid,
            start_ticks=status.start_ticks,
            started_at=round(self._boot_time + status.start_ticks / self._ticks, 2),
            name=status.name,
            kernel_thread=status.kernel_thread,
            session_id=max(status.session_id, 0),
            group_id=max(status.group_id, 0),
            tty=status.tty,
            stdio_null=self._stdio_null(status),
            network_namespace=refused if namespace is None else namespace,
            **details,
        )

    def _arguments(self, place: str) -> tuple[str, ...] | Unavailable:
        try:
            return parse_arguments(proc.read(f"{place}/cmdline", MAX_ARGUMENT_BYTES))
        except OSError as error:
            return unavailable("its arguments", error)

    def _environment(self, place: str) -> Environment | Unavailable:
        try:
            return parse_environment(proc.read(f"{place}/environ", MAX_ENVIRONMENT_BYTES))
        except OSError as error:
            return unavailable("its environment", error)

    def _user_id(self, place: str) -> int | Unavailable:
        try:
            user_id = parse_effective_user(proc.read(f"{place}/status", 16 << 10))
        except OSError as error:
            return unavailable("its user", error)
        return Unavailable(reason=Reason.FAILED, detail="its status names no user") if user_id is None else user_id

    def _stdio_null(self, status: proc.Stat) -> bool | Unavailable:
        if status.kernel_thread:
            return False
        if status.pid in self._refused:
            return Unavailable(reason=Reason.REFUSED, detail="its descriptors may not be read")
        return self._descriptors.stdio.get(status.pid) == dict.fromkeys(range(3), "/dev/null")

    def _executable(self, place: str) -> Executable | Unavailable:
        link = f"{place}/exe"
        try:
            target = proc.link(link)
        except OSError as error:
            return unavailable("its executable", error)
        try:
            status = statx(link)
        except OSError as error:
            # the link could be read: its target's name is known, the rest is not
            status = None
            if error.errno in {errno.ESRCH, errno.ENOENT}:
                return unavailable("its executable", error)
        path = target.removesuffix(_DELETED)
        deleted = path != target and not (status and self._same_file(place, target, status))
        if not deleted:
            path = target
        if status is None:
            return Executable(path=path, deleted=deleted)
        return Executable(
            path=path,
            deleted=deleted,
            filesystem=self._file_systems.name(link, status.device),
            memfd=deleted and path.startswith("/memfd:") and status.links == 0,
            device=status.device,
            inode=status.inode,
            replaced=deleted and self._exists(place, path),
        )

    def _same_file(self, place: str, target: str, status: Status) -> bool:
        """Whether a file is really named `... (deleted)`."""
        try:
            other = statx(f"{place}/root{target}", follow=False)
        except OSError:
            return False
        return (other.device, other.inode) == (status.device, status.inode)

    def _exists(self, place: str, path: str) -> bool:
        try:
            statx(f"{place}/root{path}", follow=False)
        except OSError:
            return False
        return True


def _status(pid: int) -> proc.Stat | Unavailable | None:
    """A process's stat line; None where there is no such process any more."""
    try:
        return proc.stat(pid)
    except OSError as error:
        why = unavailable(f"/proc/{pid}/stat", error)
        return None if why.reason is Reason.ABSENT else why
    except ValueError as error:
        return Unavailable(reason=Reason.FAILED, detail=f"/proc/{pid}/stat: {error}")


def _coverage(processes: Sequence[Process], stuck: int, untold: Mapping[int, Unavailable], seen: int) -> Coverage:
    refused = [
        each
        for each in processes
        if any(
            isinstance(field, Unavailable) and field.reason is Reason.REFUSED
            for field in (each.executable, each.environment, each.args)
        )
    ]
    details, reason = [], None
    if refused:
        reason = Reason.REFUSED
        details.append(f"executable or environment of {len(refused)} processes may not be read; {proc.more_rights()}")
    if untold:
        first = next(iter(untold.values()))
        reason = reason or first.reason
        details.append(f"{len(untold)} processes are there and cannot be told ({first.detail}); {proc.more_rights()}")
    if stuck:
        reason = reason or Reason.FAILED
        details.append(f"{stuck} processes gave no answer within {PATIENCE_SECONDS:g} s")
    if seen >= proc.MAX_PROCESSES:
        reason = reason or Reason.FAILED
        details.append(f"only the first {proc.MAX_PROCESSES} processes were looked at")
    if blind := proc.blind_spot():
        reason = reason or Reason.UNSUPPORTED
        details.append(blind)
    return Coverage(
        sensor="processes",
        status=CoverageStatus.PARTIAL if details else CoverageStatus.COMPLETE,
        reason=reason,
        detail="; ".join(details),
        examined=len(processes) - len(refused) - stuck,
        missed=len(refused) + stuck + len(untold),
        listed=not stuck and not untold and not blind and seen < proc.MAX_PROCESSES,
    )
