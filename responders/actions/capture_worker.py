"""Copies what /proc tells of one process; runs in a process of its own, which may be killed at any moment.

A hostile process can make its readers wait for ever: its memory (cmdline, environ) and its executable may lie on a
file system that never answers. So this program does the reading, the responder does the waiting, and what was read
before the end is kept. It is given two descriptors, /proc/PID and the evidence directory, and trusts no path: names
below both are opened by name, never through a link in the evidence directory.

It reports each file as one line of JSON on standard output the moment it is complete. Only the standard library is
imported: it is started without site-packages, in a few milliseconds.
"""

import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from hashlib import sha256

CHUNK = 1 << 20
MAXIMUM_DESCRIPTORS = 4096
MAXIMUM_THREADS = 512
SMALL = 16 << 20
"""Bytes of one text file of /proc at most."""
PLAIN = ("stat", "status", "limits", "cgroup", "io", "sched", "wchan", "syscall", "stack", "mountinfo")
NETWORK = ("dev", "route", "arp", "packet", "raw", "raw6", "icmp", "tcp", "tcp6", "udp", "udp6", "unix", "netlink")
MEMORY = ("maps", "cmdline")
"""Read under the process's own memory lock, or from its memory: these can hang, and come late."""
REASONS = {1: "refused", 13: "refused", 2: "absent", 3: "absent", 22: "unsupported"}
"""EPERM, EACCES, ENOENT, ESRCH, EINVAL in the words of beat_bridge.model.base.Reason; anything else is `failed`."""


class Copier:
    """Copies within a budget of bytes."""

    def __init__(self, source: int, target: int, budget: int) -> None:
        """Take descriptors of /proc/PID and of the evidence directory, and the bytes that may be written."""
        self.source = source
        self.target = target
        self.left = budget

    def copy(self, name: str, kept: str, most: int) -> None:
        """Copy one file and report it."""
        try:
            source = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.source)
        except OSError as error:
            missing(kept, error)
            return
        with os.fdopen(source, "rb", buffering=0) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                report({"name": kept, "reason": "refused", "detail": "not a regular file"})
                return
            self.keep(kept, iter(lambda: stream.read(CHUNK), b""), most)

    def keep(self, kept: str, chunks: Iterable[bytes], most: int) -> None:
        """Write one file of evidence and report it, with its hash, and whether it was cut."""
        digest, size, cut = sha256(), 0, False
        try:
            target = os.open(
                kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self.target
            )
            with os.fdopen(target, "wb", buffering=0) as stream:
                for chunk in chunks:
                    part = chunk[: max(0, min(most - size, self.left))]
                    stream.write(part)
                    digest.update(part)
                    size += len(part)
                    self.left -= len(part)
                    if len(part) < len(chunk):
                        cut = True
                        break
                os.fsync(stream.fileno())
        except OSError as error:
            missing(kept, error)
            return
        report({"name": kept, "bytes": size, "sha256": digest.hexdigest(), "cut": cut})


def descriptors(source: int) -> Iterator[bytes]:
    """One line of JSON for each open file: where it leads, and its fdinfo."""
    directory = os.open("fd", os.O_RDONLY | os.O_DIRECTORY, dir_fd=source)
    try:
        names = sorted(os.listdir(directory), key=int)  # noqa: PTH208 - a descriptor, not a path
    finally:
        os.close(directory)
    for name in names[:MAXIMUM_DESCRIPTORS]:
        try:
            leads_to = os.readlink(f"fd/{name}", dir_fd=source)
        except OSError as error:
            leads_to = f"({error.strerror})"
        yield line({"fd": int(name), "leads_to": leads_to, "fdinfo": small(source, f"fdinfo/{name}")})
    if len(names) > MAXIMUM_DESCRIPTORS:
        yield line({"more": len(names) - MAXIMUM_DESCRIPTORS})


def threads(source: int) -> Iterator[bytes]:
    """One line of JSON for each thread: name, status and kernel stack."""
    directory = os.open("task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=source)
    try:
        names = sorted(os.listdir(directory), key=int)  # noqa: PTH208 - a descriptor, not a path
    finally:
        os.close(directory)
    for name in names[:MAXIMUM_THREADS]:
        about = {part: small(source, f"task/{name}/{part}") for part in ("comm", "status", "wchan", "stack")}
        yield line({"tid": int(name), **about})
    if len(names) > MAXIMUM_THREADS:
        yield line({"more": len(names) - MAXIMUM_THREADS})


def small(source: int, name: str) -> str:
    """The first 8 KiB of a file, or why not, in parentheses."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    except OSError as error:
        return f"({error.strerror})"
    try:
        return os.read(descriptor, 8192).decode("utf-8", "backslashreplace")
    except OSError as error:
        return f"({error.strerror})"
    finally:
        os.close(descriptor)


def line(value: dict[str, object]) -> bytes:
    """One line of JSON in ASCII, whatever a hostile name holds."""
    return json.dumps(value).encode("ascii") + b"\n"


def report(value: dict[str, object]) -> None:
    """Tell the responder; the line is out before the next file is begun."""
    sys.stdout.buffer.write(line(value))
    sys.stdout.buffer.flush()


def missing(kept: str, error: OSError) -> None:
    """Tell the responder what could not be had."""
    reason = REASONS.get(error.errno or 0, "failed")
    report({"name": kept, "reason": reason, "detail": error.strerror or str(error)})


def main() -> None:
    """Arguments: descriptor of /proc/PID, of the evidence directory, byte budget, 1 for the environment too."""
    source, target, budget, environment = (int(argument) for argument in sys.argv[1:5])
    copier = Copier(source, target, budget)
    for name in PLAIN:
        copier.copy(name, name, SMALL)
    for kept, lines in (("descriptors.jsonl", descriptors), ("threads.jsonl", threads)):
        try:
            copier.keep(kept, lines(source), SMALL)
        except OSError as error:
            missing(kept, error)
    for name in NETWORK:
        copier.copy(f"net/{name}", f"net_{name}", SMALL)
    for name in (*MEMORY, *(("environ",) if environment else ())):
        copier.copy(name, name, SMALL)
    copier.copy("exe", "executable", budget)
    report({"complete": True})


if __name__ == "__main__":
    main()
