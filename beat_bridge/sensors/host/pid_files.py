"""PID and lock files directly under /run. Sensor `pid_files`."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.pid_files import PidFile
from beat_bridge.sensors.host import proc
from beat_bridge.sensors.host.descriptors import Descriptors
from beat_bridge.sensors.host.patience import PATIENCE_SECONDS, Stuck, each
from beat_bridge.sensors.host.processes import unavailable
from beat_bridge.sensors.host.syscalls import Status, statx

DIRECTORY = "/run"
SUFFIXES = (".pid", ".lock")
MAX_FILES = 4096
CONTENT_BYTES = 64
_LOCK_BYTES = 4 << 20

Locks = Mapping[tuple[int, int], frozenset[int]]
"""(device, inode) to the processes that hold an advisory lock on the file."""


@dataclass(frozen=True, slots=True)
class PidFileLook:
    """The outcome of one look at the directory."""

    files: tuple[PidFile, ...]
    coverage: Coverage


def look_at_pid_files(descriptors: Descriptors, directory: str = DIRECTORY) -> PidFileLook:
    """Look at the PID and lock files of a directory (not below it)."""
    directory = os.path.realpath(directory)
    try:
        names = sorted(entry.name for entry in Path(directory).iterdir() if entry.name.endswith(SUFFIXES))
    except OSError as error:
        failure = unavailable(directory, error)
        coverage = Coverage(
            sensor="pid_files", status=CoverageStatus.NONE, reason=failure.reason, detail=failure.detail
        )
        return PidFileLook((), coverage)
    locks, lock_failure = _locks()
    paths = [f"{directory}/{name}" for name in names[:MAX_FILES]]
    results = each(lambda path: _read(path, descriptors, locks), paths)
    files = tuple(result for result in results if isinstance(result, PidFile))
    return PidFileLook(files, _coverage(results, len(names), lock_failure, descriptors))


def parse_locks(raw: bytes) -> Locks:
    """The advisory locks in a /proc/locks (proc_locks(5)); lines that are none are left.

    `1: POSIX  ADVISORY  WRITE 1234 00:1a:5678 0 EOF`: device in hexadecimal, inode in decimal. Waiters (`1: -> ...`)
    hold nothing; open file description locks name no process (-1).
    """
    found: dict[tuple[int, int], set[int]] = {}
    for fields in proc.lines(raw):
        try:
            if fields[1] == "->" or fields[2] != "ADVISORY":
                continue
            pid = int(fields[4])
            major, minor, inode = fields[5].split(":")
            key = os.makedev(int(major, 16), int(minor, 16)), int(inode)
        except (ValueError, IndexError, OverflowError):
            continue
        if pid > 0:
            found.setdefault(key, set()).add(pid)
    return {key: frozenset(pids) for key, pids in found.items()}


def _locks() -> tuple[Locks, str]:
    try:
        return parse_locks(proc.read("/proc/locks", _LOCK_BYTES)), ""
    except OSError as error:
        return {}, f"/proc/locks: {error.strerror}"


def _read(path: str, descriptors: Descriptors, locks: Locks) -> PidFile | None:
    """One file; None for what is no regular file, or has gone."""
    try:
        status = statx(path, follow=False)
    except OSError:
        return None
    if not stat.S_ISREG(status.mode):
        return None
    born = status.born_at
    unborn = Unavailable(reason=Reason.UNSUPPORTED, detail="this file system keeps no birth time")
    return PidFile(
        path=proc.text(os.fsencode(path)),
        size=status.size,
        mode=stat.S_IMODE(status.mode),
        user_id=status.user_id,
        modified_at=status.modified_at,
        changed_at=status.changed_at,
        born_at=unborn if born is None else born,
        content=_content(path, status),
        open_by=tuple(sorted(_holders(path, status, descriptors))),
        locked_by=tuple(sorted(locks.get((status.device, status.inode), ()))),
    )


def _content(path: str, status: Status) -> str | Unavailable:
    """The first bytes; a FIFO or a link that has taken the file's place is neither waited for nor followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        return unavailable("its content", error)
    try:
        if os.fstat(descriptor).st_ino != status.inode:
            return Unavailable(reason=Reason.FAILED, detail="its content: another file took its place")
        return proc.text(os.read(descriptor, CONTENT_BYTES))
    except OSError as error:
        return unavailable("its content", error)
    finally:
        os.close(descriptor)


def _holders(path: str, status: Status, descriptors: Descriptors) -> set[int]:
    """Who holds this very file, and not one of the same name in another mount namespace."""
    found = set()
    for pid, number in descriptors.run_files.get(path, ()):
        try:
            held = statx(f"/proc/{pid}/fd/{number}")
        except OSError:
            continue
        if (held.device, held.inode) == (status.device, status.inode):
            found.add(pid)
    return found


def _coverage(
    results: list[PidFile | Stuck | None], named: int, lock_failure: str, descriptors: Descriptors
) -> Coverage:
    stuck = sum(isinstance(result, Stuck) for result in results)
    files = [result for result in results if isinstance(result, PidFile)]
    unread = sum(isinstance(each.content, Unavailable) for each in files)
    details: list[str] = []
    reason = None
    if stuck:
        reason = Reason.FAILED
        details.append(f"{stuck} files gave no answer within {PATIENCE_SECONDS:g} s")
    if named > len(results):
        reason = reason or Reason.FAILED
        details.append(f"only the first {MAX_FILES} files were looked at")
    if lock_failure:
        reason = reason or Reason.FAILED
        details.append(lock_failure)
    if unread or descriptors.refused:
        reason = reason or Reason.REFUSED
        parts = [f"the content of {unread} files"] * bool(unread)
        parts += [f"the descriptors of {len(descriptors.refused)} processes"] * bool(descriptors.refused)
        details.append(f"{' and '.join(parts)} may not be read; {proc.more_rights()}")
    return Coverage(
        sensor="pid_files",
        status=CoverageStatus.PARTIAL if details else CoverageStatus.COMPLETE,
        reason=reason,
        detail="; ".join(details),
        examined=len(files),
        missed=stuck + named - len(results),
        listed=not stuck and named <= len(results),
    )
