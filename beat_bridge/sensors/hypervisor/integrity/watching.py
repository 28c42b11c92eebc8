"""Kernel integrity over many looks at one guest."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from drgn import Program
from msgspec.structs import replace

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.kernel import Hook, KernelModule
from beat_bridge.sensors.hypervisor.integrity.baseline import Baseline
from beat_bridge.sensors.hypervisor.integrity.kernel_text import KernelText
from beat_bridge.sensors.hypervisor.integrity.module_text import ModuleText
from beat_bridge.sensors.hypervisor.integrity.read_only_data import ReadOnlyData
from beat_bridge.sensors.hypervisor.integrity.running import Running
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.identity import boot_id
from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.kernel.whose import Whose

SENSORS = ("kernel_text", "module_text", "read_only_data")


class Integrity:
    """What the kernel's code and read-only data should be, and were."""

    def __init__(self, prog: Program, baseline: Baseline | None = None, modules_dir: Path | None = None) -> None:
        """Watch a guest.

        Args:
            prog: The guest.
            baseline: Taken earlier in this boot, perhaps by another process.
            modules_dir: The files of its modules (`/lib/modules`), if they are at hand.

        Raises:
            DoorwatchError: The baseline is of another boot or build, or there is no such directory.
        """
        self._prog = prog
        self._whose = Whose(prog, ())
        self._baseline = baseline
        self._text = KernelText(prog)
        self._modules = ModuleText(prog, modules_dir)
        self._data: ReadOnlyData | None = None
        here = self._bare()
        if baseline is not None and not baseline.belongs_to(here):
            raise DoorwatchError(
                f"the baseline is of {_described(baseline)}, but the guest runs {_described(here)}: "
                "take a new baseline of this boot"
            )

    def look(self, whose: Whose, modules: Mapping[int, KernelModule], gaps: Mapping[str, Gaps]) -> Iterator[Hook]:
        """Everything that differs, or into which somebody has been let.

        Args:
            whose: Whose code an address is.
            modules: Those that are loaded, by address of the ``struct module``.
            gaps: Takes the account of each of SENSORS.
        """
        self._whose = whose
        running = Running(self._prog, whose)
        baseline = self._baseline
        text = self._text.look(running, gaps["kernel_text"], () if baseline is None else baseline.kernel_text)
        yield from gaps["kernel_text"].whole(text, "the kernel's code")
        code = self._modules.look(modules, running, gaps["module_text"])
        yield from gaps["module_text"].whole(code, "the code of modules")
        with gaps["read_only_data"].question("read-only data"):
            if self._data is None:
                self._data = ReadOnlyData(self._prog)
            digests = () if baseline is None else baseline.read_only_data
            yield from self._data.look(running, gaps["read_only_data"], digests)

    def baseline(self) -> Baseline:
        """The state at the last look; without pages before the first."""
        running = Running(self._prog, self._whose)
        return replace(
            self._bare(),
            kernel_text=self._text.digests(running),
            read_only_data=() if self._data is None else tuple(self._data.pages.digests()),
        )

    def _bare(self) -> Baseline:
        profile = view(self._prog).profile
        return Baseline(
            build_id=profile.build_id,
            kernel_offset=profile.kernel_offset,
            boot_id=boot_id(self._prog),
            kernel_text=(),
            read_only_data=(),
        )


def _described(baseline: Baseline) -> str:
    boot = baseline.boot_id or "without an id"
    return f"build {baseline.build_id[:16]} moved by {baseline.kernel_offset:#x}, boot {boot}"
