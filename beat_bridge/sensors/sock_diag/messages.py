"""The wire format of NETLINK_SOCK_DIAG: requests out, sockets in. Pure.

Layouts: include/uapi/linux/{netlink,sock_diag,inet_diag,packet_diag,unix_diag,netlink_diag}.h. Integers are in the
machine's byte order, also the EtherType of packet_diag (net/packet/diag.c: `rp->pdiag_num = ntohs(po->num)`).
"""

import socket
import struct
from collections.abc import Iterator

SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR = 2
NLMSG_DONE = 3
Instructions = tuple[tuple[int, int, int, int], ...]
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_NLM_F_REQUEST_DUMP = 0x301
_PACKET_MESSAGE = struct.Struct("=BBHIII")  # struct packet_diag_msg: family, type, num, ino, cookie[2]
_PACKET_INFO = struct.Struct("=I")  # the first field of struct packet_diag_info: index
PACKET_DIAG_INFO, PACKET_DIAG_FILTER = 0, 7
_SOCK_FILTER = struct.Struct("=HBBI")
BPF_MAXINSNS = 4096
SK_MEMINFO_OPTMEM = 6
_MEMINFO_WORDS = 9
"""SK_MEMINFO_VARS since Linux 4.7; older kernels send eight, and the option memory is the seventh of both."""


class TornError(ValueError):
    """A message's lengths do not fit the bytes that came."""


class PacketSocket:
    """One AF_PACKET socket as packet_diag tells it."""

    __slots__ = ("cookie", "inode", "interface_index", "kind", "program", "protocol")

    def __init__(  # noqa: PLR0913, PLR0917 - the fields of one kernel structure
        self, inode: int, kind: int, protocol: int, interface_index: int, cookie: int, program: Instructions
    ) -> None:
        """Take the values.

        Args:
            inode: As in `socket:[inode]`.
            kind: SOCK_*.
            protocol: EtherType, host byte order.
            interface_index: 0 for all interfaces.
            cookie: 64 bits.
            program: Classic instructions (code, jt, jf, k); empty for no filter, for an eBPF one, and for a reader
                without CAP_NET_ADMIN: the three look alike here.
        """
        self.inode = inode
        self.kind = kind
        self.protocol = protocol
        self.interface_index = interface_index
        self.cookie = cookie
        self.program = program


class Table:
    """One of the kernel's socket tables: how to ask for it, and where an answer keeps what matters."""

    __slots__ = ("inode_offset", "memory_attribute", "message_size", "name", "request")

    def __init__(self, name: str, request: bytes, inode_offset: int, message_size: int, memory_attribute: int) -> None:
        """Describe it.

        Args:
            name: For coverage.
            request: What follows the netlink header.
            inode_offset: From the end of the netlink header.
            message_size: Bytes before the attributes.
            memory_attribute: The attribute that holds SK_MEMINFO_*.
        """
        self.name = name
        self.request = request
        self.inode_offset = inode_offset
        self.message_size = message_size
        self.memory_attribute = memory_attribute


class OptionMemory:
    """Sockets by whether they are charged for option memory.

    Attaching a filter of either kind charges its size to `sk_omem_alloc` (net/core/filter.c, sk_filter_charge), also
    for the connections a listener accepts. A socket without such a charge therefore has no filter; one with it may
    have (multicast memberships and IP options are charged too).
    """

    __slots__ = ("charged", "clear")

    def __init__(self) -> None:
        self.clear: set[int] = set()
        self.charged: set[int] = set()


def _inet(family: int, protocol: int, name: str) -> Table:
    """A table of inet_diag, dumped with INET_DIAG_SKMEMINFO."""
    # struct inet_diag_req_v2 {family, protocol, ext, pad, states, struct inet_diag_sockid}
    request = struct.pack("=BBBBI48x", family, protocol, 1 << (7 - 1), 0, 0xFFFFFFFF)
    return Table(name=name, request=request, inode_offset=68, message_size=72, memory_attribute=7)


PACKET_REQUEST = struct.pack("=BBHIIII", socket.AF_PACKET, 0, 0, 0, 0x21, 0, 0)
"""struct packet_diag_req with PACKET_SHOW_INFO | PACKET_SHOW_FILTER."""
RAW_TABLES = (_inet(socket.AF_INET, 255, "raw_diag"), _inet(socket.AF_INET6, 255, "raw6_diag"))
BULK_TABLES = (
    _inet(socket.AF_INET, socket.IPPROTO_TCP, "tcp_diag"),
    _inet(socket.AF_INET6, socket.IPPROTO_TCP, "tcp6_diag"),
    _inet(socket.AF_INET, socket.IPPROTO_UDP, "udp_diag"),
    _inet(socket.AF_INET6, socket.IPPROTO_UDP, "udp6_diag"),
    # struct unix_diag_req with UDIAG_SHOW_MEMINFO
    Table("unix_diag", struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, 0x20, 0, 0), 4, 16, 5),
    # struct netlink_diag_req for NDIAG_PROTO_ALL with NDIAG_SHOW_MEMINFO
    Table("netlink_diag", struct.pack("=BBHIIII", socket.AF_NETLINK, 255, 0, 0, 1, 0, 0), 16, 28, 0),
)


def request(body: bytes) -> bytes:
    """A dump request, with its header."""
    return _HEADER.pack(_HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0) + body


def messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """The netlink messages of one datagram: (type, payload).

    Raises:
        TornError: A length is shorter than its header or longer than what came.
    """
    offset = 0
    while offset < len(datagram):
        if len(datagram) - offset < _HEADER.size:
            raise TornError(f"{len(datagram) - offset} bytes are too few for a netlink header")
        length, kind, *_ = _HEADER.unpack_from(datagram, offset)
        if not _HEADER.size <= length <= len(datagram) - offset:
            raise TornError(f"a netlink message of {length} bytes in {len(datagram) - offset}")
        yield kind, datagram[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes(payload: bytes, offset: int) -> Iterator[tuple[int, int, int]]:
    """The attributes from an offset on: (type, start of the value, end of the value).

    Raises:
        TornError: A length is shorter than its header or longer than what came.
    """
    while offset < len(payload):
        if len(payload) - offset < _ATTRIBUTE.size:
            raise TornError(f"{len(payload) - offset} bytes are too few for a netlink attribute")
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if not _ATTRIBUTE.size <= length <= len(payload) - offset:
            raise TornError(f"a netlink attribute of {length} bytes in {len(payload) - offset}")
        yield kind, offset + _ATTRIBUTE.size, offset + length
        offset += (length + 3) & ~3


def error_of(payload: bytes) -> int:
    """The errno in an NLMSG_ERROR, or in the NLMSG_DONE that ends a failed dump; 0 for none.

    Raises:
        TornError: It is shorter than that number.
    """
    if len(payload) < 4:
        raise TornError(f"a netlink verdict of {len(payload)} bytes")
    return -int(struct.unpack_from("=i", payload)[0])


def packet_socket(payload: bytes) -> PacketSocket:
    """Decode a packet_diag_msg and its attributes.

    Raises:
        TornError: A length does not fit.
    """
    if len(payload) < _PACKET_MESSAGE.size:
        raise TornError(f"a packet_diag message of {len(payload)} bytes")
    _, kind, number, inode, low, high = _PACKET_MESSAGE.unpack_from(payload)
    interface_index = 0
    program: Instructions = ()
    for attribute, start, end in attributes(payload, _PACKET_MESSAGE.size):
        if attribute == PACKET_DIAG_INFO and end - start >= _PACKET_INFO.size:
            (interface_index,) = _PACKET_INFO.unpack_from(payload, start)
        elif attribute == PACKET_DIAG_FILTER:
            if (end - start) % _SOCK_FILTER.size or end - start > BPF_MAXINSNS * _SOCK_FILTER.size:
                raise TornError(f"a filter of {end - start} bytes")
            program = tuple(_SOCK_FILTER.iter_unpack(payload[start:end]))
    return PacketSocket(inode, kind, number, interface_index, low | high << 32, program)


def inode_and_memory(payload: bytes, table: Table) -> tuple[int, int | None]:
    """A socket's inode (0: it has none) and its option memory in bytes (None: the kernel did not say).

    Raises:
        TornError: A length does not fit.
    """
    if len(payload) < table.message_size:
        raise TornError(f"a {table.name} message of {len(payload)} bytes")
    (inode,) = struct.unpack_from("=I", payload, table.inode_offset)
    for attribute, start, end in attributes(payload, table.message_size):
        if attribute == table.memory_attribute and end - start > 4 * SK_MEMINFO_OPTMEM:
            return inode, struct.unpack_from("=I", payload, start + 4 * SK_MEMINFO_OPTMEM)[0]
    return inode, None


def stride(datagram: bytes) -> int:
    """The length of every message in a datagram of equally long SOCK_DIAG_BY_FAMILY messages; 0 for any other."""
    if len(datagram) < _HEADER.size:
        return 0
    length, kind, *_ = _HEADER.unpack_from(datagram)
    if kind != SOCK_DIAG_BY_FAMILY or length < _HEADER.size or length % 4 or len(datagram) % length:
        return 0
    count = len(datagram) // length
    # length and type are the first six bytes of each header
    like = all(datagram[at::length] == datagram[at : at + 1] * count for at in range(6))
    return length if like else 0


def sort_by_memory(datagram: bytes, table: Table, into: OptionMemory) -> bool:
    """Put every socket of a datagram of like messages where it belongs, without a step of Python for each attribute.

    Returns:
        False, and nothing done, where the messages differ in layout: take them one by one then.
    """
    length = stride(datagram)
    place = _memory_place(datagram[_HEADER.size : length], table) if length else None
    if place is None:
        return False
    inode_at = _HEADER.size + table.inode_offset
    attribute_at = _HEADER.size + place - _ATTRIBUTE.size
    layout = f"={inode_at}xI{attribute_at - inode_at - 4}xHH{4 * SK_MEMINFO_OPTMEM}xI"
    record = struct.Struct(f"{layout}{length - struct.calcsize(layout)}x")
    rows = list(record.iter_unpack(datagram))
    if len({row[1:3] for row in rows}) != 1:
        return False
    into.clear.update([inode for inode, _, _, charge in rows if not charge])
    into.charged.update([inode for inode, _, _, charge in rows if charge])
    return True


def _memory_place(payload: bytes, table: Table) -> int | None:
    """Where the value of the memory attribute begins in a message."""
    try:
        found = [
            start
            for kind, start, end in attributes(payload, table.message_size)
            if kind == table.memory_attribute and end - start >= 4 * (_MEMINFO_WORDS - 1)
        ]
    except TornError:
        return None
    return found[0] if found else None
