"""A packet socket whose filter is an eBPF program: to netlink it looks unfiltered."""

import os
import socket

from tests.lab.guest.planted import bpf
from tests.lab.guest.planted.telling import tell_and_sleep

SO_ATTACH_BPF = 50
NAME = "dw_socket"

if __name__ == "__main__":
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    kept = bpf.create_array(NAME)
    program = bpf.load_constant(NAME, bpf.PROG_TYPE_SOCKET_FILTER, 0, kept)
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, program)
    tell_and_sleep(
        inode=os.fstat(opened.fileno()).st_ino, program=bpf.object_id(program), map=bpf.object_id(kept), name=NAME
    )
