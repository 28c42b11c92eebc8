"""The kernel's clocks, as far as they turn start times into dates."""

from drgn import Program

from beat_bridge.sensors.hypervisor.kernel.records import record

USER_HZ = 100
"""Clock ticks per second that user space is shown (include/asm-generic/param.h)."""
_NANOSECONDS = 1_000_000_000


def boot_time(prog: Program) -> int:
    """Seconds since the epoch at which the kernel began: `btime` of /proc/stat (getboottime64).

    Raises:
        FaultError: The clock cannot be read.
    """
    keeper = prog["shadow_timekeeper"]
    real, boot = record(prog, "struct timekeeper", "offs_real", "offs_boot").read(int(keeper.address_ or 0))
    return int((real - boot) // _NANOSECONDS)


def wall_clock(prog: Program) -> int:
    """Seconds since the epoch by the guest's own clock, as of its last tick: never later than that clock is.

    Raises:
        FaultError: The clock cannot be read.
    """
    keeper = prog["shadow_timekeeper"]
    (seconds,) = record(prog, "struct timekeeper", "xtime_sec").read(int(keeper.address_ or 0))
    return int(seconds)


def ticks(nanoseconds: int) -> int:
    """A time since boot in clock ticks (nsec_to_clock_t)."""
    return nanoseconds // (_NANOSECONDS // USER_HZ)
