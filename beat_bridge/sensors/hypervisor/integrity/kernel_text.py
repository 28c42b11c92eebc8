"""The sensor `kernel_text`: every byte of the kernel's code."""

from collections.abc import Iterator, Sequence

from drgn import Program

from beat_bridge.model.kernel import Hook
from beat_bridge.sensors.hypervisor.integrity.code import WatchedCode
from beat_bridge.sensors.hypervisor.integrity.pages import Pages
from beat_bridge.sensors.hypervisor.integrity.reference import FirstLook, KernelImage, Reference
from beat_bridge.sensors.hypervisor.integrity.running import Running
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.kernel.syscalls import DISPATCHERS


class KernelText:
    """The kernel's code from `_text` to `_etext`, remembered from look to look.

    What lies behind `_etext` up to the next page, and `.init.text`, is no code any more: the kernel gives it back after
    boot.
    """

    def __init__(self, prog: Program) -> None:
        profile = view(prog).profile
        self._prog = prog
        self.pages = Pages(prog, profile.text_start, profile.text_end - profile.text_start)
        self._code: WatchedCode | None = None
        self._image = bool(profile.build.text) and profile.build.relocations is not None

    def digests(self, running: Running) -> tuple[str, ...]:
        """The pages as they are, for a baseline."""
        return () if self._code is None else tuple(self._code.digests(running))

    def look(self, running: Running, gaps: Gaps, baseline: Sequence[str] = ()) -> Iterator[Hook]:
        """What is not as the image has it, or, without one, as it was at the first look; and who has been let in.

        Args:
            running: Asked for explanations.
            gaps: Takes the account.
            baseline: Digests of pages, taken earlier in this boot: what differs from them is told as well.
        """
        if not self._image:
            gaps.lack("the kernel's code", LookupError("give its image: without it only later changes show"))
        changed = self.pages.changed(gaps)
        if self._code is None:
            reference: Reference = KernelImage(self._prog) if self._image else FirstLook(self._prog, self.pages)
            self._code = WatchedCode(self.pages, reference, self._name)
        yield from self._code.look(changed, running, gaps)
        if baseline:
            yield from self._code.drifted(changed, baseline, running)

    def _name(self, address: int) -> tuple[str, str]:
        symbol = view(self._prog).profile.symbol_at(address)
        if symbol is None:
            return "kernel_text", f"{address:#x}"
        surface = "syscall_dispatch" if symbol.name in DISPATCHERS else "kernel_text"
        return surface, f"{symbol.name}+{address - symbol.address:#x}"
