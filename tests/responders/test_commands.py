"""`doorwatch respond` as people and scripts call it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
import trustme

from beat_bridge.model.responses import StepState
from responders.responder import Responder
from tests.responders.parts import Recorded, alert_about, playbook


def respond(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command."""
    command = [sys.executable, "-m", "doorwatch", "respond", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def worked(
    make_responder: Callable[..., Responder], recorded: Recorded, victim: "subprocess.Popen[bytes]"
) -> tuple[Path, str]:
    """A state directory with one finished incident, and that incident's id."""
    with make_responder(playbook()) as responder:
        responder.submit([alert_about(victim.pid, process_name="\x1b[2Jsleep")])
        step = recorded.await_step("verify_cure", StepState.SUCCEEDED)
    return Path(responder.options.state_dir), step.incident


def test_list_and_show_give_the_incident_to_machines(worked: tuple[Path, str]) -> None:
    """One JSON object a line: the incident with its alerts, and each step in order."""
    state, incident = worked
    (row,) = map(json.loads, respond("list", "--state", str(state), "--format", "json").stdout.splitlines())
    assert row["id"] == incident
    assert row["actions"] == {
        "capture_evidence": "succeeded",
        "stop_process": "succeeded",
        "verify_cure": "succeeded",
    }
    shown = respond("show", incident, "--state", str(state), "--format", "json").stdout.splitlines()
    assert [json.loads(line)["sequence"] for line in shown] == list(range(6))


def test_tables_hold_no_control_characters(worked: tuple[Path, str]) -> None:
    """A process name with an escape sequence cannot rewrite the reader's screen."""
    state, incident = worked
    for answer in (respond("list", "--state", str(state)), respond("show", incident, "--state", str(state))):
        assert answer.returncode == 0
        assert incident[:8] in answer.stdout
        assert "\x1b" not in answer.stdout


def test_audit_exits_with_one_for_a_broken_chain(worked: tuple[Path, str]) -> None:
    """Sound: 0 and the head; one changed letter: 1 and the line."""
    file = worked[0] / "audit.jsonl"
    sound = respond("audit", str(file), "--format", "json")
    assert (sound.returncode, json.loads(sound.stdout)["lines"]) == (0, 6)
    lines = file.read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace("stop the process", "stop the Process")
    file.write_text("".join(lines))
    broken = respond("audit", str(file))
    assert broken.returncode == 1
    assert broken.stdout.startswith(f"{file}:3: the line does not fit its own hash")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("show", "nosuch"), "there is no incident nosuch"),
        (("release", "nosuch"), "incident nosuch has no lease that runs"),
        (("renew", "nosuch", "--seconds", "5"), "incident nosuch has no lease that runs"),
    ],
)
def test_a_wrong_incident_is_one_line(worked: tuple[Path, str], arguments: tuple[str, ...], line: str) -> None:
    """What does not exist is said in one line, with exit code 2."""
    answer = respond(*arguments, "--state", str(worked[0]))
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"doorwatch: {line}")
    assert answer.stderr.count("\n") == 1


def test_a_directory_that_is_no_state_is_one_line_and_stays_empty(tmp_path: Path) -> None:
    """Looking at the wrong directory does not make it a state directory."""
    answer = respond("list", "--state", str(tmp_path))
    assert (answer.returncode, "is not a responder's state directory" in answer.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_recorded_incident_is_tried_against_another_playbook(worked: tuple[Path, str], tmp_path: Path) -> None:
    """dry-run says which playbook would answer and why another would not, and adds no step."""
    strict = tmp_path / "strict.yml"
    strict.write_text("name: strict\nmatch: {rules: [Other]}\nsteps: [{action: verify_cure}]\n")
    answer = respond("playbooks", "dry-run", str(strict), "--state", str(worked[0]), "--format", "json")
    (row,) = map(json.loads, answer.stdout.splitlines())
    assert (row["playbook"], "is not named" in row["reason"]) == ("", True)
    shown = respond("show", worked[1], "--state", str(worked[0]), "--format", "json")
    assert len(shown.stdout.splitlines()) == 6


def test_serve_takes_an_alert_and_stops_when_told(tmp_path: Path) -> None:
    """Served over TLS from a file: an alert of another host is taken, SIGTERM ends it with 0, the journal has it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    token = "a-token-of-tests-0123456789"
    (tmp_path / "token").write_text(token)
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "responder.yml").write_text(
        f"state_dir: {tmp_path}/state\nport: 0\ntls_certificate: {tmp_path}/both.pem\ntls_key: {tmp_path}/both.pem\n"
        f"token_file: {tmp_path}/token\n"
    )
    command = [sys.executable, "-m", "doorwatch", "respond", "serve", str(tmp_path / "responder.yml")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as server:
        assert server.stderr is not None
        line = server.stderr.readline()
        url = next(word.rstrip(";") for word in line.split() if word.startswith("https://"))
        with requests.Session() as session:
            session.trust_env = False
            body = {"host.id": "another", "process.pid": 4, "process.start": 1}
            headers = {"Authorization": f"Bearer {token}"}
            answer = session.post(url, json=body, headers=headers, verify=str(tmp_path / "ca.pem"), timeout=10)
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    assert answer.status_code == 202
    rows = respond("list", "--state", f"{tmp_path}/state", "--format", "json").stdout.splitlines()
    assert [json.loads(row)["host_id"] for row in rows] == ["another"]


def test_serve_refuses_an_unprotected_configuration(tmp_path: Path) -> None:
    """Without TLS and without credentials it does not start; a mistyped key is named with its line."""
    file = tmp_path / "responder.yml"
    file.write_text(f"state_dir: {tmp_path}/state\n")
    assert "nobody could authenticate" in respond("serve", str(file)).stderr
    file.write_text(f"state_dir: {tmp_path}/state\nprot: 8443\n")
    assert f"{file}:2: there is no such key: `prot`" in respond("serve", str(file)).stderr
