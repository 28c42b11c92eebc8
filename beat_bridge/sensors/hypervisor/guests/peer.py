"""The process at the other end of a QMP socket, as the kernel knows it."""

import re
from pathlib import Path

_STATE = re.compile(rb"\) ([A-Za-z])")
_CONNECTED = b"03"
"""`St` of /proc/net/unix: SS_CONNECTED, that is, connected and accepted (include/uapi/linux/net.h)."""
_MAX_TABLE = 16 << 20
_QEMU = ("qemu", "kvm")


def what_keeps_it(path: Path, pid: int) -> str:
    """Why a monitor does not answer, and what to do, as far as the kernel tells."""
    if _stopped(pid):
        return f"process {pid} is stopped (SIGSTOP, or a debugger): let it go on"
    if _taken(path):
        return "another client holds this socket, and it serves one at a time: give the guest a second -qmp socket"
    return "it hangs, or is very busy"


def is_qemu(pid: int) -> bool:
    """Whether a process runs QEMU, by its executable's name; where that cannot be read, by its own."""
    try:
        name = Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        try:
            name = Path(f"/proc/{pid}/comm").read_text(errors="replace")
        except OSError:
            return False
    return name.startswith(_QEMU)


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since the machine did (proc(5), stat): with its id, it is named for good.

    Returns:
        0 where there is no such process.
    """
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def _stopped(pid: int) -> bool:
    try:
        state = _STATE.search(Path(f"/proc/{pid}/stat").read_bytes())
    except OSError:
        return False
    return state is not None and state[1] in b"Tt"


def _taken(path: Path) -> bool:
    """Whether somebody has been accepted on a socket; one that waits, as we do, has not been."""
    try:
        with Path("/proc/net/unix").open("rb") as stream:
            lines = stream.read(_MAX_TABLE).splitlines()
    except OSError:
        return False
    ending = b" " + str(path).encode()
    return any(line.endswith(ending) and line.split(maxsplit=6)[5] == _CONNECTED for line in lines)
