"""Kernel integrity over many looks at one guest."""

from collections.abc import Iterator, Mapping

from drgn import Program

from beat_bridge.model.kernel import Hook
from beat_bridge.sensors.hypervisor.integrity.kernel_text import KernelText
from beat_bridge.sensors.hypervisor.integrity.read_only_data import ReadOnlyData
from beat_bridge.sensors.hypervisor.integrity.running import Running
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.whose import Whose

SENSORS = ("kernel_text", "read_only_data")


class Integrity:
    """What the kernel's code and read-only data should be, and were."""

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self._text = KernelText(prog)
        self._data: ReadOnlyData | None = None

    def look(self, whose: Whose, gaps: Mapping[str, Gaps]) -> Iterator[Hook]:
        """Everything that differs, or into which somebody has been let.

        Args:
            whose: Whose code an address is.
            gaps: Takes the account of each of SENSORS.
        """
        running = Running(self._prog, whose)
        yield from gaps["kernel_text"].whole(self._text.look(running, gaps["kernel_text"]), "the kernel's code")
        with gaps["read_only_data"].question("read-only data"):
            if self._data is None:
                self._data = ReadOnlyData(self._prog)
            yield from self._data.look(running, gaps["read_only_data"])
