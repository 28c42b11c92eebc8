"""bpf(2) through libc: what the planted programs need of it (`union bpf_attr`, include/uapi/linux/bpf.h)."""

import ctypes
import os
import struct

SYS_BPF = 321
MAP_CREATE, PROG_LOAD, OBJ_GET_INFO_BY_FD, LINK_CREATE = 0, 5, 15, 28
MAP_TYPE_ARRAY = 2
PROG_TYPE_SOCKET_FILTER, PROG_TYPE_XDP, PROG_TYPE_NETFILTER = 1, 6, 32
XDP, NETFILTER = 37, 45
"""Attach types."""
XDP_FLAGS_SKB_MODE = 1 << 1
NFPROTO_IPV4, NF_INET_LOCAL_IN = 2, 1

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> int:
    """The system call.

    Raises:
        OSError: As the kernel says.
    """
    result = int(_libc.syscall(SYS_BPF, command, attributes, len(attributes)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def create_array(name: str) -> int:
    """A map: an array of one 8-byte value. Its descriptor."""
    # map_type, key_size, value_size, max_entries, map_flags, inner_map_fd, numa_node, map_name
    return _bpf(MAP_CREATE, struct.pack("=7I16s", MAP_TYPE_ARRAY, 4, 8, 1, 0, 0, 0, name.encode()))


def load_constant(name: str, program_type: int, result: int, array: int, attach_type: int = 0) -> int:
    """A program that refers to a map and always returns `result`. Its descriptor."""
    instructions = b"".join(
        struct.pack("=BBhi", code, registers, 0, immediate)
        for code, registers, immediate in (
            (0x18, 0x11, array),  # r1 = map (source register 1: BPF_PSEUDO_MAP_FD)
            (0x00, 0x00, 0),  # the second half of the 64-bit load
            (0xB7, 0x00, result),  # r0 = result
            (0x95, 0x00, 0),  # exit
        )
    )
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    return _bpf(
        PROG_LOAD,
        struct.pack(
            # prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags, prog_name,
            # prog_ifindex, expected_attach_type
            "=IIQQIIQII16sII",
            *(program_type, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(licence)),
            *(0, 0, 0, 0, 0, name.encode(), 0, attach_type),
        ),
    )


def link_netfilter(program: int) -> int:
    """Have a program asked of each IPv4 packet for this host. The link's descriptor."""
    # prog_fd, target_fd, attach_type, flags, netfilter: pf, hooknum, priority, flags
    return _bpf(LINK_CREATE, struct.pack("=6IiI", program, 0, NETFILTER, 0, NFPROTO_IPV4, NF_INET_LOCAL_IN, -128, 0))


def link_xdp(program: int, interface_index: int) -> int:
    """Have a program asked of each packet that an interface receives. The link's descriptor."""
    # prog_fd, target_ifindex, attach_type, flags
    return _bpf(LINK_CREATE, struct.pack("=4I", program, interface_index, XDP, XDP_FLAGS_SKB_MODE))


def object_id(descriptor: int) -> int:
    """The kernel's id of a map, program or link."""
    info = ctypes.create_string_buffer(256)
    # bpf_fd, info_len, info
    _bpf(OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", descriptor, len(info), ctypes.addressof(info)))
    # of maps, programs and links alike: type, then id
    return int(struct.unpack_from("=II", info.raw)[1])
