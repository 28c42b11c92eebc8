"""Proof of cure: a new look at the host that could have seen what was found, and does not."""

from collections.abc import Callable

from doorwatch.run.watch import Watch
from responders.incidents import Incident
from responders.outcomes import CureResult


def verify_with(watch: Watch) -> Callable[[Incident], CureResult]:
    """The responder's question "is it gone?", answered by the sensors and detectors that found it.

    A finding counts as gone by the rule that closes it in the ledger: only a look that could have seen it says so.
    """

    def verify(incident: Incident) -> CureResult:
        look = watch.look()
        keys = {alert.finding_key for alert in incident.alerts if alert.finding_key}
        found = [finding for finding in look.findings if finding.key in keys]
        if found:
            return CureResult(cured=False, explanation=f"a new look still shows it: {found[0].explanation}")
        process = look.inventory.by_pid().get(incident.pid) if incident.pid is not None else None
        if process is not None and abs(process.started_at - (incident.started_at or process.started_at)) <= 2.0:
            return CureResult(cured=False, explanation=f"process {process.pid} ({process.name}) still runs")
        unclear = [watch.open_findings[key] for key in sorted(keys) if key in watch.open_findings]
        if unclear:
            gaps = "; ".join(f"{gap.sensor}: {gap.detail}" for gap in look.inventory.gaps)
            return CureResult(
                cured=None,
                explanation=f"a new look does not show {unclear[0].finding.kind.value}, and could not see all: {gaps}",
            )
        seen = ", ".join(f"{entry.sensor} {entry.examined}" for entry in look.inventory.coverage)
        return CureResult(cured=True, explanation=f"a new look no longer shows it (examined: {seen})")

    return verify
