"""From an alert on the wire to an isolated host and an ended process, beside the bare commands that do as much."""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import requests
import trustme

from beat_bridge.model.responses import ResponseStep, StepState
from responders import nftables
from responders.confirmation import epoch_of
from responders.namespaces import NetworkNamespace
from responders.options import ResponderOptions
from responders.outcomes import CureResult
from responders.playbooks.model import Budget, CaptureEvidence, IsolateNetwork, Playbook, StopProcess
from responders.responder import Responder
from responders.targets import OpenedProcess
from responders.webhook.application import create_app
from responders.webhook.credentials import load_credentials
from responders.webhook.server import WebhookServer
from tests.bench.figures import Figure, seconds
from tests.responders.lab import Lab

RUNS = 15
TOKEN = "a-token-of-the-bench-0123456789"
BOOK = Playbook(
    name="bench",
    steps=(CaptureEvidence(), IsolateNetwork(lease_seconds=60), StopProcess()),
    budget=Budget(isolations=1000),
)


def figures() -> Sequence[Figure]:
    """Medians, measured over HTTPS on loopback against namespaces with a real link."""
    with tempfile.TemporaryDirectory() as directory, Lab() as lab, _service(Path(directory)) as respond:
        runs = [respond(lab) for _ in range(RUNS + 1)][1:]
        accepted, isolated, ended = (statistics.median(run[place] for run in runs) * 1000 for place in range(3))
        bare_nft = _bare_nft(lab) * 1000
        bare_kill = statistics.median(seconds(_bare_kill, RUNS)) * 1000
    return [
        Figure("alert accepted (on disk, 202)", accepted, "ms", "", None),
        Figure(
            "alert sent to host isolated, evidence kept first",
            isolated,
            "ms",
            "<= 800 ms",
            isolated <= 800,
            peer="one bare nft command",
            peer_value=bare_nft,
            note="p50 over HTTPS; capture of executable, maps and sockets included",
        ),
        Figure(
            "alert sent to process ended, isolated before",
            ended,
            "ms",
            "<= 1200 ms",
            ended <= 1200,
            peer="fork, kill and wait",
            peer_value=bare_kill,
        ),
    ]


@contextlib.contextmanager
def _service(directory: Path) -> Iterator[Callable[[Lab], tuple[float, float, float]]]:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(directory / "both.pem"))
    (directory / "token").write_text(TOKEN)
    (directory / "token").chmod(0o600)
    both = str(directory / "both.pem")
    options = ResponderOptions(
        state_dir=str(directory / "state"),
        port=0,
        tls_certificate=both,
        tls_key=both,
        token_file=str(directory / "token"),
    )
    moments: dict[str, float] = {}
    changed = threading.Condition()

    def record(step: ResponseStep) -> None:
        if step.state is not StepState.STARTED:
            with changed:
                moments[step.action] = time.perf_counter() if step.state is StepState.SUCCEEDED else float("inf")
                changed.notify_all()

    with (
        Responder(
            options, verify=lambda _: CureResult(cured=True, explanation=""), record=record, playbooks=(BOOK,)
        ) as responder,
        WebhookServer(
            create_app(responder.submit, lambda: responder.healthy, load_credentials(options)), options
        ) as server,
        requests.Session() as session,
    ):
        session.trust_env = False
        session.verify = str(directory / "ca.pem")

        def respond(lab: Lab) -> tuple[float, float, float]:
            with _target(lab) as pid:
                body = _body(pid, responder.host.id, responder.host.boot_id)
                moments.clear()
                start = time.perf_counter()
                answer = session.post(server.url, data=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
                accepted = time.perf_counter()
                if answer.status_code != 202:
                    raise RuntimeError(answer.text)
                with changed:
                    if not changed.wait_for(lambda: "stop_process" in moments, 30):
                        raise RuntimeError("no response")
                return accepted - start, moments["isolate_network"] - start, moments["stop_process"] - start

        yield respond


@contextlib.contextmanager
def _target(lab: Lab) -> Iterator[int]:
    """A fresh process in the lab's host."""
    command = ["nsenter", "-t", str(lab.target), "-U", "-n", "--preserve-credentials", "sleep", "300"]
    with subprocess.Popen(command) as process:
        while Path(f"/proc/{process.pid}/exe").readlink().name != "sleep":
            time.sleep(0.001)
        yield process.pid
        process.kill()


def _body(pid: int, host_id: str, boot_id: str) -> bytes:
    with OpenedProcess(pid) as process:
        identity = process.identity
    start = datetime.fromtimestamp(epoch_of(identity.start_ticks), UTC).isoformat()
    document = {
        "kibana.alert.uuid": os.urandom(8).hex(),
        "kibana.alert.severity": "critical",
        "host": {"id": host_id, "boot": {"id": boot_id}},
        "process": {"pid": pid, "start": start, "executable": identity.executable},
        "doorwatch": {"process": {"start_ticks": identity.start_ticks}},
    }
    return json.dumps({"rule": {"name": "bench"}, "context": {"alerts": [document]}}).encode()


def _bare_nft(lab: Lab) -> float:
    """The floor: one nft command in the same namespace that starts a lease."""
    with OpenedProcess(lab.target) as process, NetworkNamespace.of_process(process) as namespace:
        ruleset = nftables._inet_table("bare", 60, (), ()).encode()  # the same bytes
        command, descriptors = namespace.command(["nft", "-f", "-"])

        def run() -> None:
            subprocess.run(command, input=ruleset, check=True, timeout=10, pass_fds=descriptors)

        return statistics.median(seconds(run, RUNS))


def _bare_kill() -> None:
    process = subprocess.Popen(["sleep", "300"])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
