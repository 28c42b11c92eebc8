"""One look at a guest from outside, with every walker."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from drgn import FaultError, Program

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Reason, Viewpoint
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.kernel import BpfLink, BpfMap, BpfProgram, Hook
from beat_bridge.model.processes import Process
from beat_bridge.model.sockets import Socket
from beat_bridge.sensors.hypervisor.integrity import watching
from beat_bridge.sensors.hypervisor.integrity.baseline import Baseline
from beat_bridge.sensors.hypervisor.kernel.asking import walked
from beat_bridge.sensors.hypervisor.kernel.bpf import bpf_code, bpf_links, bpf_maps, bpf_programs
from beat_bridge.sensors.hypervisor.kernel.clocks import boot_time, wall_clock
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.holdings import Holdings, holdings
from beat_bridge.sensors.hypervisor.kernel.hooks import hooks
from beat_bridge.sensors.hypervisor.kernel.identity import banner, identity, machine_uuid
from beat_bridge.sensors.hypervisor.kernel.modules import Modules, look_at_modules
from beat_bridge.sensors.hypervisor.kernel.processes import Surroundings, processes
from beat_bridge.sensors.hypervisor.kernel.program import open_program, view
from beat_bridge.sensors.hypervisor.kernel.sockets import Tables, sockets, tables
from beat_bridge.sensors.hypervisor.kernel.tasks import Leaders, leaders
from beat_bridge.sensors.hypervisor.kernel.whose import Whose
from beat_bridge.sensors.hypervisor.memory import PhysicalMemory
from beat_bridge.sensors.hypervisor.symbols.profile import Profile

BUDGET_SECONDS = 10.0
"""What one pass may take: many times what a large guest needs, and an end to what a hostile one asks for."""
_OF_CODE = ("kernel_hooks", *watching.SENSORS)
SENSORS = ("packet_sockets", "socket_filters", "processes", "modules", "bpf_objects", *_OF_CODE)
"""The names in `coverage`, beside `pid_files`."""
_PID_FILES = Coverage(
    sensor="pid_files",
    status=CoverageStatus.NONE,
    reason=Reason.UNSUPPORTED,
    detail="files are not looked at from outside: look from inside as well",
)


class Introspection:
    """Looks at one guest in one boot again and again; types and layouts are worked out once.

    After a restart, what is left of the kernel before lies in RAM until its pages are needed. Memory alone does not
    always tell it from one that runs: whoever looks at a guest that may be restarted asks its hypervisor too (`sight`).
    """

    def __init__(  # noqa: PLR0913 - keywords, each one thing that a caller may know of the guest
        self,
        memory: PhysicalMemory,
        profile: Profile,
        *,
        host_id: str = "",
        budget_seconds: float = BUDGET_SECONDS,
        baseline: Baseline | None = None,
        modules_dir: Path | None = None,
    ) -> None:
        """Prepare for a guest.

        Args:
            memory: Its RAM.
            profile: Its kernel, in this boot.
            host_id: Its `/etc/machine-id` or UUID, if the caller knows it; see `kernel.identity`.
            budget_seconds: What one look may take; what is not seen by then is told as coverage.
            baseline: The kernel's state earlier in this boot; what has changed since is told.
            modules_dir: The files of its modules (`/lib/modules`), to compare their code with.

        Raises:
            DoorwatchError: The profile, or the baseline, is of another kernel or boot.
        """
        self._prog = open_program(memory, profile)
        try:
            self._banner = banner(self._prog)
            self._host_id = host_id or machine_uuid(self._prog)
        except (FaultError, LookupError) as error:
            raise DoorwatchError(f"the guest's kernel cannot be read where its profile has it: {error}") from error
        try:
            self._integrity = watching.Integrity(self._prog, baseline, modules_dir)
        except FaultError as error:
            raise DoorwatchError(f"the guest's boot id cannot be read: {error}") from error
        self._budget = budget_seconds
        self._boot_id = ""

    def baseline(self) -> Baseline:
        """The state of the kernel's code and read-only data at the last look, to be kept for this boot."""
        return self._integrity.baseline()

    def look(self, *, whole: bool = True) -> Inventory:
        """Everything in the guest that the walkers know of, and, in `coverage`, what could not be read.

        Args:
            whole: Also look at hooks and code; without it, `coverage` has no word of them.

        Raises:
            DoorwatchError: Not even its name can be read: it is gone, or was started anew.
        """
        taken_at = datetime.now(UTC)
        view(self._prog).begin(self._budget)
        try:
            same = banner(self._prog) == self._banner
            host, booted_at = identity(self._prog, self._host_id), boot_time(self._prog)
        except (FaultError, LookupError) as error:
            raise DoorwatchError(f"the guest cannot be looked at any more ({error}): has it been restarted?") from error
        if not same or (self._boot_id and host.boot_id != self._boot_id):
            raise DoorwatchError("the guest's kernel is not where it was: it has been restarted: look for it anew")
        self._boot_id = host.boot_id
        found = _Pass(self._prog, booted_at, self._integrity if whole else None)
        found.run()
        return Inventory(
            host=host,
            viewpoint=Viewpoint.HYPERVISOR,
            taken_at=taken_at,
            processes=tuple(sorted(found.processes, key=lambda process: process.pid)),
            sockets=tuple(sorted(found.sockets, key=lambda socket: socket.inode)),
            hooks=tuple(found.hooks),
            modules=tuple(found.modules.modules),
            bpf_programs=tuple(found.bpf_programs),
            bpf_maps=tuple(found.bpf_maps),
            bpf_links=tuple(found.bpf_links),
            coverage=found.coverage(),
        )

    def clock(self) -> datetime:
        """The guest's own clock as of its last tick: of a memory image, when it was taken.

        Raises:
            DoorwatchError: It cannot be read.
        """
        try:
            return datetime.fromtimestamp(wall_clock(self._prog), UTC)
        except (FaultError, LookupError, ValueError, OverflowError, OSError) as error:
            raise DoorwatchError(f"the guest's clock cannot be read: {error}") from error


