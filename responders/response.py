"""One alert's response: its playbook's steps, in order, each begun, done and recorded."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value
from beat_bridge.model.host import Host
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.responses import ResponseStep, ResponseTarget, StepState
from responders import nftables
from responders.actions.capture_evidence import capture_evidence
from responders.actions.isolate_network import isolate_network, table_name, taken_up
from responders.actions.stop_process import stop_process
from responders.alerts import Alert
from responders.confirmation import confirm, confirm_executable, still_same
from responders.incidents import Incident
from responders.journal import Journal, Lease
from responders.namespaces import NetworkNamespace
from responders.outcomes import ActionFailedError, CureResult, GoneError, Outcome, RefusedError
from responders.playbooks.model import (
    CaptureEvidence,
    IsolateNetwork,
    Playbook,
    Scope,
    Step,
    StopProcess,
    VerifyCure,
    action_of,
)
from responders.playbooks.selection import mismatch
from responders.targets import OpenedProcess, ProcessIdentity

AddStep = Callable[[ResponseStep], ResponseStep]
_OVER = {StepState.SUCCEEDED, StepState.RENEWED, StepState.RELEASED, StepState.EXPIRED}
"""A step that came to one of these is not done again for the same incident."""


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What every response works with."""

    host: Host
    journal: Journal
    add_step: AddStep
    keep_lease: Callable[[Lease, NetworkNamespace], None]
    verify: Callable[[Incident], CureResult]
    inventory: Callable[[], Inventory] | None
    probe: Callable[[Incident], str] | None
    evidence_dir: Path


class Plan(Value, frozen=True, kw_only=True):
    """What was found when the response was planned."""

    identity: ProcessIdentity | None = None
    """The process, confirmed; None where there is none to act on."""
    refusal: str = ""
    """Why the alert's target is not acted on; empty where it may be."""
    gone: bool = False
    """Because it has ended."""


