"""A BPF program with a map that sees the packets and lets all pass: a netfilter hook, or XDP where that is not offered.

Programs on netfilter hooks came with Linux 6.4 (kernel: commit 84601d6ee68a).
"""

import errno
import socket

from tests.lab.guest.planted import bpf
from tests.lab.guest.planted.telling import tell_and_sleep

NAME = "dw_network"
NF_ACCEPT, XDP_PASS = 1, 2

if __name__ == "__main__":
    kept = bpf.create_array(NAME)
    try:
        program = bpf.load_constant(NAME, bpf.PROG_TYPE_NETFILTER, NF_ACCEPT, kept, bpf.NETFILTER)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        program = bpf.load_constant(NAME, bpf.PROG_TYPE_XDP, XDP_PASS, kept)
        link = bpf.link_xdp(program, socket.if_nametoindex("lo"))
        kind = "xdp"
    else:
        link = bpf.link_netfilter(program)
        kind = "netfilter"
    tell_and_sleep(
        kind=kind, program=bpf.object_id(program), map=bpf.object_id(kept), link=bpf.object_id(link), name=NAME
    )
