"""What responder tests are made of: an alert about a real process, a playbook, and a record of what was told."""

import threading

from beat_bridge.model.host import Host
from beat_bridge.model.responses import ResponseStep, StepState
from responders.alerts import Alert, Severity
from responders.confirmation import epoch_of
from responders.incidents import Incident
from responders.outcomes import CureResult
from responders.playbooks.model import CaptureEvidence, Playbook, Step, StopProcess, VerifyCure
from responders.targets import OpenedProcess
from responders.this_host import this_host

HOST = this_host("a-host-of-tests")


class Recorded:
    """What a responder told, and a way to wait for it."""

    def __init__(self) -> None:
        self.steps: list[ResponseStep] = []
        self._changed = threading.Condition()

    def __call__(self, step: ResponseStep) -> None:
        """What the responder calls as `record`."""
        with self._changed:
            self.steps.append(step)
            self._changed.notify_all()

    def states(self) -> list[tuple[str, str]]:
        """(action, state) of every step so far."""
        return [(step.action, step.state.value) for step in self.steps]

    def await_step(self, action: str, state: StepState, seconds: float = 20.0) -> ResponseStep:
        """The first such step, as soon as it is there."""

        def found() -> ResponseStep | None:
            return next((step for step in self.steps if (step.action, step.state) == (action, state)), None)

        with self._changed:
            assert self._changed.wait_for(lambda: found() is not None, seconds), self.states()
            step = found()
            assert step is not None
            return step


def alert_about(pid: int, uuid: str = "alert-1", host: Host = HOST, **changes: object) -> Alert:
    """An alert as our own finding gives it, about a process that runs."""
    with OpenedProcess(pid) as process:
        identity = process.identity
    values: dict[str, object] = {
        "uuid": uuid,
        "rule_name": "A rule of tests",
        "severity": Severity.CRITICAL,
        "host_id": host.id,
        "boot_id": host.boot_id,
        "pid": pid,
        "start_ticks": identity.start_ticks,
        "started_at": epoch_of(identity.start_ticks),
        "executable": identity.executable,
    }
    return Alert(**{**values, **changes})  # type: ignore[arg-type] # tests name fields by keyword


def playbook(*steps: Step, **changes: object) -> Playbook:
    """A playbook of these steps; evidence, end and verification where none are given."""
    chosen = steps or (CaptureEvidence(), StopProcess(), VerifyCure())
    return Playbook(name="of_tests", steps=chosen, **changes)  # type: ignore[arg-type] # as above


def cured(_: Incident) -> CureResult:
    """A second look that finds nothing."""
    return CureResult(cured=True, explanation="looked again, and it is gone")
