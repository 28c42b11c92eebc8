"""The helper process: enters network namespaces as root of the user namespaces that own them, and tells their sockets.

Run by namespaces.py as a process of its own: stepping into a user namespace is for ever, and only for a process
without other threads. It loads as little as it can, since it is started anew for every look.
"""

import fcntl
import os
import sys

from beat_bridge.sensors.sock_diag.entering import CLONE_NEWNET, CLONE_NEWUSER, open_namespace, step_into
from beat_bridge.sensors.sock_diag.survey import survey

_NS_GET_USERNS = 0xB701  # linux/nsfs.h


def main() -> None:
    """Read namespaces from standard input; write `{"inode": ..., ...}`, one JSON object a line, for each as it is done.

    Each is its inode and the paths that may lead there, every one ended by a zero byte, and one more at the end.
    """
    bulk = len(sys.argv) < 2 or sys.argv[1] != "brief"
    for record in sys.stdin.buffer.read().split(b"\0\0")[:-1]:
        inode, *paths = record.split(b"\0")
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            continue
        try:
            _visit(int(inode), paths, bulk)
        finally:
            os._exit(0)


def _visit(inode: int, paths: list[bytes], bulk: bool) -> None:
    """Enter one namespace, from which there is no way back, and tell what is in it."""
    try:
        namespace = open_namespace(inode, paths)
        step_into(fcntl.ioctl(namespace, _NS_GET_USERNS), CLONE_NEWUSER)
        step_into(namespace, CLONE_NEWNET)
    except OSError as error:
        _tell({"inode": inode, "errno": error.errno})
        return
    found = survey(bulk)
    packet = [
        [s.inode, s.kind, s.protocol, s.interface_index, s.cookie, [list(each) for each in s.program]]
        for s in found.packet
    ]
    _tell(
        {
            "inode": inode,
            "packet": packet,
            "raw": [list(item) for item in found.raw.items()],
            "clear": list(found.memory.clear),
            "charged": list(found.memory.charged),
            "local": list(found.local),
            "errors": found.errors,
        }
    )


def _tell(answer: dict[str, object]) -> None:
    sys.stdout.write(_json(answer) + "\n")
    sys.stdout.flush()


def _json(value: object) -> str:
    """JSON of integers, lists of integers and dictionaries: loading the json module takes longer than all the rest."""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{name}": {_json(each)}' for name, each in value.items()) + "}"
    return str(value)
