"""Keeping watch over the leases the kernel holds: that they stand while they should, and when they lapse.

The kernel lets go by itself; the keeper only says so. It also notices when somebody else let go.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.host import Host
from beat_bridge.model.responses import ResponseStep, StepState
from responders import nftables
from responders.actions.isolate_network import counted
from responders.journal import Journal, Lease
from responders.namespaces import NetworkNamespace
from responders.nftables import LeaseView
from responders.outcomes import ActionFailedError

log = logging.getLogger(__name__)
CHECK_SECONDS = 5.0
"""How often a lease is checked that has time left."""
SLACK_SECONDS = 0.1
"""The kernel's timer and ours may differ by a few ticks."""
PATIENCE_SECONDS = 60.0
"""How long after its end a lease is asked for that cannot be looked at."""


class LeaseKeeper:
    """Watches leases from the worker's thread."""

    def __init__(self, journal: Journal, host: Host, add_step: Callable[[ResponseStep], ResponseStep]) -> None:
        """Nothing is looked at before `watch`."""
        self._journal = journal
        self._host = host
        self._add_step = add_step
        self._namespaces: dict[str, NetworkNamespace] = {}
        """By incident: held open so that the namespace outlives the process that was found in it."""
        self._next: dict[str, float] = {}

    def close(self) -> None:
        """Let go of the namespaces; the kernel keeps the leases."""
        for namespace in self._namespaces.values():
            namespace.close()
        self._namespaces.clear()

    def adopt(self, lease: Lease, namespace: NetworkNamespace) -> None:
        """Keep a lease that has just begun, and its namespace, which may outlive the process it was found by."""
        self._forget(lease.incident)
        self._journal.put_lease(lease)
        self._namespaces[lease.incident] = namespace.duplicate()

    def watch(self) -> float:
        """Check the leases that are due.

        Returns:
            Seconds until the next one is.
        """
        now = time.clock_gettime(time.CLOCK_MONOTONIC)
        leases = {lease.incident: lease for lease in self._journal.leases()}
        for incident in set(self._namespaces) - set(leases):
            self._forget(incident)  # released by another process
        for incident, lease in leases.items():
            if self._next.get(incident, 0.0) <= now:
                self._check(lease, now)
                left = lease.lapses_at - time.clock_gettime(time.CLOCK_MONOTONIC)
                self._next[incident] = now + (min(CHECK_SECONDS, left + SLACK_SECONDS) if left > 0 else SLACK_SECONDS)
        return max(0.0, min((self._next[incident] - now for incident in leases), default=CHECK_SECONDS))

    def _check(self, lease: Lease, now: float) -> None:
        if lease.boot_id != self._host.boot_id:
            self._end(lease, StepState.EXPIRED, "the host was restarted, and the lease ended with its kernel", None)
            return
        over = now >= lease.lapses_at
        try:
            view = self._look(lease)
        except DoorwatchError as error:
            log.warning("lease %s cannot be looked at: %s", lease.name, error)
            if now >= lease.lapses_at + PATIENCE_SECONDS:
                self._end(lease, StepState.FAILED, f"the end of the lease could not be confirmed: {error}", None)
            return
        if view is not None and view.live:
            return
        if over:
            reason = "the kernel's timer has lapsed, and the network is open again"
            self._end(lease, StepState.EXPIRED, reason, view)
            return
        left = lease.lapses_at - now
        reason = f"the kernel does not hold the lease any more, {left:.0f} s before its time: somebody removed it"
        self._end(lease, StepState.FAILED, reason, view)

    def _look(self, lease: Lease) -> LeaseView | None:
        namespace = self._namespaces.get(lease.incident)
        if namespace is None:
            namespace = NetworkNamespace.find(lease.namespace)
            if namespace is None:
                if time.clock_gettime(time.CLOCK_MONOTONIC) < lease.lapses_at:
                    raise ActionFailedError(f"no visible process is in network namespace {lease.namespace}")
                return None  # whatever is left of it, the timer is over
            self._namespaces[lease.incident] = namespace
        return nftables.look(namespace, lease.name)

    def _end(self, lease: Lease, state: StepState, reason: str, view: LeaseView | None) -> None:
        """Record the end, and remove the empty tables."""
        namespace = self._namespaces.get(lease.incident)
        if namespace is not None:
            try:
                nftables.release(namespace, lease.name)
            except DoorwatchError as error:
                log.warning("the empty tables of lease %s stay: %s", lease.name, error)
        ours = self._journal.drop_lease(lease.incident)
        self._forget(lease.incident)
        if ours:
            self._add_step(ended_step(lease, state, reason, view))

    def _forget(self, incident: str) -> None:
        self._next.pop(incident, None)
        namespace = self._namespaces.pop(incident, None)
        if namespace is not None:
            namespace.close()


def ended_step(lease: Lease, state: StepState, reason: str, view: LeaseView | None) -> ResponseStep:
    """The step that ends what a lease's opening step began."""
    now = datetime.now(UTC)
    return msgspec.structs.replace(
        lease.opening,
        state=state,
        at=now,
        explanation=reason,
        proof="" if view is None else counted(view),
        lease_expires_at=now,
        evidence=(),
    )


def find_lease(journal: Journal, incident: str) -> tuple[Lease, NetworkNamespace]:
    """A lease that is held, and its namespace, opened.

    Raises:
        DoorwatchError: There is none, or its namespace cannot be found.
    """
    lease = next((lease for lease in journal.leases() if lease.incident == incident), None)
    if lease is None:
        raise DoorwatchError(f"incident {incident} has no lease that runs: see  doorwatch respond show {incident}")
    namespace = NetworkNamespace.find(lease.namespace)
    if namespace is None:
        raise DoorwatchError(
            f"network namespace {lease.namespace} of incident {incident} cannot be found: "
            "no visible process is in it (run this as the responder's user)"
        )
    return lease, namespace


def release(journal: Journal, incident: str, seal: Callable[[ResponseStep], str]) -> ResponseStep:
    """Undo an isolation now; works whether or not the responder runs.

    Raises:
        DoorwatchError: There is no lease, or the kernel could not be told.
    """
    lease, namespace = find_lease(journal, incident)
    with namespace:
        view = nftables.look(namespace, lease.name)
        if not journal.drop_lease(incident):
            raise DoorwatchError(f"the lease of incident {incident} has just ended by itself")
        try:
            nftables.release(namespace, lease.name)
        except DoorwatchError:
            journal.put_lease(lease)
            raise
    return journal.add_step(ended_step(lease, StepState.RELEASED, "released on request", view), seal)


def renew(journal: Journal, incident: str, seconds: int, seal: Callable[[ResponseStep], str]) -> ResponseStep:
    """Let an isolation run for so many seconds from now.

    Raises:
        DoorwatchError: There is no lease that runs, or the kernel could not be told.
    """
    lease, namespace = find_lease(journal, incident)
    with namespace:
        nftables.renew(namespace, lease.name, seconds)
        view = nftables.look(namespace, lease.name)
    lapses_at = time.clock_gettime(time.CLOCK_MONOTONIC) + seconds
    expires = datetime.now(UTC) + timedelta(seconds=seconds)
    journal.put_lease(msgspec.structs.replace(lease, lapses_at=lapses_at))
    step = ended_step(lease, StepState.RENEWED, f"the lease runs for {seconds} s from now", view)
    return journal.add_step(msgspec.structs.replace(step, lease_expires_at=expires), seal)
