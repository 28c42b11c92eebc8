"""The engine: one containment for one incident, whatever is sent, and nothing lost by a crash."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.responses import ResponseStep, StepState
from responders import audit
from responders.alerts import Alert
from responders.incidents import Incident
from responders.journal import Journal, QueueFullError
from responders.options import ResponderOptions
from responders.outcomes import CureResult
from responders.playbooks.model import Budget, CaptureEvidence, IsolateNetwork, Match, StopProcess, VerifyCure
from responders.responder import Responder
from tests.responders.parts import HOST, Recorded, alert_about, cured, playbook

Make = Callable[..., Responder]
WHOLE = [
    ("capture_evidence", "started"),
    ("capture_evidence", "succeeded"),
    ("stop_process", "started"),
    ("stop_process", "succeeded"),
    ("verify_cure", "started"),
    ("verify_cure", "succeeded"),
]


def test_an_alert_becomes_evidence_an_end_and_a_second_look(
    make_responder: Make, recorded: Recorded, victim: "subprocess.Popen[bytes]"
) -> None:
    """The steps come in order, are numbered, are all in the audit file, and the process is gone."""
    with make_responder(playbook()) as responder:
        (receipt,) = responder.submit([alert_about(victim.pid)])
        recorded.await_step("verify_cure", StepState.SUCCEEDED)
    assert receipt.status == "accepted"
    assert victim.wait(10) == -signal.SIGKILL
    assert recorded.states() == WHOLE
    assert [step.sequence for step in recorded.steps] == list(range(6))
    lines = list(audit.read(responder.options.audit_file))
    assert [line.hash for line in lines] == [step.audit_hash for step in recorded.steps]
    assert audit.verify(responder.options.audit_file).sound


def test_two_rules_and_both_paths_are_one_containment(
    make_responder: Make, recorded: Recorded, victim: "subprocess.Popen[bytes]"
) -> None:
    """Alerts of two rules, of the local engine and of Kibana (dates only, 1.5 s off), sent at once, act once."""
    first = alert_about(victim.pid, "local-1")
    assert first.started_at is not None
    kibana = msgspec.structs.replace(
        first, uuid="kibana-1", rule_name="Another", start_ticks=None, started_at=first.started_at + 1.5
    )
    alerts = [first, msgspec.structs.replace(first, uuid="local-2", rule_name="Another"), kibana]
    with make_responder(playbook()) as responder:
        threads = [threading.Thread(target=responder.submit, args=([alert],)) for alert in alerts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {receipt.status for receipt in responder.submit(alerts)} == {"duplicate"}
        assert responder.await_idle(20)
    assert len({step.incident for step in recorded.steps}) == 1
    acted = [state for state in recorded.states() if state[1] != "duplicate"]
    assert acted == WHOLE
    assert recorded.states().count(("stop_process", "duplicate")) == 2
    assert len(recorded.steps[-1].alert_ids) == 3


def test_an_alert_about_another_host_is_refused(
    make_responder: Make, recorded: Recorded, victim: "subprocess.Popen[bytes]"
) -> None:
    """Pid and start match, the host does not: every act is refused and the process lives."""
    with make_responder(playbook()) as responder:
        responder.submit([alert_about(victim.pid, host_id="another-host")])
        step = recorded.await_step("stop_process", StepState.REFUSED)
    assert "the alert is about host another-host" in recorded.steps[1].explanation
    assert "no evidence was kept" in step.explanation
    assert victim.poll() is None


def test_a_playbook_for_another_rule_does_nothing(
    make_responder: Make, recorded: Recorded, victim: "subprocess.Popen[bytes]"
) -> None:
    """An alert that no playbook answers is worked off without a step."""
    with make_responder(playbook(match=Match(rules=("Something else",)))) as responder:
        responder.submit([alert_about(victim.pid)])
        assert responder.await_idle(20)
    assert recorded.steps == []
    assert victim.poll() is None


def test_a_dry_run_says_and_does_nothing(
    make_responder: Make, recorded: Recorded, victim: "subprocess.Popen[bytes]"
) -> None:
    """Every step is SIMULATED, the process lives, and no evidence is written."""
    with make_responder(playbook(dry_run=True)) as responder:
        responder.submit([alert_about(victim.pid)])
        recorded.await_step("verify_cure", StepState.SIMULATED)
    assert {step.state for step in recorded.steps} == {StepState.SIMULATED}
    assert victim.poll() is None
    assert not responder.options.evidence_dir.exists()


def test_never_executables_holds_for_what_really_runs(
    make_responder: Make, recorded: Recorded, victim: "subprocess.Popen[bytes]"
) -> None:
    """An alert with a false executable cannot get a spared program stopped."""
    spared = str(Path(f"/proc/{victim.pid}/exe").readlink())
    with make_responder(playbook(match=Match(never_executables=(spared,)))) as responder:
        responder.submit([alert_about(victim.pid, executable="/tmp/backdoor")])  # noqa: S108 - a name, not a file
        recorded.await_step("stop_process", StepState.REFUSED)
    assert victim.poll() is None


def test_nothing_is_stopped_without_evidence(
    make_responder: Make, recorded: Recorded, victim: "subprocess.Popen[bytes]"
) -> None:
    """Where the capture fails (its time was too short), the process is not ended."""
    book = playbook(CaptureEvidence(time_cap_seconds=0.0001), StopProcess(), VerifyCure())
    with make_responder(book) as responder:
        responder.submit([alert_about(victim.pid)])
        recorded.await_step("capture_evidence", StepState.FAILED)
        recorded.await_step("stop_process", StepState.REFUSED)
    assert victim.poll() is None


def test_a_later_alert_does_what_an_earlier_one_could_not(
    make_responder: Make, recorded: Recorded, victim: "subprocess.Popen[bytes]"
) -> None:
    """An alert without executable cannot end the process; the next one of the incident can, and captures no more."""
    with make_responder(playbook()) as responder:
        responder.submit([alert_about(victim.pid, "vague", executable="")])
        recorded.await_step("stop_process", StepState.REFUSED)
        responder.submit([alert_about(victim.pid, "exact")])
        recorded.await_step("stop_process", StepState.SUCCEEDED)
    assert recorded.states().count(("capture_evidence", "succeeded")) == 1


@pytest.mark.parametrize(
    ("verify", "words"),
    [
        (lambda _: CureResult(cured=False, explanation="it is still there"), "NOT cured"),
        (lambda _: CureResult(cured=None, explanation="a sensor was refused"), "could not be told"),
    ],
)
def test_only_a_look_that_saw_is_a_cure(
    make_responder: Make,
    recorded: Recorded,
    victim: "subprocess.Popen[bytes]",
    verify: Callable[[Incident], CureResult],
    words: str,
) -> None:
    """Still there, and could not look, are both not a cure, and are told apart."""
    with make_responder(playbook(), verify=verify) as responder:
        responder.submit([alert_about(victim.pid)])
        step = recorded.await_step("verify_cure", StepState.FAILED)
    assert words in step.explanation


def test_a_full_queue_takes_nothing(make_responder: Make, recorded: Recorded) -> None:
    """Beyond the limit a body is refused whole, and what was accepted before stays."""
    alert = Alert(uuid="0", host_id=HOST.id, pid=1, started_at=1.0)
    many = [msgspec.structs.replace(alert, uuid=str(number)) for number in range(1001)]
    responder = make_responder(playbook(), record=recorded)
    with pytest.raises(QueueFullError):
        responder.submit(many)
    assert responder.journal.pending() == 0
    assert len(responder.submit(many[:1000])) == 1000
    with pytest.raises(QueueFullError):
        responder.submit(many[1000:])
    assert responder.journal.pending() == 1000
    responder.close()


def test_two_responders_do_not_share_a_state_directory(make_responder: Make) -> None:
    """The second is refused with one clear line."""
    with make_responder(playbook()), pytest.raises(DoorwatchError, match="another responder is running"):
        make_responder(playbook())


def test_the_budget_stops_the_next_isolation(
    make_responder: Make, recorded: Recorded, victim: "subprocess.Popen[bytes]"
) -> None:
    """With a budget of none, isolating is refused before the kernel is asked, and evidence is kept all the same."""
    book = playbook(CaptureEvidence(), IsolateNetwork(lease_seconds=5), budget=Budget(isolations=0))
    with make_responder(book) as responder:
        responder.submit([alert_about(victim.pid)])
        step = recorded.await_step("isolate_network", StepState.REFUSED)
    assert "the budget is spent" in step.explanation
    assert ("capture_evidence", "succeeded") in recorded.states()


def test_steps_that_could_not_be_published_are_published_later(
    make_responder: Make, recorded: Recorded, victim: "subprocess.Popen[bytes]"
) -> None:
    """While `record` fails (spool full) nothing stops; the next start publishes every step in order."""

    def full(_: ResponseStep) -> None:
        raise DoorwatchError("the spool is full")

    with make_responder(playbook(), record=full) as responder:
        responder.submit([alert_about(victim.pid)])
        victim.wait(20)
        assert responder.await_idle(20)
    with make_responder(playbook()):
        recorded.await_step("verify_cure", StepState.SUCCEEDED)
    assert recorded.states() == WHOLE


def test_a_fault_in_one_alert_does_not_stop_the_next(
    make_responder: Make, recorded: Recorded, victim: "subprocess.Popen[bytes]"
) -> None:
    """A look that trips over a bug is logged, and the alert behind it is answered."""
    looked: list[str] = []

    def faulty(incident: Incident) -> CureResult:
        looked.append(incident.id)
        if len(looked) == 1:
            raise ZeroDivisionError
        return cured(incident)

    other = Alert(uuid="first", host_id=HOST.id, finding_key="a finding")
    with make_responder(playbook(), verify=faulty) as responder:
        responder.submit([other])
        responder.submit([alert_about(victim.pid)])
        recorded.await_step("verify_cure", StepState.SUCCEEDED)
        assert responder.healthy
    assert len(looked) == 2


CRASHING = """
import os, signal, sys
from responders.options import ResponderOptions
from responders.responder import Responder
from tests.responders.parts import HOST, alert_about, cured, playbook

