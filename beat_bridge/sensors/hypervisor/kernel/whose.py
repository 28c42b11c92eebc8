"""Whose code an address is: the kernel's, a module's, a BPF program's, or nobody's."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from drgn import Program

from beat_bridge.model.kernel import Hook
from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.kernel.records import once
from beat_bridge.sensors.hypervisor.symbols.symbol_table import KernelSymbol

_MOST_REMEMBERED = 65_536
KERNEL = "kernel"
"""Owner of what lies in the kernel's own text."""


@dataclass(frozen=True, slots=True)
class Code:
    """What an address is."""

    name: str
    """Symbol and offset where they are known, else the address."""
    aliases: frozenset[str]
    """All symbols that begin exactly here."""
    owner: str
    """KERNEL, a module, `bpf:NAME`; empty where nobody's."""


class Whose:
    """Answers for one pass."""

    def __init__(self, prog: Program, ranges: Iterable[tuple[int, int, str]]) -> None:
        """Take note of code.

        Args:
            prog: The guest.
            ranges: (first address, end, owner) of code outside the kernel's own text.
        """
        self._profile = view(prog).profile
        self._ranges = sorted(ranges)
        self._starts = [start for start, _, _ in self._ranges]
        # the kernel's own code keeps its names as long as it runs; what others load comes and goes
        self._kernel: dict[int, Code] = once(prog, ("kernel code",), dict)

    def code(self, address: int) -> Code:
        """What an address is."""
        if not self._profile.text_start <= address < self._profile.text_end:
            return self._loaded(address)
        known = self._kernel.get(address)
        if known is None:
            known = self._in_kernel(address)
            if len(self._kernel) < _MOST_REMEMBERED:
                self._kernel[address] = known
        return known

    def _in_kernel(self, address: int) -> Code:
        names = [found.name for found in self._names_at(address)]
        if names:
            return Code(names[0], frozenset(names), KERNEL)
        around = self._profile.symbol_at(address)
        name = f"{address:#x}" if around is None else f"{around.name}+{address - around.address:#x}"
        return Code(name, frozenset(), KERNEL)

    def _loaded(self, address: int) -> Code:
        place = bisect_right(self._starts, address) - 1
        if place >= 0:
            start, end, owner = self._ranges[place]
            if start <= address < end:
                return Code(f"{owner}+{address - start:#x}", frozenset(), owner)
        return Code(f"{address:#x}", frozenset(), "")

    def _names_at(self, address: int) -> Iterator[KernelSymbol]:
        """The kernel's symbols at an address: a system call has three or four."""
        symbols, link = self._profile.build.symbols, address - self._profile.kernel_offset
        place = symbols.before(link)
        while place is not None and place < len(symbols) and symbols.addresses[place] == link:
            yield symbols.at(place)
            place += 1

    def attached(self, surface: str, name: str, target: int) -> Hook:
        """A place that may lead to any code that somebody owns: the kernel lets modules and programs attach there."""
        code = self.code(target)
        owner = "" if code.owner == KERNEL else code.owner
        expected = code.name if code.owner else "code of the kernel, a listed module or a BPF program"
        return Hook(surface=surface, symbol=name, expected=expected, actual=code.name, owner=owner)
