"""The local engine: from a document to an alert that survives restarts and unreachable responders."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.documents import Document
from beat_bridge.standalone import Courier, LocalEngine, NotDeliveredError, Outbox
from detection_rules import RuleSet, Watch, load_rules
from detection_rules.language import compile_sequence
from responders.webhook.bodies import parse

PATIENCE = 30.0
"""Seconds after which a test that waits for an event fails."""


@dataclass(frozen=True)
class Rule:
    """A rule that fires on every document."""

    rule_id: str = "472c9ed0-5d8f-4b51-ac02-c361b8ed77e3"
    name: str = "Program Started from Shared Memory"

    def rated(self, document: Mapping[str, Any]) -> tuple[str, int]:
        """As the document says."""
        return "critical", document.get("risk", 99)


def document(identity: str = "d1", **body: Any) -> Document:
    """A finding."""
    return Document(
        data_stream="logs-doorwatch.finding-default",
        id=identity,
        body={
            "@timestamp": "2026-01-15T09:30:00+00:00",
            "message": "it runs from /dev/shm",
            "event": {"id": identity},
            "host": {"id": "h1", "name": "web-01"},
            "process": {"pid": 812, "start": "2026-01-15T09:00:00+00:00"},
            **body,
        },
    )


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    """An empty outbox."""
    return Outbox(tmp_path / "state" / "alerts.sqlite")


class Responder:
    """Takes posts, or fails as it is told to, and lets a test wait for what it saw."""

    def __init__(self, behave: Callable[[int, bytes], None] = lambda _count, _body: None) -> None:
        self.bodies: list[bytes] = []
        self.calls = 0
        self._behave = behave
        self._changed = threading.Condition()

    def __call__(self, body: bytes) -> None:
        """Take one body, or fail."""
        with self._changed:
            self.calls += 1
            count = self.calls
            self._changed.notify_all()
        self._behave(count, body)
        with self._changed:
            self.bodies.append(body)
            self._changed.notify_all()

    def wait(self, reached: Callable[[], bool]) -> None:
        """Until something is so; the test fails when it never is."""
        with self._changed:
            assert self._changed.wait_for(reached, PATIENCE)


def test_the_body_is_what_kibana_would_send(outbox: Outbox) -> None:
    """The webhook body has the contract's shape, and the responder reads from it what the document says."""
    engine = LocalEngine(lambda _body: [Rule()], outbox)
    (identity,) = engine.consider(document())
    waiting = outbox.next()
    assert waiting is not None
    body = json.loads(waiting.body)
    assert body["rule"] == {"id": Rule().rule_id, "name": Rule().name, "severity": "critical", "risk_score": 99}
    assert body["alert"] == {"id": identity}
    (alert,) = body["context"]["alerts"]
    assert alert["host"] == {"id": "h1", "name": "web-01"}
    assert alert["_id"] == alert["kibana.alert.uuid"] == identity
    assert alert["_index"] == "logs-doorwatch.finding-default"
    assert alert["kibana.alert.rule.rule_id"] == alert["kibana.alert.rule.uuid"] == Rule().rule_id
    assert alert["kibana.alert.severity"] == "critical"
    assert alert["kibana.alert.original_event.id"] == "d1"
    understood = parse(waiting.body)
    assert [(a.uuid, a.host_id, a.pid, a.rule_name) for a in understood.alerts] == [(identity, "h1", 812, Rule().name)]


def test_the_shipped_rules_run_in_it(outbox: Outbox) -> None:
    """A rule set's `match` is what the engine takes, and its mapped severity reaches the alert."""
    own = {"finding": {"kind": "kernel_hook_drift", "state": "opened", "verdict": "malicious"}}
    engine = LocalEngine(load_rules().match, outbox)
    engine.consider(document(event={"id": "d1", "severity": 99, "risk_score": 95.0}, doorwatch=own))
    waiting = outbox.next()
    assert waiting is not None
    rule = json.loads(waiting.body)["rule"]
    assert (rule["name"], rule["severity"], rule["risk_score"]) == ("Kernel Hook Leads Elsewhere", "critical", 95)


def sequence_rules() -> Watch:
    """One rule: an opened finding, then another process's, on one host."""
    query = "sequence by host.id with maxspan=1m [any where step == 1] [any where step == 2]"
    plan = compile_sequence(query)
    rule = replace(load_rules().rules[0], stem="two_steps", query=query, plan=plan, holds=plan.holds, branches=())
    return Watch(RuleSet([rule]))