def look(memory: PhysicalMemory, profile: Profile, *, host_id: str = "") -> Inventory:
    """One look at a guest or a memory image; see `Introspection`.

    Raises:
        DoorwatchError: The profile does not fit, or the guest is gone.
    """
    return Introspection(memory, profile, host_id=host_id).look()


class _Pass:
    """What one look found. Each question is asked for itself: where one fails, the others are still answered."""

    def __init__(self, prog: Program, booted_at: int, integrity: watching.Integrity | None) -> None:
        self._prog = prog
        self._booted_at = booted_at
        self._integrity = integrity
        self._gaps = {name: Gaps() for name in SENSORS if integrity is not None or name not in _OF_CODE}
        self.processes: list[Process] = []
        self.sockets: list[Socket] = []
        self.hooks: list[Hook] = []
        self.modules = Modules()
        self.bpf_programs: list[BpfProgram] = []
        self.bpf_maps: list[BpfMap] = []
        self.bpf_links: list[BpfLink] = []

    def run(self) -> None:
        prog, gaps = self._prog, self._gaps
        everyone, held, shown = Leaders(), Holdings(), Tables()
        with gaps["processes"].question("the lists of tasks"):
            everyone = leaders(prog, gaps["processes"])
        if not gaps["processes"].complete:
            gaps["socket_filters"].lose("open descriptors", FaultError("not every process is known", 0))
        with gaps["socket_filters"].question("open descriptors"):
            held = holdings(prog, everyone.tasks, gaps["socket_filters"], everyone=gaps["processes"].complete)
        with gaps["packet_sockets"].question("the tables of sockets"):
            shown = tables(prog, gaps["packet_sockets"])
        surroundings = Surroundings(held, shown.namespaces, self._booted_at)
        filters, listing = gaps["socket_filters"], gaps["packet_sockets"]
        self.sockets += filters.whole(sockets(prog, shown, held, filters, listing), "sockets")
        self.processes += gaps["processes"].whole(
            processes(prog, everyone, surroundings, gaps["processes"]), "processes"
        )
        with gaps["modules"].question("modules"):
            self.modules = look_at_modules(prog, gaps["modules"])
        bpf = gaps["bpf_objects"]
        self.bpf_programs += bpf.whole(bpf_programs(prog, bpf), "BPF programs")
        self.bpf_maps += bpf.whole(bpf_maps(prog, bpf), "BPF maps")
        self.bpf_links += bpf.whole(bpf_links(prog, bpf), "BPF links")
        if self._integrity is not None:
            self._look_at_code(self._integrity)

    def _look_at_code(self, integrity: watching.Integrity) -> None:
        gaps = self._gaps
        of_programs = walked(self._prog, partial(bpf_code, self._prog), "the code of BPF programs", gaps["bpf_objects"])
        whose = Whose(self._prog, [*self.modules.ranges, *of_programs])
        attached = gaps["kernel_hooks"].whole(hooks(self._prog, whose, gaps["kernel_hooks"]), "hooks")
        self.hooks = _together(attached, integrity.look(whose, self.modules.by_address, gaps))

    def coverage(self) -> tuple[Coverage, ...]:
        return (*(gaps.coverage(name) for name, gaps in self._gaps.items()), _PID_FILES)


def _together(hooks: Iterable[Hook], changed: Iterable[Hook]) -> list[Hook]:
    """Each place once, by whoever has something against it.

    A system call that leads to another's function is in order for what knows functions alone, not for what knows the
    table.
    """
    told = {(hook.surface, hook.symbol): hook for hook in hooks}
    for hook in changed:
        place = (hook.surface, hook.symbol)
        if place not in told or told[place].actual == told[place].expected:
            told[place] = hook
    return list(told.values())
