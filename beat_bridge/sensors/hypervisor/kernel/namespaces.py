"""Network namespaces: `net_namespace_list`, each with tables of its own."""

from collections.abc import Iterator

from drgn import Program

from beat_bridge.sensors.hypervisor.kernel.lists import list_for_each
from beat_bridge.sensors.hypervisor.kernel.program import symbol
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, record


def for_each_net(prog: Program) -> Iterator[tuple[int, int]]:
    """The network namespaces.

    Yields:
        (``struct net *``, inode number as in /proc/PID/ns/net)
    """
    offset = offset_of(prog, "struct net", "list")
    inode = record(prog, "struct net", "ns.inum")
    for node in list_for_each(prog, symbol(prog, "net_namespace_list")):
        yield node - offset, inode.read(node - offset)[0]
