"""Is this the process that the alert speaks of? Asked when a response is planned, and again right before each act."""

import os
import time

from beat_bridge.model.host import Host
from responders.alerts import START_TOLERANCE, Alert
from responders.outcomes import RefusedError
from responders.targets import OpenedProcess, ProcessIdentity, untouchable


def epoch_of(start_ticks: int) -> float:
    """A process's start as seconds since the epoch, by this boot's clock."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + start_ticks / os.sysconf("SC_CLK_TCK")


def confirm(alert: Alert, process: OpenedProcess, host: Host) -> None:
    """The opened process is the alert's, and may be acted on.

    Raises:
        RefusedError: It is not; the line says what differs.
    """
    identity = process.identity
    if reason := untouchable(identity):
        raise RefusedError(reason)
    if alert.boot_id and alert.boot_id != host.boot_id:
        raise RefusedError(f"the alert is about boot {alert.boot_id}, this is boot {host.boot_id}")
    same_boot = alert.boot_id == host.boot_id
    if same_boot and alert.start_ticks is not None and alert.start_ticks != identity.start_ticks:
        raise RefusedError(
            f"process {identity.pid} is another one: it started at tick {identity.start_ticks}, "
            f"the alert's at tick {alert.start_ticks}"
        )
    exact = same_boot and alert.start_ticks is not None
    if not exact:
        # Elastic Defend gives the start as a date only
        apart = None if alert.started_at is None else abs(epoch_of(identity.start_ticks) - alert.started_at)
        if apart is None or apart > START_TOLERANCE:
            distance = "at an unknown time" if apart is None else f"{apart:.1f} s apart from it"
            raise RefusedError(f"process {identity.pid} is another one: it started {distance}")


def confirm_executable(alert: Alert, identity: ProcessIdentity) -> None:
    """The process runs what the alert says it runs: the condition for ending it.

    Raises:
        RefusedError: It runs something else, or one of the two is not known.
    """
    if not alert.executable:
        raise RefusedError("the alert names no executable (process.executable): it cannot be confirmed")
    if not identity.executable:
        raise RefusedError(f"the executable of process {identity.pid} cannot be read: it cannot be confirmed")
    if alert.executable != identity.executable:
        raise RefusedError(f"process {identity.pid} runs {identity.executable}, the alert speaks of {alert.executable}")


def still_same(planned: ProcessIdentity, now: ProcessIdentity, *, executable: bool) -> None:
    """Nothing that matters changed since the plan.

    Raises:
        RefusedError: Says what changed.
    """
    if (planned.pid, planned.start_ticks) != (now.pid, now.start_ticks):
        raise RefusedError(f"process {planned.pid} is another one since it was planned")
    was = (planned.executable, planned.device, planned.inode)
    if executable and was != (now.executable, now.device, now.inode):
        raise RefusedError(
            f"process {planned.pid} ran {planned.executable} (inode {planned.inode}) when it was planned, "
            f"now {now.executable} (inode {now.inode})"
        )
    if planned.network_namespace != now.network_namespace:
        raise RefusedError(f"process {planned.pid} moved to another network namespace since it was planned")
