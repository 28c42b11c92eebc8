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
_LINKS = struct.Struct("<2Q")
"""struct list_head (next, prev) and struct hlist_node (next, pprev): the last leads back to where the first lies."""
_ASKED = 3
"""Times that two neighbours are asked: the guest may be in the middle of linking them."""
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
    """The entries of a list, each of which must lead back to the one before it, the head to the last.

    Args:
        prog: The guest.
        head: Address of the ``struct list_head`` that belongs to no entry.

    Yields:
        Addresses of the ``struct list_head`` in each entry.
    """
    read = view(prog).read
    seen: set[int] = {head}
    before, (at, last) = head, _LINKS.unpack(read(head, _LINKS.size))
    while at != head:
        _check(at, seen, "list")
        following, back = _LINKS.unpack(read(at, _LINKS.size))
        if back != before:
            _confirm(prog, before, at, "list")
        yield at
        before, at = at, following
    if last != before:
        _confirm(prog, before, head, "list")


def hlist_for_each(prog: Program, head: int) -> Iterator[int]:
    """The entries of a hash list, each of which must lead back to the one before it.

    Nothing leads back from the end of such a list: one that was cut short looks whole.

    Args:
        prog: The guest.
        head: Address of the ``struct hlist_head`` or ``struct hlist_nulls_head``.

    Yields:
        Addresses of the ``struct hlist_node`` in each entry. An odd pointer ends a list of the second kind.
    """
    read = view(prog).read
    seen: set[int] = {head}
    before, at = head, pointer_at(prog, head)
    while at and not at & 1:
        _check(at, seen, "hash list")
        following, back = _LINKS.unpack(read(at, _LINKS.size))
        if back != before:
            _confirm(prog, before, at, "hash list")
        yield at
        before, at = at, following


def _confirm(prog: Program, before: int, at: int, kind: str) -> None:
    """Ask the memory of this moment about two neighbours that do not lead to each other.

    A running guest puts entries in and takes them out while the walk goes on, and the two pages were read at different
    moments. An entry whose predecessor has changed since, but which still is in the list, is no fault.

    Raises:
        TornWalkError: They are neighbours, and not linked in both directions; or the entry has left the list.
    """
    now = view(prog).read_now
    for _ in range(_ASKED):
        (following,) = _POINTER.unpack(now(before, _POINTER.size))
        _, back = _LINKS.unpack(now(at, _LINKS.size))
        if back == before:
            return
        if following != at:
            if back >= _LOWEST_KERNEL_ADDRESS and _POINTER.unpack(now(back, _POINTER.size)) == (at,):
                return
            raise TornWalkError(f"a {kind} changes while it is walked, at {at:#x}", at)
    raise TornWalkError(f"a {kind} leads to {at:#x}, and from there back to {back:#x} instead of {before:#x}", at)


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


def idr_for_each(prog: Program, idr: Object, *, reserved: bool = False) -> Iterator[tuple[int, int]]:
    """The pointers in an IDR.

    Args:
        prog: The guest.
        idr: ``struct idr``
        reserved: An id may be taken before it leads anywhere, as process ids are.

    Yields:
        (id, pointer)
    """
    base = idr.idr_base.value_()
    for index, entry in xa_for_each(prog, idr.idr_rt, reserved=reserved):
        yield index + base, entry


def xa_for_each(prog: Program, array: Object, *, reserved: bool = False) -> Iterator[tuple[int, int]]:
    """The pointers in an XArray or radix tree (include/linux/xarray.h), whose nodes must count what they hold.

    Args:
        prog: The guest.
        array: ``struct xarray``
        reserved: As of `idr_for_each`.

    Yields:
        (index, pointer), in the order of indices.
    """
    head, root = array.xa_head.value_(), int(array.address_ or 0)
    if not _is_node(head):
        if head & 3:
            raise TornWalkError(f"an XArray's head is no entry: {head:#x}", root)
        if head:
            yield 0, head
        return
    node = record(prog, "struct xa_node", "shift", "offset", "count", "parent", "array")
    marks_at, slots_at = (offset_of(prog, "struct xa_node", member) for member in ("marks", "slots"))
    slots = struct.Struct("<64Q")
    seen: set[int] = set()
    waiting = [(head - 2, 0, 64, 0, 0)]  # node, first index below it, its parent's shift and address, its place there
    while waiting:
        address, first, above, parent, place = waiting.pop()
        _check(address, seen, "tree")
        shift, offset, count, *above_it = node.read(address)
        _expect(shift % 6 == 0 and shift < above, address, "says that it stands above its parent")
        _expect(above_it == [parent, root] and (not parent or offset == place), address, "says that it hangs elsewhere")
        children = slots.unpack(view(prog).read(address + slots_at, slots.size))
        free = (1 << 64) - 1
        if reserved:
            (free,) = _POINTER.unpack(view(prog).read(address + marks_at, _POINTER.size))  # IDR_FREE, the first map
        taken = sum(bool(entry) or not free >> number & 1 for number, entry in enumerate(children))
        below = []
        for number, entry in enumerate(children):
            index = first + (number << shift)
            if shift and _is_node(entry):
                below.append((entry - 2, index, shift, address, number))
            elif entry:
                _expect(not entry & 3, address, f"has no entry at {number}: {entry:#x}")
                yield index, entry
        _expect(0 < taken == count, address, f"counts {count} entries and has {taken}")
        waiting += reversed(below)


def _expect(is_so: bool, address: int, otherwise: str) -> None:
    if not is_so:
        raise TornWalkError(f"an XArray's node at {address:#x} {otherwise}", address)


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
    node = record(prog, "struct rb_node", "__rb_parent_color", "rb_left", "rb_right")
    seen: set[int] = set()
    waiting = [(pointer_at(prog, root), 0)]
    while waiting:
        at, parent = waiting.pop()
        if not at:
            continue
        _check(at, seen, "tree")
        above, left, right = node.read(at)
        if above & ~3 != parent:
            raise TornWalkError(f"a tree leads to {at:#x}, and from there back to {above & ~3:#x}", at)
        yield at
        waiting += ((left, at), (right, at))
