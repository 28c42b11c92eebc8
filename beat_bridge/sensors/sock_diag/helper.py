"""The helper process: steps into network namespaces and tells their sockets, one JSON line for each.

Run by namespaces.py as a process of its own: `setns` moves whoever calls it, and stepping into a user namespace is
for ever and only for a process without other threads.
"""

import ctypes
import errno
import fcntl
import os
import sys

from beat_bridge.sensors.sock_diag.survey import survey

CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
NS_GET_USERNS = 0xB701  # linux/nsfs.h
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Read namespaces from standard input; write `{"inode": ..., ...}` for each as it is done.

    Each is its inode and the paths that may lead there, every one ended by a zero byte, and one more at the end.
    """
    bulk = len(sys.argv) < 2 or sys.argv[1] != "brief"
    for record in sys.stdin.buffer.read().split(b"\0\0")[:-1]:
        number, *paths = record.split(b"\0")
        inode = int(number)
        try:
            descriptor = _open(inode, paths)
        except OSError as error:
            _tell(inode, {"errno": error.errno})
            continue
        try:
            _visit(inode, descriptor, bulk)
        finally:
            os.close(descriptor)


def _open(inode: int, paths: list[bytes]) -> int:
    """A descriptor of the namespace, through the first path that still leads to it."""
    failure = OSError(errno.ENOENT, "gone")
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            failure = error
            continue
        if os.fstat(descriptor).st_ino == inode:
            return descriptor
        os.close(descriptor)
    raise failure


def _visit(inode: int, namespace: int, bulk: bool) -> None:
    try:
        _step_into(namespace, CLONE_NEWNET)
    except PermissionError:
        # ours to enter only as root of the user namespace that owns it; a child, since there is no way back
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            return
        try:
            _visit_through_owner(inode, namespace, bulk)
        finally:
            os._exit(0)
    except OSError as error:
        _tell(inode, {"errno": error.errno})
    else:
        _report(inode, bulk)


def _visit_through_owner(inode: int, namespace: int, bulk: bool) -> None:
    try:
        owner = fcntl.ioctl(namespace, NS_GET_USERNS)
        _step_into(owner, CLONE_NEWUSER)
        _step_into(namespace, CLONE_NEWNET)
    except OSError as error:
        _tell(inode, {"errno": error.errno})
    else:
        _report(inode, bulk)


def _step_into(descriptor: int, kind: int) -> None:
    if _libc.setns(descriptor, kind):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _report(inode: int, bulk: bool) -> None:
    found = survey(bulk)
    packet = [
        [s.inode, s.kind, s.protocol, s.interface_index, s.cookie, [list(each) for each in s.program]]
        for s in found.packet
    ]
    _tell(
        inode,
        {
            "packet": packet,
            "raw": [list(item) for item in found.raw.items()],
            "clear": list(found.memory.clear),
            "charged": list(found.memory.charged),
            "errors": found.errors,
        },
    )


def _tell(inode: int, answer: dict[str, object]) -> None:
    sys.stdout.write(_json({"inode": inode, **answer}) + "\n")
    sys.stdout.flush()


def _json(value: object) -> str:
    """JSON of integers, lists of integers and dictionaries: loading the json module takes longer than all the rest."""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{name}": {_json(each)}' for name, each in value.items()) + "}"
    return str(value)
