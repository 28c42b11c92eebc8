"""Isolation, proven by packets: what somebody outside sees before, during and after a lease."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.responses import ResponseStep, StepState
from responders import audit, nftables
from responders.incidents import Incident
from responders.namespaces import NetworkNamespace
from responders.outcomes import ActionFailedError
from responders.playbooks.model import CaptureEvidence, IsolateNetwork, Peer, Transport
from responders.responder import Responder
from responders.targets import OpenedProcess
from tests.responders.lab import Lab
from tests.responders.parts import Recorded, alert_about, playbook

pytestmark = pytest.mark.live
NAME = "doorwatch_lease_of_tests"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A host, its neighbour and somebody outside, with packets flowing."""
    with Lab() as running:
        running.await_echo(answered=True)
        yield running


@pytest.fixture
def namespace(lab: Lab) -> Iterator[NetworkNamespace]:
    """The host's network namespace."""
    with OpenedProcess(lab.target) as process, NetworkNamespace.of_process(process) as opened:
        yield opened


def await_frames(lab: Lab, *, heard: bool) -> None:
    """Listen until the packet socket's frames come, or do not."""
    deadline = time.monotonic() + 20
    while bool(lab.frames()) is not heard:
        assert time.monotonic() < deadline


def test_packets_stop_and_come_back_when_the_timer_lapses(lab: Lab, namespace: NetworkNamespace) -> None:
    """Echo and packet-socket frames stop at once, and return with nobody acting; the kernel counted what it dropped."""
    assert nftables.hold(namespace, NAME, 3) is True
    assert not lab.echo()
    assert lab.frames() == 0
    view = nftables.look(namespace, NAME)
    assert view is not None
    assert (view.live, view.heard > 0, view.raw > 0) == (True, True, True)
    lab.await_echo(answered=True)
    await_frames(lab, heard=True)
    view = nftables.look(namespace, NAME)
    assert view is not None
    assert not view.live


def test_release_opens_at_once_and_leaves_nothing(lab: Lab, namespace: NetworkNamespace) -> None:
    """After a release the next packets pass and the ruleset is empty again, as nft itself lists it."""
    nftables.hold(namespace, NAME, 60)
    assert not lab.echo()
    nftables.release(namespace, NAME)
    lab.await_echo(answered=True)
    assert lab.frames() > 0
    assert lab.nft("list", "ruleset").strip() == ""
    nftables.release(namespace, NAME)
    assert nftables.look(namespace, NAME) is None


def test_a_renewed_lease_outlasts_its_first_term(lab: Lab, namespace: NetworkNamespace) -> None:
    """Renewed for longer it runs longer; renewed for a second it soon lapses; a lapsed one cannot be renewed."""
    nftables.hold(namespace, NAME, 2)
    nftables.renew(namespace, NAME, 60)
    view = nftables.look(namespace, NAME)
    assert view is not None
    assert view.remaining > 50
    nftables.renew(namespace, NAME, 1)
    lab.await_echo(answered=True)
    with pytest.raises(ActionFailedError, match="has lapsed"):
        nftables.renew(namespace, NAME, 60)


@pytest.mark.parametrize(
    ("peers", "answered"),
    [
        ((Peer(network="10.9.0.0/24", protocol=Transport.UDP, ports=(7007,)),), True),
        ((Peer(network="10.9.0.1"),), True),
        ((Peer(network="10.9.0.0/24", protocol=Transport.UDP, ports=(7008,)),), False),
        ((Peer(network="10.9.0.0/24", protocol=Transport.TCP, ports=(7007,)),), False),
        ((Peer(network="10.9.1.0/24"), Peer(network="fd00::/8")), False),
    ],
)
def test_management_stays_reachable(
    lab: Lab, namespace: NetworkNamespace, peers: tuple[Peer, ...], answered: bool
) -> None:
    """A peer that is named may ask the named port; the wrong port, protocol or address may not."""
    nftables.hold(namespace, NAME, 60, reachable_from=peers)
    assert lab.echo() is answered
    assert lab.frames() == 0


