"""An AF_INET raw socket with a classic filter: no netlink dump shows the filter."""

import array
import os
import socket
import struct

from tests.lab.guest.planted.telling import tell_and_sleep

SO_ATTACH_FILTER = 26
FILTER = (
    (0xB1, 0, 0, 0),  # ldxb 4*([0]&0xf)     the IP header's length
    (0x48, 0, 0, 8),  # ldh [x+8]            first bytes of the ICMP data
    (0x15, 0, 1, 0x7255),  # jeq #secret, next, reject
    (0x06, 0, 0, 0xFFFF),  # accept
    (0x06, 0, 0, 0),  # reject
)

if __name__ == "__main__":
    opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    records = array.array("B", b"".join(struct.pack("=HBBI", *record) for record in FILTER))
    opened.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", len(FILTER), records.buffer_info()[0])
    )
    tell_and_sleep(inode=os.fstat(opened.fileno()).st_ino)
