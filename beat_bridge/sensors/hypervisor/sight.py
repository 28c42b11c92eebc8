"""Looking at a guest again and again, whatever happens to it between and during the looks.

A guest is reset, reverted, moved, stopped, and dies. RAM alone does not tell: after a reset, the kernel before it lies
there, whole, until its pages are needed. So the hypervisor is asked before and after each look whether it is the same
guest, in the same life, running this kernel; and where a look was disturbed it is thrown away, never mended.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter, sleep

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.inventory import Inventory
from beat_bridge.sensors.hypervisor.guests import GuestGone, GuestState
from beat_bridge.sensors.hypervisor.guests.interruptions import garbage_kept, held_back
from beat_bridge.sensors.hypervisor.guests.running import runs_on
from beat_bridge.sensors.hypervisor.guests.standing import GuestMemory, Standing
from beat_bridge.sensors.hypervisor.integrity.keeping import keep_baseline, kept_baseline
from beat_bridge.sensors.hypervisor.kernels import profile_of
from beat_bridge.sensors.hypervisor.looking import BUDGET_SECONDS, Introspection
from beat_bridge.sensors.hypervisor.memory import MemoryFault, PhysicalMemory
from beat_bridge.sensors.hypervisor.symbols.profile import Profile
from beat_bridge.sensors.hypervisor.symbols.vmcoreinfo import VmCoreInfo

ATTEMPTS = 2
"""A look that was disturbed is taken once more; who is disturbed twice says so."""
TICK_SECONDS = 3.0
"""How long a kernel is watched for a sign of life; an idle one wakes about once a second."""
_TICK_STEP = 0.02


@dataclass(slots=True)
class _Opened:
    """A guest that is being looked at."""

    memory: PhysicalMemory
    profile: Profile
    introspection: Introspection
    standing: Standing | None
    """When it was opened; None where no hypervisor can be asked."""
    unkept: bool
    """Nothing is known of an earlier look at this boot, and of this one nothing is kept yet."""


class Sight:
    """One guest, as seen from outside at any time."""

    def __init__(  # noqa: PLR0913 - each is one thing a caller knows of a guest
        self,
        open_memory: Callable[[], PhysicalMemory],
        *,
        kernels: Sequence[Path] = (),
        cache_dir: Path | None = None,
        host_id: str = "",
        modules_dir: Path | None = None,
        baseline_file: Path | None = None,
        budget_seconds: float = BUDGET_SECONDS,
    ) -> None:
        """Describe a guest; nothing is opened before the first look.

        Args:
            open_memory: Opens its RAM where it lies at that moment: `Guest.memory`, or a memory image.
            kernels: Images of its kernel, or directories of images; see `profile_of`.
            cache_dir: Where kernels' symbols are kept.
            host_id: Its `/etc/machine-id`, if the caller knows it.
            modules_dir: Where its kernel's module files are.
            baseline_file: Where the state of its kernel is kept, for as long as it is not started anew: what changes
                while nobody looks is then told by the next process. Its directory must exist.
            budget_seconds: What one look may take.
        """
        self._open_memory = open_memory
        self._kernels = tuple(kernels)
        self._cache_dir = cache_dir
        self._host_id = host_id
        self._modules_dir = modules_dir
        self._baseline_file = baseline_file
        self._budget = budget_seconds
        self._opened: _Opened | None = None
        self.stood_still_seconds = 0.0
        """How long the last `look_paused` let the guest stand still, at most."""

    def look(self) -> Inventory:
        """One look while it goes on.

        Raises:
            DoorwatchError: It is off, gone, booting or cannot be reached, or it was disturbed in every look.
        """
        for _ in range(ATTEMPTS - 1):
            opened = self._open()
            try:
                return self._look(opened)
            except DoorwatchError:
                self.close()
        try:
            return self._look(self._open())
        except DoorwatchError:
            self.close()
            raise

    def look_paused(self) -> Inventory:
        """One look at its lists while it stands still; it goes on afterwards, unless it stood still before.

        Code and hooks are not looked at: they do not begin and end as processes do, and cost half of the time.

        Raises:
            DoorwatchError: As `look`, or it cannot be stopped, or it could not be let go on.
        """
        self._open()  # what takes long is done while it still runs
        with held_back(), garbage_kept():
            opened = self._open()
            began = perf_counter()
            try:
                opened.memory.pause()
                return self._look(opened, whole=False)
            except DoorwatchError:
                self._opened = None
                raise
            finally:
                try:
                    opened.memory.resume()
                finally:
                    stopped = opened.memory.stopped_at if isinstance(opened.memory, GuestMemory) else None
                    self.stood_still_seconds = perf_counter() - max(began, stopped or began)
                    if self._opened is None:
                        opened.memory.close()

    def clock(self) -> datetime:
        """The guest's own clock as of its last tick: of a memory image, when it was taken.

        Raises:
            DoorwatchError: It cannot be read, or the guest cannot be looked at.
        """
        return self._open().introspection.clock()

    def close(self) -> None:
        """Give back what is open; the next look opens it anew."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.memory.close()

    def _look(self, opened: _Opened, *, whole: bool = True) -> Inventory:
        """One look of which nothing is kept if the guest was not the same all through it.

        Raises:
            DoorwatchError: It was not, or could not be looked at.
        """
        before = _pulse(opened.memory, opened.profile)
        inventory = opened.introspection.look(whole=whole)
        after = _pulse(opened.memory, opened.profile)
        if _went_back(before, after) or not _same(opened, _standing(opened.memory)):
            raise DoorwatchError("the guest was restarted, reverted or moved while it was looked at: look again")
        if whole and opened.unkept and self._baseline_file is not None and inventory.host.boot_id:
            opened.unkept = not keep_baseline(self._baseline_file, opened.introspection.baseline())
        return inventory

    def _open(self) -> _Opened:
        """The guest as it is now: as it was opened, if nothing has happened to it, or opened anew."""
        if self._opened is not None:
            try:
                if _same(self._opened, _standing(self._opened.memory)):
                    return self._opened
            except GuestGone:
                self.close()
                raise
            self.close()
        memory = self._open_memory()
        try:
            self._opened = self._learn(memory)
        except BaseException:
            memory.close()
            raise
        return self._opened

    def _learn(self, memory: PhysicalMemory) -> _Opened:
        standing = _standing(memory)
        profile = self._living(memory, standing)
        introspect = partial(
            Introspection,
            memory,
            profile,
            host_id=self._host_id,
            budget_seconds=self._budget,
            modules_dir=self._modules_dir,
        )
        introspection, kept = introspect(), None
        if self._baseline_file is not None:
            kept = kept_baseline(self._baseline_file, introspection.baseline())
        if kept is not None:
            introspection = introspect(baseline=kept)
        opened = _Opened(memory, profile, introspection, standing, unkept=kept is None)
        if not _same(opened, _standing(memory)):
            raise DoorwatchError("the guest was restarted or moved while it was opened: look again")
        return opened

    def _living(self, memory: PhysicalMemory, standing: Standing | None) -> Profile:
        """The kernel that runs, of those that lie in RAM.

        Raises:
            DoorwatchError: There is none, or none of them shows a sign of life.
        """
        if standing is not None and standing.page_tables is not None:
            return self._profile(memory, lambda note: runs_on(note, memory, _standing(memory)))
        still: list[VmCoreInfo] = []
        while True:
            try:
                profile = self._profile(memory, lambda note: note not in still)
            except DoorwatchError:
                if len(still) == 1 and (standing is None or standing.incarnation.resets == 0):
                    return self._profile(memory, None)  # alone, and never known to have been reset: idle, or a dump
                raise
            if standing is None or (standing.state is GuestState.RUNNING and _ticks(memory, profile)):
                return profile
            still.append(profile.boot)

    def _profile(self, memory: PhysicalMemory, runs: Callable[[VmCoreInfo], bool] | None) -> Profile:
        return profile_of(memory, self._kernels, self._cache_dir, runs)


