"""Cut a network namespace off, for as long as the kernel's own timer runs."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from responders import nftables
from responders.incidents import Incident
from responders.namespaces import NetworkNamespace
from responders.nftables import LeaseView
from responders.outcomes import ActionFailedError, Outcome
from responders.playbooks.model import IsolateNetwork


def table_name(incident: str) -> str:
    """The lease's name in the kernel: a restarted responder finds it by the incident."""
    return f"doorwatch_lease_{incident}"


def isolate_network(
    incident: Incident,
    namespace: NetworkNamespace,
    step: IsolateNetwork,
    probe: Callable[[Incident], str] | None,
) -> tuple[Outcome, float]:
    """Start the lease, then have the kernel and the outside say what it does.

    Args:
        incident: What this is about; names the lease.
        namespace: What is cut off.
        step: For how long, and who stays reachable.
        probe: Looks from outside and says what it observed; empty for nothing.

    Returns:
        The outcome, and when the lease lapses (CLOCK_MONOTONIC seconds).

    Raises:
        ActionFailedError: The network is not cut off.
    """
    name = table_name(incident.id)
    covers_raw = nftables.hold(namespace, name, step.lease_seconds, step.reachable_from, step.may_reach)
    began = time.monotonic()
    expires = datetime.now(UTC) + timedelta(seconds=step.lease_seconds)
    observed = probe(incident) if probe is not None else ""
    # asked after the probe, so that what it provoked shows in the counters
    view = nftables.look(namespace, name)
    if view is None or not view.live:
        raise ActionFailedError("the kernel took the lease and does not hold it: somebody removed it at once")
    outcome = Outcome(
        explanation=f"network namespace {namespace.inode} is cut off for {step.lease_seconds} s by the kernel's timer "
        f"({name}); {coverage(namespace, covers_raw)}",
        proof="; ".join(part for part in (observed, counted(view)) if part),
        lease_expires_at=expires,
    )
    return outcome, began + step.lease_seconds


def taken_up(namespace: NetworkNamespace, name: str, held: LeaseView) -> tuple[Outcome, float]:
    """A lease that the kernel holds already, from before the responder was interrupted; returns as above."""
    left = held.remaining + 1  # the kernel tells whole seconds, rounded down
    outcome = Outcome(
        explanation=f"network namespace {namespace.inode} is cut off already ({name}): the responder was interrupted "
        f"after it began the lease, which runs for {held.remaining:g} s more",
        proof=counted(held),
        lease_expires_at=datetime.now(UTC) + timedelta(seconds=left),
    )
    return outcome, time.monotonic() + left


def coverage(namespace: NetworkNamespace, covers_raw: bool) -> str:
    """What the lease reaches and what it does not, in words."""
    covered = "covered: IP in both directions on every interface but loopback"
    if covers_raw:
        covered += f", and frames of packet sockets sent on {', '.join(namespace.plain_interfaces)}"
    missing = []
    if not covers_raw and namespace.interfaces:
        missing.append("frames of packet sockets are NOT covered (no netdev egress hook here)")
    if covers_raw and namespace.odd_interfaces:
        missing.append(f"frames of packet sockets on {len(namespace.odd_interfaces)} oddly named interfaces are NOT")
    return "; ".join([covered, *missing, "packet sockets can still hear"])


def counted(view: LeaseView) -> str:
    """What the kernel dropped, in words; empty where nothing was."""
    counts = ((view.heard, "arriving"), (view.spoken, "leaving"), (view.raw, "leaving packet sockets"))
    parts = [f"{count} {which}" for count, which in counts if count]
    return f"packets dropped by the kernel: {', '.join(parts)}" if parts else ""
