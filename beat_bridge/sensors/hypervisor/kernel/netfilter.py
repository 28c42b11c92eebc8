"""What netfilter calls for every packet: `nf_hook_entries` of each namespace, protocol family and place."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from drgn import FaultError, Program

from beat_bridge.sensors.hypervisor.kernel.asking import listed, read_each, walked
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.lists import list_for_each, pointer_at
from beat_bridge.sensors.hypervisor.kernel.namespaces import for_each_net
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, record, size_of

_MOST_HOOKS = 1024
"""MAX_HOOK_COUNT (net/netfilter/core.c)"""
_INTERNET = ("prerouting", "input", "forward", "output", "postrouting")
_PLACES = {
    "hooks_ipv4": _INTERNET,
    "hooks_ipv6": _INTERNET,
    "hooks_arp": ("in", "out", "forward"),
    "hooks_bridge": (*_INTERNET, "brouting"),
}
_DEVICE_PLACES = ("nf_hooks_ingress", "nf_hooks_egress")


class Attached(NamedTuple):
    """A function that sees packets."""

    place: str
    """`net:[4026531840] ipv4 input 0`"""
    called: int
    """Its address."""
    registered: int
    """The address that was registered there."""


def netfilter_hooks(prog: Program, gaps: Gaps) -> Iterator[Attached]:
    """The functions that see packets."""
    nets = partial(for_each_net, prog)
    namespaces = walked(prog, nets, "the list of network namespaces", gaps)

    def read(namespace: tuple[int, int]) -> list[Attached]:
        places = _places(prog, *namespace)
        return [hook for name, entries in places for hook in _hooks_of(prog, entries, name)]

    for (net, inode), found in read_each(prog, namespaces, read, listed(nets)):
        if not isinstance(found, FaultError):
            yield from found
            continue
        for name, entries in gaps.whole(_places(prog, net, inode), f"netfilter of net:[{inode}]"):
            yield from gaps.whole(_hooks_of(prog, entries, name), name)


def _places(prog: Program, net: int, inode: int) -> Iterator[tuple[str, int]]:
    """(name, ``struct nf_hook_entries *``) of each place where there are any."""
    members = {member.name: member.type for member in prog.type("struct netns_nf").members or ()}
    for family, places in _PLACES.items():
        if family not in members:
            continue  # bridges and ARP tables may be left out of a kernel
        base = net + offset_of(prog, "struct net", "nf") + offset_of(prog, "struct netns_nf", family)
        for number, place in enumerate(places[: members[family].length]):
            if entries := pointer_at(prog, base + 8 * number):
                yield f"net:[{inode}] {family.removeprefix('hooks_')} {place}", entries
    device = prog.type("struct net_device")
    kept = [place for place in _DEVICE_PLACES if device.has_member(place)]
    fields = record(prog, "struct net_device", "name", *kept)
    node = offset_of(prog, "struct net_device", "dev_list")
    for each in list_for_each(prog, net + offset_of(prog, "struct net", "dev_base_head")):
        interface, *found = fields.read(each - node)
        for place, entries in zip(kept, found, strict=True):
            if entries:
                words = interface.decode("utf-8", "backslashreplace")
                yield f"net:[{inode}] {words} {place.removeprefix('nf_hooks_')}", entries


def _hooks_of(prog: Program, entries: int, name: str) -> Iterator[Attached]:
    """Behind the functions lie, for each, the registration it came from (nf_hook_entries_get_hook_ops)."""
    (count,) = record(prog, "struct nf_hook_entries", "num_hook_entries").read(entries)
    if not 0 < count <= _MOST_HOOKS:
        raise FaultError(f"{name} says it has {count:,} hooks", entries)
    hook = record(prog, "struct nf_hook_entry", "hook")
    registration = record(prog, "struct nf_hook_ops", "hook")
    first, size = offset_of(prog, "struct nf_hook_entries", "hooks"), size_of(prog, "struct nf_hook_entry")
    for number in range(count):
        (called,) = hook.read(entries + first + size * number)
        operations = pointer_at(prog, entries + first + size * count + 8 * number)
        yield Attached(f"{name} {number}", called, registration.read(operations)[0])