def _standing(memory: PhysicalMemory) -> Standing | None:
    """How the guest stands; None where nobody can tell.

    Raises:
        GuestGone: It does not run any more.
        DoorwatchError: Its hypervisor does not answer.
    """
    if not isinstance(memory, GuestMemory):
        return None
    standing = memory.standing()
    if standing.state in (GuestState.OFF, GuestState.GONE):
        raise GuestGone(f"the guest is {standing.state.value}: there is nothing to look at until it is started")
    return standing


def _same(opened: _Opened, now: Standing | None) -> bool:
    """Whether what was learnt still holds: the same life of the same guest, and it runs this kernel."""
    if now is None or opened.standing is None:
        return True
    return now.incarnation == opened.standing.incarnation and (
        now.page_tables is None or runs_on(opened.profile.boot, opened.memory, now)
    )


def _pulse(memory: PhysicalMemory, profile: Profile) -> int | None:
    """How often the kernel has told itself the time, modulo 2**32; None where that cannot be read.

    The count begins `tk_core` (kernel/time/timekeeping.c), a seqcount that each tick raises by two. A return to a
    snapshot takes it back, which the clocks themselves make up for with the next tick.
    """
    address = profile.find("tk_core")
    if address is None:
        return None
    memory.refresh()
    try:
        return int.from_bytes(memory.read(profile.physical(address), 4), "little")
    except MemoryFault:
        return None


def _went_back(before: int | None, after: int | None) -> bool:
    return before is not None and after is not None and (after - before) % (1 << 32) >= 1 << 31


def _ticks(memory: PhysicalMemory, profile: Profile) -> bool:
    """Whether time goes on in a kernel."""
    first = _pulse(memory, profile)
    deadline = monotonic() + TICK_SECONDS
    while monotonic() < deadline:
        if _pulse(memory, profile) != first:
            return True
        sleep(_TICK_STEP)  # the guest tells nobody when it writes to its memory
    return False
