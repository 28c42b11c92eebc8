"""Who is handed every packet, or those of one protocol: ``struct packet_type`` (net/core/dev.c).

This is how a packet socket receives. One that was taken out of its namespace's list, so that no tool shows it, is still
here as long as it hears anything.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from drgn import FaultError, Program

from beat_bridge.sensors.hypervisor.kernel.lists import list_for_each
from beat_bridge.sensors.hypervisor.kernel.namespaces import for_each_net
from beat_bridge.sensors.hypervisor.kernel.program import symbol, view
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, record

_PROTOCOLS = 16
"""PTYPE_HASH_SIZE: lists behind `ptype_base`."""
_LIST = 16
"""sizeof(struct list_head)"""
_MEMBERS = ("ptype_all", "ptype_specific")
_SOCKETS, _GROUP = ("packet_rcv", "tpacket_rcv", "packet_rcv_spkt"), "packet_rcv_fanout"
"""Functions of packet sockets (net/packet/af_packet.c): of one, and of several that share the packets."""
_LARGEST_GROUP = 1 << 16
"""PACKET_FANOUT_MAX"""


class Receiver(NamedTuple):
    """One that is handed packets."""

    place: str
    """`all`, `0x0800`, with the interface where it is bound to one: `all eth0`."""
    function: int
    """Address of what is called."""
    private: int
    """What that is handed: of a packet socket's function, ``struct sock *``."""


def receivers(prog: Program) -> Iterator[Receiver]:
    """Everybody in the lists of the kernel, of each namespace and of each network device.

    Raises:
        FaultError: A list or an entry cannot be read.
    """
    node = offset_of(prog, "struct packet_type", "list")
    fields = record(prog, "struct packet_type", "type", "func", "af_packet_priv")
    for interface, head in _heads(prog):
        for each in list_for_each(prog, head):
            protocol, function, private = fields.read(each - node)
            swapped = (protocol & 0xFF) << 8 | protocol >> 8
            place = "all" if swapped == 3 else f"{swapped:#06x}"
            yield Receiver(f"{place} {interface}".rstrip(), function, private)


def receiving_sockets(prog: Program) -> Iterator[int]:
    """The packet sockets that receive; none where AF_PACKET is a module, whose functions have no names here.

    Yields:
        ``struct sock *``
    """
    single = {view(prog).profile.find(name) for name in _SOCKETS} - {None}
    group = view(prog).profile.find(_GROUP)
    for _, function, private in receivers(prog) if single else ():
        if function in single:
            yield private
        elif function == group:
            yield from _members(prog, private)


def _members(prog: Program, fanout: int) -> Iterator[int]:
    (count,) = record(prog, "struct packet_fanout", "num_members").read(fanout)
    if count > _LARGEST_GROUP:
        raise FaultError(f"a group of packet sockets says it has {count:,} members", fanout)
    at = fanout + offset_of(prog, "struct packet_fanout", "arr")
    yield from struct.unpack(f"<{count}Q", view(prog).read(at, 8 * count))


def _heads(prog: Program) -> Iterator[tuple[str, int]]:
    """Yield (interface, ``struct list_head *``) of each list, empty or not."""
    base = symbol(prog, "ptype_base")
    yield from (("", base + _LIST * number) for number in range(_PROTOCOLS))
    everything = view(prog).profile.find("ptype_all")
    of_net = [name for name in _MEMBERS if prog.type("struct net").has_member(name)]
    if everything is not None:
        yield "", everything
    elif not of_net:
        # 6.12 has it among what the network stack keeps at hand
        yield "", symbol(prog, "net_hotdata") + offset_of(prog, "struct net_hotdata", _MEMBERS[0])
    name_of = record(prog, "struct net_device", "name")
    node = offset_of(prog, "struct net_device", "dev_list")
    for net, _ in for_each_net(prog):
        yield from (("", net + offset_of(prog, "struct net", name)) for name in of_net)
        for each in list_for_each(prog, net + offset_of(prog, "struct net", "dev_base_head")):
            interface = name_of.read(each - node)[0].decode("utf-8", "backslashreplace")
            for name in _MEMBERS:
                yield interface, each - node + offset_of(prog, "struct net_device", name)
