"""A busy guest: processes that start and end, files, sockets with filters and pipes that come and go."""

import array
import os
import socket
import struct

from tests.lab.guest.planted.raw_socket import SO_ATTACH_FILTER
from tests.lab.guest.planted.telling import tell

ACCEPT_ALL = (0x06, 0, 0, 0xFFFF)


def once() -> None:
    """One round: a process that opens a packet socket with a filter, a pipe and a file, and ends."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    record = array.array("B", struct.pack("=HBBI", *ACCEPT_ALL))
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", 1, record.buffer_info()[0]))
    os.pipe()
    with open("/proc/self/status", "rb") as status:  # noqa: PTH123 - pathlib would only slow the bustle
        status.read()
    os._exit(0)


if __name__ == "__main__":
    tell()
    while True:
        once()
