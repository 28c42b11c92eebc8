"""Changes written into a running guest's RAM from outside, each undone when its context is left.

Where things lie is learnt from the guest's own `/proc` and from a module compiled for its kernel, by none of the ways
of the product, so that the product can be tested against it.
"""

import contextlib
import mmap
import re
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Self

from tests.lab.guest import plants
from tests.lab.guest.channel import GuestError
from tests.lab.guest.monitor import paused
from tests.lab.guest.qemu import MIB, Guest

FOUR_GIB = 4096 * MIB
UNUSED_SYSCALL = 183
"""afs_syscall: it has a number and no implementation."""
STAND_IN = "__x64_sys_getppid"
UNUSED_FUNCTION = "__do_sys_swapoff"
"""Nobody calls it in a guest without swap; it is long enough to have an inside."""
UNUSED_OFFSET = 0x40
PAGE_SHIFTS = (39, 30, 21, 12)
"""Of the four levels of a page table (Intel SDM volume 3, "4-level paging"); a fifth is above them."""
PRESENT, LARGE, FRAME = 1 << 0, 1 << 7, 0x000F_FFFF_FFFF_F000
XA_NODE = 2
"""In the last bits of an entry that leads to a ``struct xa_node`` (include/linux/xarray.h)."""
LAYOUT_MODULE = "doorwatch_layout"
MODULES_AT_MOST = 1000


class Change(NamedTuple):
    """Bytes of a guest that were changed from outside."""

    symbol: str
    """The function or table they are in."""
    address: int
    """Virtual."""
    before: bytes
    after: bytes


