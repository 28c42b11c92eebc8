"""What the sensors can do here, found out by doing it."""

import ctypes
import os
import socket
import struct

from beat_bridge.model.base import Reason
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.filters import FilterKind
from beat_bridge.sensors.host.looking import look
from beat_bridge.sensors.host.processes import unavailable
from beat_bridge.sensors.host.syscalls import SocketOptions, pidfd_getfd

_SO_ATTACH_FILTER = 26
_ACCEPT_ALL = struct.pack("=HBBI", 6, 0, 0, 0xFFFF)  # BPF_RET | BPF_K


def capabilities() -> tuple[Coverage, ...]:
    """Each sensor's account of a look taken now, and whether a filter can be read back at all.

    Raises:
        DoorwatchError: There is no /proc to look through.
    """
    return (_reading_back(), *look().coverage)


def _reading_back() -> Coverage:
    """Attach a filter to a socket of our own, take the socket as if it were another's, and read the filter."""
    try:
        kind = _read_back()
    except OSError as error:
        failure = unavailable("taking a socket of our own and reading its filter", error)
        detail = f"{failure.detail}; pidfd_getfd needs Linux 5.6 and must not be forbidden by seccomp"
        return Coverage(
            sensor="pidfd_getfd", status=CoverageStatus.NONE, reason=failure.reason, detail=detail, missed=1
        )
    if kind is not FilterKind.CLASSIC:
        detail = f"a classic filter that was attached reads back as {kind.value}: do not trust this kernel's answers"
        return Coverage(sensor="pidfd_getfd", status=CoverageStatus.NONE, reason=Reason.FAILED, detail=detail, missed=1)
    return Coverage(sensor="pidfd_getfd", status=CoverageStatus.COMPLETE, examined=1)


def _read_back() -> FilterKind:
    code = ctypes.create_string_buffer(_ACCEPT_ALL)
    program = struct.pack("@HP", 1, ctypes.addressof(code))  # struct sock_fprog
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        pidfd = os.pidfd_open(os.getpid())
        try:
            taken = pidfd_getfd(pidfd, ours.fileno())
        finally:
            os.close(pidfd)
        try:
            return SocketOptions().filter(taken).kind
        finally:
            os.close(taken)