class Response:
    """The run of one playbook for one alert."""

    def __init__(self, means: Means, incident: Incident, alert: Alert, playbook: Playbook) -> None:
        """Nothing happens before `run`."""
        self.means = means
        self.incident = incident
        self.alert = alert
        self.playbook = playbook
        self.process: OpenedProcess | None = None
        self.plan = Plan()
        self.last = self._last_states()

    def run(self, *, interrupted: bool = False) -> None:
        """Do what is still to be done of the playbook.

        Args:
            interrupted: This alert was begun before: what is done already is its own doing.

        Raises:
            RecordsError: The responder's own records could not be written: it is to be run again.
        """
        todo = [step for step in self.playbook.steps if not self._is_over(step)]
        if len(todo) < len(self.playbook.steps) and not interrupted:
            self._note_duplicate([step for step in self.playbook.steps if step not in todo])
        if not todo:
            return
        try:
            self._make_plan()
            for step in todo:
                self._take(step)
        finally:
            if self.process is not None:
                self.process.close()

    def _last_states(self) -> dict[str, StepState]:
        """For each action, how it stands in this incident."""
        steps = self.means.journal.steps(self.incident.id)
        return {step.action: step.state for step in steps if step.state is not StepState.DUPLICATE}

    def _is_over(self, step: Step) -> bool:
        state = self.last.get(action_of(step))
        return state in _OVER or (state is StepState.SIMULATED and self.playbook.dry_run)

    def _make_plan(self) -> None:
        """First check of the target: open it, and confirm that it is the alert's."""
        alert, host = self.alert, self.means.host
        if alert.host_id != host.id:
            self.plan = Plan(refusal=f"the alert is about host {alert.host_id}, this is host {host.id}")
            return
        if not alert.names_process or alert.pid is None:
            return
        try:
            self.process = OpenedProcess(alert.pid)
            confirm(alert, self.process, host)
            self._spare_exempted(self.process.identity)
        except GoneError as error:
            self.plan = Plan(refusal=str(error), gone=True)
        except DoorwatchError as error:
            self.plan = Plan(refusal=str(error))
        else:
            self.plan = Plan(identity=self.process.identity)

    def _spare_exempted(self, identity: ProcessIdentity) -> None:
        """`never_executables` holds for what really runs, whatever the alert calls it."""
        really = msgspec.structs.replace(self.alert, executable=identity.executable)
        if reason := mismatch(self.playbook.match, really):
            raise RefusedError(f"process {identity.pid} runs {identity.executable}: {reason}")

    def _take(self, step: Step) -> None:
        """One step, from STARTED (or SIMULATED) to its end."""
        action = action_of(step)
        interrupted = self.last.get(action) is StepState.STARTED
        if self.playbook.dry_run:
            outcome = self._simulated(step)
        else:
            self._note(action, Outcome(state=StepState.STARTED, explanation=_intention(step)))
            try:
                outcome = self._act(step, interrupted=interrupted)
            except RefusedError as error:
                outcome = Outcome(state=StepState.REFUSED, explanation=str(error))
            except ActionFailedError as error:
                outcome = Outcome(state=StepState.FAILED, explanation=str(error))
        self._note(action, outcome)
        self.last[action] = outcome.state

    def _act(self, step: Step, *, interrupted: bool) -> Outcome:
        match step:
            case CaptureEvidence():
                self._check_target()
                means = self.means
                return capture_evidence(self.incident, self.process, step, means.evidence_dir, means.inventory)
            case IsolateNetwork():
                return self._isolate(step, interrupted=interrupted)
            case StopProcess():
                return self._stop(step, interrupted=interrupted)
            case VerifyCure():
                return self._verify()

    def _check_target(self) -> None:
        """Second check, right before an act."""
        if self.plan.refusal:
            raise (GoneError if self.plan.gone else RefusedError)(self.plan.refusal)
        if self.process is not None and self.plan.identity is not None:
            still_same(self.plan.identity, self.process.look_again(), executable=False)

    def _isolate(self, step: IsolateNetwork, *, interrupted: bool) -> Outcome:
        self._check_target()
        with self._namespace(step) as namespace:
            name = table_name(self.incident.id)
            held = nftables.look(namespace, name) if interrupted else None
            if held is not None and held.live:
                outcome, lapses_at = taken_up(namespace, name, held)
            else:
                self._spend_budget()
                outcome, lapses_at = isolate_network(self.incident, namespace, step, self.means.probe)
            lease = Lease(
                incident=self.incident.id,
                name=name,
                namespace=namespace.inode,
                boot_id=self.means.host.boot_id,
                lapses_at=lapses_at,
                opening=self._step("isolate_network", outcome),
            )
            self.means.keep_lease(lease, namespace)
            return outcome

    def _namespace(self, step: IsolateNetwork) -> NetworkNamespace:
        if step.scope is Scope.HOST:
            return NetworkNamespace.own()
        if self.process is None:
            raise RefusedError("the alert names no process whose network could be isolated (scope: host isolates ours)")
        return NetworkNamespace.of_process(self.process)

    def _spend_budget(self) -> None:
        budget = self.playbook.budget
        since = datetime.now(UTC).timestamp() - budget.window_seconds
        spent = self.means.journal.isolations_since(since, besides=self.incident.id)
        if spent >= budget.isolations:
            raise RefusedError(
                f"the budget is spent: {spent} incidents were isolated within {budget.window_seconds} s, "
                f"{budget.isolations} are allowed: a person has to look"
            )

    def _stop(self, step: StopProcess, *, interrupted: bool) -> Outcome:
        if interrupted and self.plan.gone:
            return Outcome(explanation=f"{self.plan.refusal}: the responder was interrupted after it began to stop it")
        if self.last.get("capture_evidence") is not StepState.SUCCEEDED:
            raise RefusedError("no evidence was kept: ending the process would destroy what there is")
        self._check_target()
        if self.process is None or self.plan.identity is None:
            raise RefusedError("the alert names no process that could be stopped")
        confirm_executable(self.alert, self.plan.identity)
        still_same(self.plan.identity, self.process.look_again(), executable=True)
        return stop_process(self.process, step)

    def _verify(self) -> Outcome:
        try:
            result = self.means.verify(self.incident)
        except (DoorwatchError, OSError) as error:
            raise ActionFailedError(f"the host could not be looked at again: {error}") from error
        if result.cured:
            return Outcome(explanation=result.explanation, proof=result.explanation)
        doubt = "it could not be told whether the host is cured" if result.cured is None else "the host is NOT cured"
        return Outcome(state=StepState.FAILED, explanation=f"{doubt}: {result.explanation}")

    def _simulated(self, step: Step) -> Outcome:
        try:
            self._check_target()
            if isinstance(step, StopProcess) and self.plan.identity is not None:
                confirm_executable(self.alert, self.plan.identity)
        except DoorwatchError as error:
            return Outcome(state=StepState.REFUSED, explanation=f"dry run: would be refused: {error}")
        return Outcome(state=StepState.SIMULATED, explanation=f"dry run: would {_intention(step)}")

    def _note_duplicate(self, done: list[Step]) -> None:
        """One step for all that an earlier alert of the incident had done, under the weightiest action."""
        actions = [action_of(step) for step in done]
        weightiest = next(
            (action for action in ("isolate_network", "stop_process", "capture_evidence") if action in actions),
            actions[0],
        )
        self._note(
            weightiest,
            Outcome(
                state=StepState.DUPLICATE,
                explanation=f"alert {self.alert.uuid} joined the incident, which has been answered already: "
                f"{', '.join(actions)}",
            ),
        )

    def _note(self, action: str, outcome: Outcome) -> None:
        self.means.add_step(self._step(action, outcome))

    def _step(self, action: str, outcome: Outcome) -> ResponseStep:
        identity = self.plan.identity
        alerts, opened_at = self.incident.alerts, self.incident.opened_at
        return ResponseStep(
            response_id=f"{self.incident.id}-{action}",
            incident=self.incident.id,
            action=action,
            state=outcome.state,
            at=datetime.now(UTC),
            incident_opened_at=None if opened_at is None else datetime.fromtimestamp(opened_at, UTC),
            sequence=0,
            host=self.means.host,
            playbook=self.playbook.name,
            target=ResponseTarget(
                pid=self.alert.pid,
                start_ticks=identity.start_ticks if identity else self.alert.start_ticks,
                executable=identity.executable if identity else self.alert.executable,
                process_name=identity.name if identity else self.alert.process_name,
                network_namespace=identity.network_namespace or None if identity else None,
            ),
            explanation=outcome.explanation,
            lease_expires_at=outcome.lease_expires_at,
            proof=outcome.proof,
            evidence=outcome.evidence,
            alert_ids=tuple(alert.uuid for alert in alerts),
            rule_names=tuple(sorted({alert.rule_name for alert in alerts if alert.rule_name})),
            finding_keys=tuple(sorted({alert.finding_key for alert in alerts if alert.finding_key})),
        )


def _intention(step: Step) -> str:
    """What a step is about to do, in words that follow `would`."""
    match step:
        case CaptureEvidence():
            return f"keep evidence, for at most {step.time_cap_seconds:g} s"
        case IsolateNetwork():
            return f"isolate the network of the {step.scope.value} for {step.lease_seconds} s"
        case StopProcess():
            return "stop the process" if step.signal.value == "kill" else "ask the process to end, then stop it"
        case VerifyCure():
            return "look at the host again"