def test_a_sequence_makes_one_alert_with_all_its_documents(outbox: Outbox) -> None:
    """When the last document arrives the rule fires once; the alert names all documents and holds what they share."""
    engine = LocalEngine(lambda _body: [], outbox, sequence_rules())
    assert engine.consider(document("d1", step=1, process={"pid": 1, "name": "x"})) == ()
    fired = engine.consider(document("d2", step=2, process={"pid": 2, "name": "x"}))
    assert len(fired) == 1
    assert engine.consider(document("d2", step=2)) == (), "delivered twice, it fires once"
    waiting = outbox.next()
    assert waiting is not None
    [alert] = json.loads(waiting.body)["context"]["alerts"]
    assert [ancestor["id"] for ancestor in alert["kibana.alert.ancestors"]] == ["d1", "d2"]
    assert alert["host"] == {"id": "h1", "name": "web-01"}
    assert alert["process"] == {"name": "x"}, "the pids differ: none is the alert's"
    assert alert["kibana.alert.uuid"] == fired[0] == waiting.id
    assert [a.host_id for a in parse(waiting.body).alerts] == ["h1"]
    assert engine.status().remarks == ()


def test_the_engine_says_when_a_sequence_had_to_let_go(outbox: Outbox) -> None:
    """A document without a time cannot be put in order: the status names the rule and how many there were."""
    engine = LocalEngine(lambda _body: [], outbox, sequence_rules())
    engine.consider(document("d1", step=1, **{"@timestamp": "soon"}))
    [remark] = engine.status().remarks
    assert remark.startswith("two_steps: ")
    assert "1 events without a time" in remark


def test_one_rule_makes_one_alert_of_one_document(outbox: Outbox) -> None:
    """A document that is seen again makes the same alert, which is queued once, also after it was delivered."""
    engine = LocalEngine(lambda _body: [Rule(), Rule(rule_id="other")], outbox)
    first = engine.consider(document())
    assert len(set(first)) == 2
    assert engine.consider(document()) == first
    assert engine.consider(document("d2")) != first
    assert outbox.status().queued == 4
    for identity in first:
        outbox.delivered(identity)
    engine.consider(document())
    status = engine.status()
    assert (status.evaluated, status.matched) == (4, 8)
    assert (status.outbox.queued, status.outbox.delivered, status.outbox.waiting) == (4, 2, 2)


def test_a_document_no_rule_fires_on_leaves_no_trace(outbox: Outbox) -> None:
    """Without a match nothing is queued."""
    engine = LocalEngine(lambda _body: [], outbox)
    assert engine.consider(document()) == ()
    assert outbox.status().queued == 0


def test_evaluation_goes_on_while_the_responder_hangs(outbox: Outbox) -> None:
    """A post that does not end holds up no evaluation."""
    release = threading.Event()

    def hangs(_count: int, _body: bytes) -> None:
        release.wait(PATIENCE)

    responder = Responder(hangs)
    engine = LocalEngine(lambda _body: [Rule()], outbox)
    courier = Courier(outbox, responder)
    courier.start()
    engine.consider(document("0"))
    responder.wait(lambda: responder.calls == 1)
    for n in range(1, 20):
        engine.consider(document(str(n)))
    assert outbox.status().queued == 20
    release.set()
    responder.wait(lambda: len(responder.bodies) == 20)
    courier.stop()
    assert outbox.status().delivered == 20


def test_an_alert_survives_a_restart_and_an_unreachable_responder(tmp_path: Path) -> None:
    """What could not be posted before the end is posted after the next start, once."""
    path = tmp_path / "state" / "alerts.sqlite"

    def unreachable(_count: int, _body: bytes) -> None:
        raise NotDeliveredError("no route")

    with Outbox(path) as outbox:
        dead = Responder(unreachable)
        courier = Courier(outbox, dead, first_delay=0.01)
        courier.start()
        (identity,) = LocalEngine(lambda _body: [Rule()], outbox).consider(document())
        dead.wait(lambda: dead.calls >= 3)
        courier.stop()
        assert outbox.status().waiting == 1
        assert outbox.status().last_reason == "no route"
    with Outbox(path) as outbox:
        alive = Responder()
        courier = Courier(outbox, alive)
        courier.start()
        alive.wait(lambda: len(alive.bodies) == 1)
        courier.stop()
        assert json.loads(alive.bodies[0])["alert"]["id"] == identity
        assert (outbox.status().delivered, outbox.status().waiting) == (1, 0)