class Outside:
    """A guest's RAM, to read and write by the kernel's virtual addresses."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._low = 2048 * MIB if guest.memory >= 2816 * MIB else guest.memory  # QEMU: pc_q35_init, below_4g_mem_size
        # all is asked for at once: a paused guest does not answer
        lines = (line.split() for line in guest.get("/proc/kallsyms").decode().splitlines())
        self.symbols = {fields[2]: int(fields[0], 16) for fields in lines if len(fields) == 3}
        """Name to address, of the kernel itself without its modules; of equal names the last."""
        found = re.search(r"([0-9a-f]+)-[0-9a-f]+ : Kernel code", guest.get("/proc/iomem").decode())
        assert found
        self._page_table = self.symbols["init_top_pgt"] - self.symbols["_text"] + int(found[1], 16)
        self._shifts = (48, *PAGE_SHIFTS) if "la57" in guest.check("cat", "/proc/cpuinfo").split() else PAGE_SHIFTS
        with guest.ram_file.open("r+b") as file:
            self._ram = mmap.mmap(file.fileno(), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ram.close()

    def offset(self, address: int) -> int:
        """Where in the RAM file a virtual address of the kernel lies, as the kernel's own page table says."""
        _, entry, size = self.mapping(address)
        return self._in_file((entry & FRAME & -size) + address % size)

    def mapping(self, address: int) -> tuple[int, int, int]:
        """Where in the RAM file the page table entry of an address lies, the entry, and the bytes that it maps."""
        table = self._page_table
        for shift in self._shifts:
            place = self._in_file(table + (address >> shift & 0x1FF) * 8)
            (entry,) = struct.unpack_from("<Q", self._ram, place)
            assert entry & PRESENT, f"{address:#x} is not mapped"
            if shift == PAGE_SHIFTS[-1] or entry & LARGE:
                return place, entry, 1 << shift
            table = entry & FRAME
        raise AssertionError("the last level always maps a page")

    def _in_file(self, physical: int) -> int:
        if physical < FOUR_GIB:
            assert physical < self._low, f"{physical:#x} is not RAM"
            return physical
        return physical - FOUR_GIB + self._low

    def read(self, address: int, size: int) -> bytes:
        """Bytes as they are now."""
        offset = self.offset(address)
        return self._ram[offset : offset + size]

    def read_word(self, address: int) -> int:
        """An unsigned long."""
        return int(struct.unpack("<Q", self.read(address, 8))[0])

    def _write(self, address: int, data: bytes) -> None:
        offset = self.offset(address)
        self._ram[offset : offset + len(data)] = data

    def _write_word(self, address: int, value: int) -> None:
        self._write(address, struct.pack("<Q", value))

    @contextlib.contextmanager
    def changed(self, symbol: str, offset: int, data: bytes) -> Iterator[Change]:
        """Other bytes at a place in a function or table of the kernel."""
        address = self.symbols[symbol] + offset
        with paused(self._guest.monitor_path):
            change = Change(symbol, address, self.read(address, len(data)), data)
            self._write(address, data)
        try:
            yield change
        finally:
            with paused(self._guest.monitor_path):
                self._write(address, change.before)

    @contextlib.contextmanager
    def still(self, changes: Mapping[int, bytes]) -> Iterator[None]:
        """Other bytes at some virtual addresses, while the guest stands still: nobody meets them there."""
        with paused(self._guest.monitor_path):
            before = {address: self.read(address, len(data)) for address, data in changes.items()}
            try:
                for address, data in changes.items():
                    self._write(address, data)
                yield
            finally:
                for address, data in before.items():
                    self._write(address, data)

    @contextlib.contextmanager
    def changed_syscall(self) -> Iterator[Change]:
        """An unused system call's entry in `sys_call_table` leads to another function of the kernel."""
        entry = struct.pack("<Q", self.symbols[STAND_IN])
        with self.changed("sys_call_table", UNUSED_SYSCALL * len(entry), entry) as change:
            yield change

    @contextlib.contextmanager
    def changed_text(self, symbol: str = UNUSED_FUNCTION, offset: int = UNUSED_OFFSET) -> Iterator[Change]:
        """One byte of a function that is not called is another."""
        (byte,) = self.read(self.symbols[symbol] + offset, 1)
        with self.changed(symbol, offset, bytes([byte ^ 0xFF])) as change:
            yield change

    @contextlib.contextmanager
    def unlinked_task(self, pid: int) -> Iterator[int]:
        """A process is taken out of the list of tasks, and runs on; the address of its `task_struct`.

        It must live until this ends.
        """
        layout = self._layout(pid)
        task, tasks = layout["task"], layout["task_tasks"]
        with self._unlinked(self.symbols["init_task"] + tasks, task + tasks):
            yield task

    @contextlib.contextmanager
    def unnumbered_task(self, pid: int) -> Iterator[int]:
        """The table of process ids leads to a process no more, and it runs on; the address of that place in the table.

        No signal reaches it and /proc does not show it. It must live until this ends.
        """
        place = self._layout(pid)["pid_slot"]
        with paused(self._guest.monitor_path):
            kept = self.read_word(place)
            self._write_word(place, 0)
        try:
            yield place
        finally:
            with paused(self._guest.monitor_path):
                self._write_word(place, kept)

    @contextlib.contextmanager
    def unnumbered(self, table: str, number: int, layout: Mapping[str, int]) -> Iterator[None]:
        """A table of numbers (`prog_idr`, `map_idr`) leads to an object no more, which goes on as it does.

        It must live until this ends, and may not be the only one of its node, which would go with it.

        Args:
            table: An IDR of the kernel's.
            number: What the table has the object under.
            layout: Offsets of `xa_head` within ``struct idr``, and of `slots` and `count` within ``struct xa_node``.
        """
        with paused(self._guest.monitor_path):
            entry = self.read_word(self.symbols[table] + layout["xa_head"])
            while entry & 3 == XA_NODE:
                (shift,) = self.read(entry - XA_NODE, 1)
                place = entry - XA_NODE + layout["slots"] + (number >> shift & 0x3F) * 8
                counter = entry - XA_NODE + layout["count"]
                entry = self.read_word(place)
            (count,) = self.read(counter, 1)
            assert entry
            assert count > 1
            self._write_word(place, 0)
            self._write(counter, bytes([count - 1]))
        try:
            yield
        finally:
            with paused(self._guest.monitor_path):
                self._write_word(place, entry)
                (count,) = self.read(counter, 1)
                self._write(counter, bytes([count + 1]))

    @contextlib.contextmanager
    def unlisted(self, head: int, node: int) -> Iterator[None]:
        """The last entry of a list of hashed nodes (``struct hlist_head``) is out of it meanwhile."""
        with paused(self._guest.monitor_path):
            assert self.read_word(node) == 0, "not the last"
            self._write_word(self.read_word(node + 8), 0)
        try:
            yield
        finally:
            with paused(self._guest.monitor_path):
                place = head
                while following := self.read_word(place):
                    place = following
                self._write_word(place, node)
                self._write_word(node + 8, place)

    def task(self, pid: int) -> int:
        """The address of a process's `task_struct`."""
        return self._layout(pid)["task"]

    def _layout(self, pid: int) -> dict[str, int]:
        """What the layout module tells, of a process too."""
        parameters = f"/sys/module/{LAYOUT_MODULE}/parameters"
        with plants.module(self._guest, LAYOUT_MODULE) as layout:
            self._guest.put(f"{parameters}/find", str(pid).encode(), mode=None)
            return layout | {name: int(self._guest.get(f"{parameters}/{name}")) for name in ("task", "pid_slot")}

    @contextlib.contextmanager
    def unlinked_module(self, name: str) -> Iterator[int]:
        """A loaded module is taken out of the list of modules, and works on; the address of its `struct module`.

        It must stay loaded until this ends, as it does: the kernel does not find it to unload it.
        """
        with plants.module(self._guest, LAYOUT_MODULE) as layout:
            pass
        head = node = self.symbols["modules"]
        for _ in range(MODULES_AT_MOST):
            node = self.read_word(node)
            module = node - layout["module_list"]
            if node != head and self.read(module + layout["module_name_at"], len(name) + 1) == name.encode() + b"\0":
                break
        else:
            raise GuestError(f"the module {name} is not in the list")
        with self._unlinked(head, node):
            yield module

    @contextlib.contextmanager
    def _unlinked(self, head: int, node: int) -> Iterator[None]:
        """An entry is out of its list meanwhile, and afterwards its last.

        In between its links lead to itself, so that the kernel could even take it out once more.
        """
        with paused(self._guest.monitor_path):
            following, previous = self.read_word(node), self.read_word(node + 8)
            self._link(previous, following)
            self._link(node, node)
        try:
            yield
        finally:
            with paused(self._guest.monitor_path):
                last = self.read_word(head + 8)
                self._link(last, node)
                self._link(node, head)

    def _link(self, node: int, following: int) -> None:
        """`node->next = following; following->prev = node` (struct list_head)."""
        self._write_word(node, following)
        self._write_word(following + 8, node)
