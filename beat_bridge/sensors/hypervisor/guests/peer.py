"""The process at the other end of a QMP socket, as the kernel knows it."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec

_STATE = re.compile(rb"\) ([A-Za-z])")
_CONNECTED = b"03"
"""`St` of /proc/net/unix: SS_CONNECTED, that is, connected and accepted (include/uapi/linux/net.h)."""
_MAX_TABLE = 16 << 20
_MAX_COMMAND_LINE = 2 << 20
_QEMU = ("qemu", "kvm")


def what_keeps_it(path: Path, pid: int, *, greeted: bool) -> str:
    """Why a monitor does not answer, and what to do, as far as the kernel tells.

    Args:
        path: The socket.
        pid: Who listens on it.
        greeted: Whether it is ours already: then nobody else holds it.
    """
    if _stopped(pid):
        return f"process {pid} is stopped (SIGSTOP, or a debugger): let it go on"
    if not greeted and _taken(path):
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


def with_uuid(uuid: str) -> int:
    """The process id of the only QEMU that was started with a UUID; 0 where there is none, or more than one."""
    processes = (directory for directory in Path("/proc").iterdir() if directory.name.isdecimal())
    found = [int(process.name) for process in processes if _argument(process, b"-uuid") == uuid.encode()]
    return found[0] if len(found) == 1 and is_qemu(found[0]) else 0


def ram_file_of(pid: int) -> Path | None:
    """The file that QEMU's command line names for its RAM (`-object` in JSON, as libvirt writes it)."""
    for text in _arguments(Path(f"/proc/{pid}"), b"-object"):
        try:
            made = msgspec.json.decode(text, type=_Object)
        except msgspec.DecodeError:  # other objects are written in other ways
            continue
        if made.kind == "memory-backend-file" and made.path:
            return Path(made.path)
    return None


class _Object(msgspec.Struct):
    kind: str = msgspec.field(name="qom-type")
    path: str = msgspec.field(name="mem-path", default="")


def _argument(process: Path, option: bytes) -> bytes:
    return next(_arguments(process, option), b"")


def _arguments(process: Path, option: bytes) -> Iterator[bytes]:
    """What follows each occurrence of an option on a command line."""
    try:
        words = (process / "cmdline").read_bytes()[:_MAX_COMMAND_LINE].split(b"\0")
    except OSError:  # it has ended
        return
    yield from (value for name, value in pairwise(words) if name == option)