def test_one_that_fails_for_ever_holds_up_no_other(outbox: Outbox) -> None:
    """An alert that the responder chokes on is tried again, behind the others."""

    def chokes(_count: int, body: bytes) -> None:
        if b'"poison"' in body:
            raise NotDeliveredError("answered 500")

    responder = Responder(chokes)
    engine = LocalEngine(lambda _body: [Rule()], outbox)
    engine.consider(document("poison"))
    for n in range(5):
        engine.consider(document(str(n)))
    courier = Courier(outbox, responder, first_delay=0.01)
    courier.start()
    responder.wait(lambda: len(responder.bodies) == 5)
    engine.consider(document("later"))
    responder.wait(lambda: len(responder.bodies) == 6)
    courier.stop()
    assert outbox.status().waiting == 1


def test_a_faulty_poster_does_not_end_alerting(outbox: Outbox) -> None:
    """Whatever a poster raises, the alert waits and is tried again."""

    def faulty(count: int, _body: bytes) -> None:
        if count == 1:
            raise ZeroDivisionError

    responder = Responder(faulty)
    LocalEngine(lambda _body: [Rule()], outbox).consider(document())
    courier = Courier(outbox, responder, first_delay=0.01)
    courier.start()
    responder.wait(lambda: len(responder.bodies) == 1)
    courier.stop()
    assert (outbox.status().delivered, responder.calls) == (1, 2)


def test_a_refused_alert_is_kept_with_its_reason(outbox: Outbox) -> None:
    """What the responder will never take is not tried again, and stays with its answer."""

    def refuses(_count: int, _body: bytes) -> None:
        raise NotDeliveredError("answered 400", permanent=True)

    responder = Responder(refuses)
    engine = LocalEngine(lambda _body: [Rule()], outbox)
    engine.consider(document("a"))
    engine.consider(document("b"))
    courier = Courier(outbox, responder)
    courier.start()
    responder.wait(lambda: responder.calls == 2)
    courier.stop()
    status = outbox.status()
    assert (status.refused, status.waiting, responder.calls) == (2, 0, 2)


def test_a_full_outbox_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Alerts beyond the capacity are counted and said, and room that comes back is used."""
    with Outbox(tmp_path / "state" / "alerts.sqlite", capacity=2) as outbox:
        engine = LocalEngine(lambda _body: [Rule()], outbox)
        ids = [engine.consider(document(str(n)))[0] for n in range(5)]
        assert outbox.status().turned_away == 3
        assert "turned away" in caplog.text
        outbox.delivered(ids[0])
        engine.consider(document("4"))
        status = outbox.status()
        assert (status.queued, status.waiting, status.turned_away) == (3, 2, 3)


@settings(max_examples=30, deadline=None)  # it waits for a disk that others use
@given(st.lists(st.tuples(st.sampled_from("pdrf"), st.integers(0, 4)), max_size=25))
def test_the_counts_add_up(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]) -> None:
    """After any steps, queued is delivered plus refused plus waiting, as an independent count says."""
    states: dict[str, str] = {}
    with Outbox(tmp_path_factory.mktemp("outbox") / "alerts.sqlite", capacity=3) as outbox:
        for step, number in steps:
            identity = str(number)
            waiting = [key for key, state in states.items() if state == "waiting"]
            if step == "p":
                outbox.put([(identity, b"{}")])
                if identity not in states and len(waiting) < 3:
                    states[identity] = "waiting"
            elif step == "f":
                outbox.failed(identity, "x")
            else:
                (outbox.delivered if step == "d" else lambda key: outbox.refused(key, "no"))(identity)
                if states.get(identity) == "waiting":
                    states[identity] = "delivered" if step == "d" else "refused"
        status = outbox.status()
        kept = list(states.values())
        assert (status.queued, status.delivered, status.refused, status.waiting) == (
            len(kept),
            kept.count("delivered"),
            kept.count("refused"),
            kept.count("waiting"),
        )


def test_a_broken_outbox_is_one_line(tmp_path: Path) -> None:
    """A damaged file is a DoorwatchError, not a queue without alerts."""
    path = tmp_path / "state" / "alerts.sqlite"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(DoorwatchError, match="no database"):
        Outbox(path)