def test_renaming_an_interface_opens_nothing_to_ip(lab: Lab, namespace: NetworkNamespace) -> None:
    """An interface with another, hostile name stays cut off, and its lease can still be looked at and renewed."""
    nftables.hold(namespace, NAME, 60)
    enter = ["nsenter", "-t", str(lab.target), "-U", "-n", "--preserve-credentials"]
    subprocess.run([*enter, "ip", "link", "set", "inner", "name", 'x";accept'], check=True, timeout=10)
    assert not lab.echo()
    nftables.renew(namespace, NAME, 30)
    assert not lab.echo()
    view = nftables.look(namespace, NAME)
    assert view is not None
    assert 20 < view.remaining <= 30


def test_loopback_goes_on(lab: Lab, namespace: NetworkNamespace) -> None:
    """Programs of the isolated host still reach each other."""
    nftables.hold(namespace, NAME, 60)
    script = (
        "import socket; a = socket.socket(type=socket.SOCK_DGRAM); a.bind(('127.0.0.1', 0)); a.settimeout(5)\n"
        "a.sendto(b'x', a.getsockname()); print(a.recv(1))"
    )
    enter = ["nsenter", "-t", str(lab.target), "-U", "-n", "--preserve-credentials"]
    subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True, timeout=10)
    answer = subprocess.run([*enter, sys.executable, "-c", script], capture_output=True, check=True, timeout=20)
    assert answer.stdout == b"b'x'\n"


