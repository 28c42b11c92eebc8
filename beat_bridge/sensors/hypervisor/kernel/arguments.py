"""A process's arguments and environment, out of its own memory (fs/proc/base.c, get_mm_cmdline)."""

from dataclasses import dataclass

from drgn import FaultError, Program

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.processes import Environment
from beat_bridge.sensors.host.processes import (
    MAX_ARGUMENT_BYTES,
    MAX_ENVIRONMENT_BYTES,
    parse_arguments,
    parse_environment,
)
from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.kernel.records import record
from beat_bridge.sensors.hypervisor.memory import MemoryFault
from beat_bridge.sensors.hypervisor.memory.paging import PAGE_SIZE, AddressSpace


@dataclass(frozen=True, slots=True)
class Strings:
    """What execve(2) laid on a process's stack, as it is now: the process may have written over it."""

    args: tuple[str, ...] | Unavailable
    environment: Environment | Unavailable


def strings_of(prog: Program, mm: int) -> Strings:
    """A process's arguments and environment; what is not in memory (swapped out, never read) is unavailable.

    Args:
        prog: The guest.
        mm: ``struct mm_struct *``

    Raises:
        FaultError: Not even its description can be read.
    """
    table, arg_start, arg_end, env_start, env_end = record(
        prog, "struct mm_struct", "pgd", "arg_start", "arg_end", "env_start", "env_end"
    ).read(mm)
    try:
        space = view(prog).user_space(table)
    except MemoryFault as error:
        raise FaultError(str(error), table) from None
    return Strings(
        _arguments(space, (arg_start, arg_end), (env_start, env_end)), _environment(space, env_start, env_end)
    )


def _arguments(
    space: AddressSpace, arguments: tuple[int, int], environment: tuple[int, int]
) -> tuple[str, ...] | Unavailable:
    """As /proc/PID/cmdline shows them, also where a process has written a title over them (setproctitle)."""
    start, end = arguments
    try:
        raw = _stretch(space, start, end, MAX_ARGUMENT_BYTES)
        if raw and not raw.endswith(b"\0") and environment[0] == end and len(raw) == end - start:
            # a title that has grown over the environment: one text, up to its own end
            more = _stretch(space, end, environment[1], PAGE_SIZE)
            raw = (raw + more).split(b"\0", 1)[0]
    except MemoryFault as error:
        return Unavailable(reason=Reason.FAILED, detail=f"its arguments are not in memory: {error}")
    return parse_arguments(raw)


def _environment(space: AddressSpace, start: int, end: int) -> Environment | Unavailable:
    try:
        return parse_environment(_stretch(space, start, end, MAX_ENVIRONMENT_BYTES))
    except MemoryFault as error:
        return Unavailable(reason=Reason.FAILED, detail=f"its environment is not in memory: {error}")


def _stretch(space: AddressSpace, start: int, end: int, most: int) -> bytes:
    return space.read(start, min(end - start, most)) if end > start else b""
