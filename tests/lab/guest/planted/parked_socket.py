"""A packet socket that no process has a descriptor of: it waits in a Unix socket's queue (SCM_RIGHTS)."""

import os
import socket

from tests.lab.guest.planted.telling import tell_and_sleep

if __name__ == "__main__":
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    inode = os.fstat(opened.fileno()).st_ino
    near, far = socket.socketpair()
    socket.send_fds(near, [b"-"], [opened.fileno()])
    opened.close()
    tell_and_sleep(inode=inode, parked_in=os.fstat(far.fileno()).st_ino)