def test_what_nft_refuses_is_one_line_and_changes_nothing(
    lab: Lab, namespace: NetworkNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A rule the kernel refuses leaves no table behind; without nft, and when nft fails, the line says so."""
    with pytest.raises(ActionFailedError, match="nft refused"):
        nftables.hold(namespace, NAME, 10**12)
    assert lab.echo()
    assert lab.nft("list", "ruleset").strip() == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nftables, "_SEARCH_PATH", str(tmp_path))
    with pytest.raises(ActionFailedError, match="nft is not installed"):
        nftables.look(namespace, NAME)


def isolating(seconds: int) -> IsolateNetwork:
    """A step that isolates for so long."""
    return IsolateNetwork(lease_seconds=seconds)


def test_the_engine_isolates_proves_and_says_when_it_is_over(
    lab: Lab, make_responder: Callable[..., Responder], recorded: Recorded
) -> None:
    """From alert to EXPIRED: the proof holds what the outside saw and what the kernel dropped."""

    def probe(_: Incident) -> str:
        return "seen from outside: no answer" if not lab.echo() else ""

    with make_responder(playbook(CaptureEvidence(), isolating(3)), probe=probe) as responder:
        responder.submit([alert_about(lab.target)])
        began = recorded.await_step("isolate_network", StepState.SUCCEEDED)
        lapsed = recorded.await_step("isolate_network", StepState.EXPIRED)
    assert began.proof.startswith("seen from outside: no answer; packets dropped by the kernel:")
    assert "frames of packet sockets sent on inner" in began.explanation
    assert began.lease_expires_at is not None
    assert lapsed.lease_expires_at == lapsed.at  # an ended lease says when it ended
    assert began.incident_opened_at is not None
    assert began.incident_opened_at < began.at
    assert "arriving" in lapsed.proof
    assert lab.echo()
    assert lab.nft("list", "ruleset").strip() == ""


def test_somebody_who_removes_the_lease_is_noticed(
    lab: Lab, make_responder: Callable[..., Responder], recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that is gone before its time becomes a FAILED step that says so."""
    monkeypatch.setattr("responders.leases.CHECK_SECONDS", 0.1)
    with make_responder(playbook(CaptureEvidence(), isolating(60))) as responder:
        responder.submit([alert_about(lab.target)])
        recorded.await_step("isolate_network", StepState.SUCCEEDED)
        lab.nft("flush", "ruleset")
        step = recorded.await_step("isolate_network", StepState.FAILED)
    assert "before its time: somebody removed it" in step.explanation


RESPONDER = """
import signal, sys
from responders.options import ResponderOptions
from responders.playbooks.model import CaptureEvidence, IsolateNetwork
from responders.responder import Responder
from tests.responders.parts import HOST, alert_about, cured, playbook

state, pid, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
book = playbook(CaptureEvidence(), IsolateNetwork(lease_seconds=seconds))

def record(step):
    print(step.action, step.state.value, flush=True)

responder = Responder(ResponderOptions(state_dir=state), verify=cured, record=record, host=HOST, playbooks=(book,))
responder.start()
responder.submit([alert_about(pid)])
signal.pause()
"""


def killed_after(said: str, state: Path, lab: Lab, seconds: int) -> None:
    """Run a responder in a process of its own, and kill it with SIGKILL once it said this."""
    command = [sys.executable, "-c", RESPONDER, str(state), str(lab.target), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as responder:
        assert responder.stdout is not None
        assert said in (line.strip() for line in responder.stdout)
        responder.send_signal(signal.SIGKILL)


def test_a_dead_responder_leaves_nobody_cut_off(
    lab: Lab, make_responder: Callable[..., Responder], recorded: Recorded, tmp_path: Path
) -> None:
    """Killed while its lease runs, traffic returns by itself; the next start records the end."""
    killed_after("isolate_network succeeded", tmp_path / "state", lab, 4)
    assert not lab.echo()
    lab.await_echo(answered=True)
    with make_responder(playbook(CaptureEvidence(), isolating(4))):
        recorded.await_step("isolate_network", StepState.EXPIRED)
    assert lab.nft("list", "ruleset").strip() == ""


@pytest.mark.parametrize("moment", ["isolate_network started", "isolate_network succeeded"])
def test_a_restarted_responder_finds_its_lease_again(
    lab: Lab, make_responder: Callable[..., Responder], recorded: Recorded, tmp_path: Path, moment: str
) -> None:
    """Killed around the act, the next start isolates once in all, and can release what an earlier one began."""
    killed_after(moment, tmp_path / "state", lab, 120)
    with make_responder(playbook(CaptureEvidence(), isolating(120))) as responder:
        assert responder.await_idle(20)
        lab.await_echo(answered=False)
        (lease,) = responder.journal.leases()
        command = [sys.executable, "-m", "doorwatch", "respond", "release", lease.incident]
        answer = subprocess.run(
            [*command, "--state", responder.options.state_dir], capture_output=True, text=True, timeout=30, check=False
        )
        assert answer.returncode == 0, answer.stderr
        recorded.await_step("isolate_network", StepState.RELEASED)
        assert lab.echo()
    states = [step.state for step in responder_steps(tmp_path / "state") if step.action == "isolate_network"]
    assert states.count(StepState.SUCCEEDED) == 1
    assert states[-1] is StepState.RELEASED
    assert StepState.FAILED not in states


def responder_steps(state: Path) -> list[ResponseStep]:
    """Every step in the audit file, whose chain must be sound."""
    assert audit.verify(state / "audit.jsonl").sound
    return [line.step for line in audit.read(state / "audit.jsonl")]


ORDINARY = """
import sys
from beat_bridge.errors import DoorwatchError
from responders import nftables
from responders.namespaces import NetworkNamespace
from responders.targets import OpenedProcess
from tests.responders.lab import Lab

with Lab() as lab:
    lab.await_echo(answered=True)
    with OpenedProcess(lab.target) as process, NetworkNamespace.of_process(process) as namespace:
        print("covers packet sockets:", nftables.hold(namespace, "doorwatch_lease_a", 2))
        print("answered:", lab.echo(), "frames:", lab.frames())
        lab.await_echo(answered=True)
        print("came back")
    with NetworkNamespace.own() as ours:
        try:
            nftables.hold(ours, "doorwatch_lease_a", 2)
        except DoorwatchError as error:
            print(error)
"""


def test_an_ordinary_user_isolates_what_is_his_own() -> None:
    """Without root a namespace of one's own is isolated for real, and the host's is refused in one line."""
    ordinary = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    answer = subprocess.run(
        [sys.executable, "-c", ORDINARY], capture_output=True, text=True, timeout=60, check=False, **ordinary
    )  # type: ignore[call-overload] # the keywords of an ordinary user
    lines = answer.stdout.splitlines()
    assert lines[:3] == ["covers packet sockets: True", "answered: False frames: 0", "came back"], answer.stderr
    assert "not permitted" in lines[3]
    assert len(lines) == 4


def test_a_namespace_that_nobody_is_in_is_not_found() -> None:
    """Looking for a namespace that is not there says so."""
    assert NetworkNamespace.find(1) is None
    with pytest.raises(DoorwatchError):
        OpenedProcess(2**22 + 1)
