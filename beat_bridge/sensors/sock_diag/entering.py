"""Stepping into namespaces with setns(2), which moves the calling thread."""

import ctypes
import errno
import os
from collections.abc import Sequence

CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
_libc = ctypes.CDLL(None, use_errno=True)


def open_namespace(inode: int, paths: Sequence[bytes]) -> int:
    """A descriptor of the namespace, through the first path that still leads to it.

    Raises:
        OSError: None does; ENOENT where the namespace is gone.
    """
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


def step_into(descriptor: int, kind: int) -> None:
    """Move this thread into a namespace.

    Raises:
        OSError: EPERM where only root of the user namespace that owns it may.
    """
    if _libc.setns(descriptor, kind):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
