"""What the demo shows, in order, each claim checked as it is made."""

import queue
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import write_atomically
from beat_bridge.model.documents import Document
from beat_bridge.model.inventory import Inventory
from beat_bridge.sensors.host import look as look_at_host
from detection_rules import RuleSet, load_rules
from doorwatch.configuration import AlertOptions, Configuration
from doorwatch.demo.certificates import write_certificate
from doorwatch.demo.emulator import FILTER
from doorwatch.demo.lab import Lab
from doorwatch.demo.stage import Stage
from doorwatch.run.service import Seams, Service, open_service
from responders import audit
from responders.incidents import Incident
from responders.options import ResponderOptions

PLAYBOOK = Path(__file__).with_name("contain_emulator.yml")
RESPONSE_SECONDS = 30.0
PROBES = 3


def only_the_emulator(pid: int, look: Callable[[], Inventory] = look_at_host) -> Callable[[], Inventory]:
    """A real look at this host, narrowed to the emulator: the demo must never act on anything else."""

    def narrowed() -> Inventory:
        inventory = look()
        return msgspec.structs.replace(
            inventory,
            processes=tuple(process for process in inventory.processes if process.pid == pid),
            sockets=tuple(s for s in inventory.sockets if any(holder.pid == pid for holder in s.holders)),
            pid_files=(),
        )

    return narrowed