state, pid, action, moment = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]

def record(step):
    if (step.action, step.state.value) == (action, moment):
        os.kill(os.getpid(), signal.SIGKILL)

responder = Responder(
    ResponderOptions(state_dir=state), verify=cured, record=record, host=HOST, playbooks=(playbook(),)
)
responder.submit([alert_about(pid)])
responder.start()
signal.pause()
"""


@pytest.mark.parametrize("place", WHOLE)
def test_a_killed_responder_takes_up_where_it_was(
    make_responder: Make, recorded: Recorded, tmp_path: Path, place: tuple[str, str]
) -> None:
    """Killed with SIGKILL right after any step, the next start finishes the response, once, with a sound chain."""
    victim = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        state = str(tmp_path / "state")
        crash = subprocess.run(
            [sys.executable, "-c", CRASHING, state, str(victim.pid), *place], timeout=60, check=False, env=os.environ
        )
        assert crash.returncode == -signal.SIGKILL
        with Journal(ResponderOptions(state_dir=state).journal_file) as journal:
            assert journal.pending() == 1
        with make_responder(playbook()) as responder:
            recorded.await_step("verify_cure", StepState.SUCCEEDED)
            assert responder.await_idle(20)
            steps = responder.journal.steps(recorded.steps[0].incident)
        assert victim.wait(10) == -signal.SIGKILL
        ends = [(step.action, step.state.value) for step in steps if step.state is not StepState.STARTED]
        assert ends == [state for state in WHOLE if state[1] == "succeeded"]
        assert audit.verify(responder.options.audit_file).sound
    finally:
        victim.kill()
        victim.wait()


def test_a_process_that_ended_while_the_responder_was_down_counts_as_stopped(
    make_responder: Make, recorded: Recorded, tmp_path: Path, victim: "subprocess.Popen[bytes]"
) -> None:
    """Killed between the signal and its record, the next start finds the process gone and says how it knows."""
    arguments = [str(tmp_path / "state"), str(victim.pid), "stop_process", "started"]
    subprocess.run([sys.executable, "-c", CRASHING, *arguments], timeout=60, check=False)
    victim.kill()
    victim.wait()
    with make_responder(playbook()):
        step = recorded.await_step("stop_process", StepState.SUCCEEDED)
        recorded.await_step("verify_cure", StepState.SUCCEEDED)
    assert "interrupted after it began to stop it" in step.explanation
