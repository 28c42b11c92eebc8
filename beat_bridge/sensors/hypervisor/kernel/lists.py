"""The kernel's containers, walked so that no guest can lead the walk in a circle or away for ever.

A walk yields the addresses it comes upon, and ends with `TornWalkError` where the container is not whole: what was
yielded before is good, and the caller counts the rest as not seen.
"""

import struct
from collections.abc import Iterator

from drgn import FaultError, Object, Program

from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, record

MOST_ENTRIES = 1 << 20
"""Of one container: no kernel has as many tasks, sockets or modules in a single list."""
_POINTER = struct.Struct("<Q")
_LOWEST_KERNEL_ADDRESS = 0xFF00_0000_0000_0000


class TornWalkError(FaultError):  # type: ignore[misc] # drgn's compiled half is untyped
    """A container whose links lead nowhere, in a circle, or on and on."""

    def __init__(self, message: str, address: int) -> None:
        super().__init__(message, address)


def pointer_at(prog: Program, address: int) -> int:
    """The pointer that lies at an address.

    Raises:
        FaultError: It cannot be read.
    """
    (value,) = _POINTER.unpack(view(prog).read(address, _POINTER.size))
    return int(value)


def list_for_each(prog: Program, head: int) -> Iterator[int]:
    """The entries of a list.

    Args:
        prog: The guest.
        head: Address of the ``struct list_head`` that belongs to no entry.

    Yields:
        Addresses of the ``struct list_head`` in each entry.
    """
    seen: set[int] = {head}
    at = pointer_at(prog, head)
    while at != head:
        _check(at, seen, "list")
        yield at
        at = pointer_at(prog, at)


def hlist_for_each(prog: Program, head: int) -> Iterator[int]:
    """The entries of a hash list.

    Args:
        prog: The guest.
        head: Address of the ``struct hlist_head`` or ``struct hlist_nulls_head``.

    Yields:
        Addresses of the ``struct hlist_node`` in each entry. An odd pointer ends a list of the second kind.
    """
    seen: set[int] = {head}
    at = pointer_at(prog, head)
    while at and not at & 1:
        _check(at, seen, "hash list")
        yield at
        at = pointer_at(prog, at)


def hlist_heads(prog: Program, table: Object) -> Iterator[int]:
    """The heads in a hash table that are not empty.

    Args:
        prog: The guest.
        table: ``struct hlist_head [N]`` or ``struct hlist_nulls_head [N]``

    Yields:
        Addresses for `hlist_for_each`.
    """
    address, count = int(table.address_ or 0), len(table)
    for number, first in enumerate(struct.unpack(f"<{count}Q", view(prog).read(address, 8 * count))):
        if first and not first & 1:
            yield address + 8 * number


def _check(at: int, seen: set[int], kind: str) -> None:
    if at < _LOWEST_KERNEL_ADDRESS:
        raise TornWalkError(f"a {kind} leads out of the kernel's memory, to {at:#x}", at)
    if at in seen:
        raise TornWalkError(f"a {kind} comes back to {at:#x}", at)
    if len(seen) > MOST_ENTRIES:
        raise TornWalkError(f"a {kind} has more than {MOST_ENTRIES:,} entries", at)
    seen.add(at)


def idr_for_each(prog: Program, idr: Object) -> Iterator[tuple[int, int]]:
    """The pointers in an IDR.

    Args:
        prog: The guest.
        idr: ``struct idr``

    Yields:
        (id, pointer)
    """
    base = idr.idr_base.value_()
    for index, entry in xa_for_each(prog, idr.idr_rt):
        yield index + base, entry


def xa_for_each(prog: Program, array: Object) -> Iterator[tuple[int, int]]:
    """The pointers in an XArray or radix tree (include/linux/xarray.h).

    Args:
        prog: The guest.
        array: ``struct xarray``

    Yields:
        (index, pointer), in the order of indices.
    """
    head = array.xa_head.value_()
    if not _is_node(head):
        if head and not head & 3:
            yield 0, head
        return
    node = record(prog, "struct xa_node", "shift")
    slots_at = offset_of(prog, "struct xa_node", "slots")
    slots = struct.Struct("<64Q")
    seen: set[int] = set()
    waiting = [(head - 2, 0, 64)]  # node, first index below it, and the shift that its parent has
    while waiting:
        address, first, above = waiting.pop()
        (shift,) = node.read(address)
        if shift % 6 or shift >= above:
            raise TornWalkError(f"an XArray's node at {address:#x} says that it stands above its parent", address)
        _check(address, seen, "tree")
        children = slots.unpack(view(prog).read(address + slots_at, slots.size))
        below = []
        for number, entry in enumerate(children):
            index = first + (number << shift)
            if shift and _is_node(entry):
                below.append((entry - 2, index, shift))
            elif entry and not entry & 3:
                yield index, entry
        waiting += reversed(below)


def _is_node(entry: int) -> bool:
    return entry & 3 == 2 and entry > 4096


def rb_for_each(prog: Program, root: int) -> Iterator[int]:
    """The nodes of a red-black tree, in no order.

    Args:
        prog: The guest.
        root: Address of the ``struct rb_root``.

    Yields:
        Addresses of each ``struct rb_node``.
    """
    node = record(prog, "struct rb_node", "rb_left", "rb_right")
    seen: set[int] = set()
    waiting = [pointer_at(prog, root)]
    while waiting:
        at = waiting.pop()
        if not at:
            continue
        _check(at, seen, "tree")
        yield at
        waiting += node.read(at)