class Story:
    """One run of the demo against a lab."""

    def __init__(self, stage: Stage, lab: Lab, state: Path) -> None:
        """Nothing happens before `tell`."""
        self.stage = stage
        self.lab = lab
        self.state = state
        self.rules: RuleSet = load_rules()
        self.documents: queue.SimpleQueue[Document] = queue.SimpleQueue()

    def tell(self) -> None:
        """The whole story."""
        self._emulator()
        with self._service() as service:
            self._findings(service)
            self._response(service)
            self._release()
            self._cure(service)
        self._records(service)

    @contextmanager
    def _service(self) -> Iterator[Service]:
        """The same parts that `doorwatch run` opens, with a store of their own and TLS between them."""
        certificate, key = write_certificate(self.state)
        token = self.state / "token"
        write_atomically(token, secrets.token_urlsafe(32).encode())
        configuration = Configuration(
            state=str(self.state / "state"),
            alerts=AlertOptions(ca_file=str(certificate), token_file=str(token)),
            responder=ResponderOptions(
                state_dir="",
                port=0,
                tls_certificate=str(certificate),
                tls_key=str(key),
                token_file=str(token),
                playbooks=(str(PLAYBOOK),),
            ),
        )
        look = only_the_emulator(self.lab.emulator_pid)
        with open_service(configuration, Seams(look=look, probe=self._probe, observe=self.documents.put)) as service:
            yield service

    def _probe(self, _: Incident) -> str:
        """What the responder is told of the isolated host from outside."""
        answers = [self.lab.probe(0.2) for _ in range(PROBES)]
        lost = answers.count(None)
        return f"{lost} of {PROBES} ICMP echo requests sent from outside had no answer"

    def _emulator(self) -> None:
        stage, lab = self.stage, self.lab
        stage.act("A harmless emulator appears")
        stage.say(f"process {lab.emulator_pid} runs from shared memory as “/sbin/udevd -d”; its file is gone already")
        stage.say(f"it holds a raw socket with a classic BPF filter of {len(FILTER)} instructions, and only sleeps")
        answer = lab.probe()
        words = "is silent" if answer is None else f"answers a ping in {answer:.2f} ms"
        stage.say(f"seen from outside, its host {lab.address} {words}", holds=answer is not None)

    def _findings(self, service: Service) -> None:
        stage = self.stage
        stage.act("The sensors look, and the detectors judge what they see")
        began = time.monotonic()
        looked = service.look()
        took = (time.monotonic() - began) * 1000
        found = [entry.finding for entry in service.watch.open_findings.values()]
        stage.say(
            f"one look at this host took {took:.0f} ms and opened {len(found)} findings", holds=looked and bool(found)
        )
        stage.table(
            ("verdict", "kind", "confidence"),
            [
                (f.verdict.value, f.kind.value.replace("_", " "), f"{f.confidence:.0%}")
                for f in sorted(found, key=lambda f: -f.confidence)
            ],
        )
        filtered = next((f for f in found if f.judgement is not None and f.socket is not None), None)
        stage.say("the socket's filter was found", holds=filtered is not None)
        if filtered is None or filtered.judgement is None or filtered.socket is None:
            return
        stage.act("The filter, in words")
        stage.say(f"seen through {', '.join(filtered.socket.seen_by)}")
        stage.say(filtered.judgement.summary)
        for reason in filtered.judgement.reasons:
            stage.say(reason)
        same = filtered.socket.filter.program == FILTER
        stage.say("the program read back is the one the emulator attached, instruction by instruction", holds=same)

    def _response(self, service: Service) -> None:
        stage = self.stage
        stage.act("Documents, rules, webhook, responder")
        told: dict[str, int] = {}
        fired: set[str] = set()
        deadline = time.monotonic() + RESPONSE_SECONDS
        steps: list[dict[str, Any]] = []
        while not steps or (steps[-1]["action"], steps[-1]["state"]) not in _LAST_STEPS:
            document = self._next(deadline)
            told[document.data_stream] = told.get(document.data_stream, 0) + 1
            fired.update(rule.stem for rule in self.rules.match(document.body))
            response = document.body.get("doorwatch", {}).get("response")
            if response is None:
                continue
            if not steps:
                counts = ", ".join(f"{count} in {stream}" for stream, count in told.items())
                stage.say(f"ECS documents on disk and on their way: {counts}", holds=True)
                stage.say(f"rules that fired: {', '.join(sorted(fired))}", holds=bool(fired))
                stage.say(f"the alert reached {service.alerts_url} over TLS", holds=True)
            steps.append(response)
            if response["state"] in {"started", "duplicate"}:
                continue
            self._step(document, response)
            if response["action"] == "isolate_network":
                proof = response.get("proof", "")
                stage.say(f"proof from outside: {proof or 'none'}", holds=f"{PROBES} of {PROBES}" in proof)

    def _step(self, document: Document, response: dict[str, Any]) -> None:
        words = str(document.body.get("message", "")).partition(": ")[2]
        good = response["state"] in {"succeeded", "expired", "released"}
        self.stage.say(f"{response['action'].replace('_', ' ')}: {words}", holds=good)

    def _release(self) -> None:
        stage = self.stage
        stage.act("The lease lapses by itself")
        began = time.monotonic()
        answer = None
        while answer is None and time.monotonic() - began < RESPONSE_SECONDS:
            answer = self.lab.probe(0.2)
        waited = time.monotonic() - began
        words = f"answers again after {waited:.1f} s more: the kernel's own timer let go, nobody acted"
        stage.say(f"the host {words}" if answer is not None else "the host stays silent", holds=answer is not None)

    def _cure(self, service: Service) -> None:
        stage = self.stage
        stage.act("A new look proves the cure")
        stage.say("the emulator has ended, by its own parent's account", holds=not self.lab.emulator_alive())
        service.look()
        left = [entry.finding.kind.value for entry in service.watch.open_findings.values()]
        stage.say(f"findings still open: {', '.join(left) or 'none'}", holds=not left)

    def _records(self, service: Service) -> None:
        """After the parts have stopped: what they left on disk agrees."""
        options = service.responder.options if service.responder else None
        if options is None:
            raise DoorwatchError("the demo ran without a responder")
        report = audit.verify(options.audit_file)
        self.stage.say(f"the audit file's hash chain holds: {report.lines} lines", holds=report.sound)
        status = service.final_status.spool
        words = f"{status.appended} documents spooled, {status.delivered} in the store, {status.dead_letters} refused"
        self.stage.say(words, holds=status.appended == status.delivered)

    def _next(self, deadline: float) -> Document:
        try:
            return self.documents.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise DoorwatchError(
                f"the response did not come to its end within {RESPONSE_SECONDS:.0f} s: run  doorwatch doctor"
            ) from None


_LAST_STEPS = {("verify_cure", state) for state in ("succeeded", "failed", "refused", "duplicate")}
