"""Sequences in the running bridge: from documents of three sensors to one alert, and what time alone completes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.documents import Document
from beat_bridge.model.inventory import Inventory
from beat_bridge.standalone import LocalEngine
from detection_rules import RuleSet, Watch, load_rules
from detection_rules.language import compile_sequence
from detection_rules.language.branches import branches
from detection_rules.proof import read_proof
from doorwatch.configuration import AlertOptions, Configuration
from doorwatch.run.service import Seams, Service, open_service


def _no_look() -> Inventory:
    raise DoorwatchError("nobody looks in this test")


@contextmanager
def _running(directory: Path) -> Iterator[Service]:
    """The parts of `doorwatch run`, with alerts for a responder that is not there."""
    configuration = Configuration(
        state=str(directory / "state"), host=None, alerts=AlertOptions(url="https://127.0.0.1:9/v1/alerts")
    )
    with open_service(configuration, Seams(look=_no_look)) as service:
        yield service


def _start_of_a_backdoor() -> list[Document]:
    """The documents beside the rule: program in shared memory, PID file, filter."""
    rule = next(rule for rule in load_rules() if rule.stem == "backdoor_start")
    bodies = read_proof(rule).must_match[0].documents
    return [
        Document(data_stream="-".join(body["data_stream"].values()), id=f"d{number}", body=body)
        for number, body in enumerate(bodies)
    ]


def _alerts(service: Service) -> int:
    assert service.engine is not None
    return service.engine.status().outbox.waiting


def test_three_documents_through_the_publisher_fire_one_sequence(tmp_path: Path) -> None:
    """The last of three documents adds one alert to those that the documents make alone, and twice adds none."""
    documents = _start_of_a_backdoor()
    assert len(documents) == 3
    rules = load_rules()
    alone = sum(len(rules.match(document.body)) for document in documents)
    with _running(tmp_path) as service:
        service.publisher.publish(documents[:2])
        before = _alerts(service)
        service.publisher.publish(documents[2:])
        assert before + len(rules.match(documents[2].body)) + 1 == _alerts(service) == alone + 1
        service.publisher.publish(documents)
        assert _alerts(service) == alone + 1


def test_what_does_not_happen_is_told_without_another_document(tmp_path: Path) -> None:
    """A sequence that ends with a missing event fires at the first tick after its time, once."""
    query = "sequence by host with maxspan=1m [any where step == 1] ![any where step == 2]"
    plan = compile_sequence(query)
    rule = replace(load_rules().rules[0], stem="ends", plan=plan, holds=plan.holds, branches=branches(query, "eql"))
    now = [1_768_467_600.0]
    with _running(tmp_path) as service:
        assert service.outbox is not None
        rules = RuleSet([rule])
        service.engine = LocalEngine(rules.match, service.outbox, Watch(rules, clock=lambda: now[0]))
        body = {"@timestamp": "2026-01-15T09:00:00Z", "host": "h", "step": 1}
        service.engine.consider(Document(data_stream="logs-x-default", id="d1", body=body))
        service.tick()
        assert _alerts(service) == 0
        now[0] += 3_600
        service.tick()
        service.tick()
        assert _alerts(service) == 1


def test_a_heartbeat_says_what_a_sequence_could_not_follow(tmp_path: Path) -> None:
    """A document that cannot be put in order is named, with its rule, in the bridge's status."""
    first, *_ = _start_of_a_backdoor()
    with _running(tmp_path) as service:
        assert "backdoor_start" not in service.status().last_error
        service.publisher.publish([replace_time(first, "soon")])
        assert "rule backdoor_start: " in service.status().last_error
        assert "1 events without a time" in service.status().last_error


def replace_time(document: Document, moment: str) -> Document:
    """The same document at another time."""
    return Document(data_stream=document.data_stream, id=document.id, body={**document.body, "@timestamp": moment})
