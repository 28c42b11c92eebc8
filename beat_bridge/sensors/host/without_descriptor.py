"""Sockets that stay open without a descriptor in any table.

Three ways need no kernel module: a socket registered with io_uring (io_uring_register(2)), one whose receive ring
(packet_mmap) is still mapped, and one in flight between two AF_UNIX sockets (SCM_RIGHTS) that nobody reads. The first
two are told by name in /proc/PID/fdinfo and /proc/PID/maps; of the third only how many descriptors are on their way.
"""

import re
from collections.abc import Iterable, Sequence

from beat_bridge.sensors.host import proc
from beat_bridge.sensors.host.patience import Stuck, each

MAX_ASKED = 1 << 16
"""Rings, or AF_UNIX sockets, of which one pass reads the state."""
_TEXT_BYTES = 4 << 20
_SOCKET = re.compile(rb"\bsocket:\[(\d+)\]")
_IN_FLIGHT = re.compile(rb"^scm_fds:\s*(\d+)$", re.MULTILINE)

Place = tuple[int, int]
"""A process or thread, and a number in its descriptor table."""


def registered(rings: Sequence[Place]) -> dict[int, set[int]]:
    """The sockets registered with io_uring instances: inode to the processes that hold such an instance."""
    return _named([(pid, f"/proc/{pid}/fdinfo/{number}") for pid, number in rings[:MAX_ASKED]])


def mapped(pids: Iterable[int]) -> dict[int, set[int]]:
    """The sockets whose ring is mapped into memory: inode to the processes that map it."""
    return _named([(pid, f"/proc/{pid}/maps") for pid in pids])


def in_flight(places: Iterable[Place]) -> dict[Place, int]:
    """AF_UNIX sockets in whose queue descriptors wait to be received, and how many (Linux 5.12)."""
    found = {}
    for pid, number in places:
        counted = _IN_FLIGHT.search(_read(f"/proc/{pid}/fdinfo/{number}"))
        if counted and int(counted[1]):
            found[pid, number] = int(counted[1])
    return found


def _named(sources: Sequence[tuple[int, str]]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for (pid, _), text in zip(sources, each(lambda source: _read(source[1]), sources), strict=True):
        for inode in () if isinstance(text, Stuck) else _SOCKET.findall(text):
            found.setdefault(int(inode), set()).add(pid)
    return found


def _read(path: str) -> bytes:
    """What there is to read; nothing where the process has ended or is another user's."""
    try:
        return proc.read(path, _TEXT_BYTES)
    except OSError:
        return b""
