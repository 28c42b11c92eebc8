"""Webhook bodies as Kibana really sends them, whole and damaged."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from responders.webhook.bodies import MAXIMUM_ALERTS, parse

RULE = {"id": "r", "name": "A rule", "severity": "critical", "risk_score": 99}


def document(number: int) -> dict[str, Any]:
    """An alert document with braces, quotes and brackets in hostile places."""
    return {
        "_id": f"id-{number}",
        "kibana.alert.uuid": f"u-{number}",
        "host": {"id": "h", "name": '{"}] [\\'},
        "process": {"pid": number, "start": "2026-01-02T03:04:05Z", "args": ['"}', "{", "]"]},
    }


def body_with(alerts: Any) -> dict[str, Any]:
    """The body of the common template."""
    return {"rule": RULE, "alert": {"id": "a"}, "context": {"alerts": alerts}}


DOCUMENTS = [document(1), document(2)]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(json.dumps(body_with(DOCUMENTS)), id="the template"),
        pytest.param(json.dumps(body_with(json.dumps(DOCUMENTS))), id="JSON in a string"),
        pytest.param(json.dumps(body_with([json.dumps(one) for one in DOCUMENTS])), id="a list of JSON strings"),
        pytest.param(json.dumps(body_with("".join(map(json.dumps, DOCUMENTS)))), id="a mustache section"),
        pytest.param(json.dumps({"context.alerts": DOCUMENTS, "rule": RULE}), id="dotted keys"),
        pytest.param(json.dumps({"alerts": DOCUMENTS}), id="alerts at the top"),
        pytest.param(json.dumps(DOCUMENTS), id="a bare list"),
        pytest.param("\n".join(map(json.dumps, DOCUMENTS)), id="one object a line"),
        pytest.param('{"rule": {}, "alerts": "' + json.dumps(DOCUMENTS) + '"}', id="unescaped between quotes"),
        pytest.param(json.dumps(body_with([{"_source": one} for one in DOCUMENTS])), id="search hits"),
    ],
)
def test_every_known_form_of_body_gives_its_alerts(body: str) -> None:
    """Both alerts are read from each form that Kibana's templates produce."""
    assert [alert.uuid for alert in parse(body.encode()).alerts] == ["u-1", "u-2"]


def test_one_alert_at_a_time() -> None:
    """A body whose `alert` is the document itself gives that alert, with the rule's severity."""
    (alert,) = parse(json.dumps({"rule": RULE, "alert": document(3)}).encode()).alerts
    assert (alert.uuid, alert.rule_name, alert.severity.value, alert.risk_score) == ("u-3", "A rule", "critical", 99)


@given(st.integers(1, 6), st.data())
def test_a_cut_body_gives_the_alerts_before_the_cut(count: int, data: st.DataObject) -> None:
    """Cut anywhere, a body yields exactly the alerts that are complete before the cut, and says that it was cut."""
    documents = [document(number) for number in range(count)]
    whole = json.dumps(body_with(documents))
    place = data.draw(st.integers(1, len(whole) - 1))
    ends = [whole.index(json.dumps(one)) + len(json.dumps(one)) for one in documents]
    complete = [f"u-{number}" for number, end in enumerate(ends) if end <= place]
    if not complete:
        return
    parsed = parse(whole[:place].encode())
    assert [alert.uuid for alert in parsed.alerts] == complete
    assert any("damaged or cut short" in note for note in parsed.notes)
    assert {alert.rule_name for alert in parsed.alerts} == {"A rule"}


@given(st.binary(max_size=400) | st.text(alphabet='{}[]",:\\ ualerts1.', max_size=300).map(str.encode))
def test_no_bytes_make_the_parser_fail(body: bytes) -> None:
    """Any bytes at all give alerts or one clear error."""
    try:
        outcome: object = parse(body).alerts
    except DoorwatchError as error:
        outcome = "\n" not in str(error)
    assert outcome


@pytest.mark.parametrize("body", [b'{"a":' * 150_000, b"[" * 900_000, b'"[{"' * 200_000, b"{" * 900_000])
def test_deep_nesting_is_refused(body: bytes) -> None:
    """A megabyte of opening brackets is one clear error."""
    with pytest.raises(DoorwatchError, match="no alert could be read"):
        parse(body)


def test_a_threshold_alert_without_fields_is_kept() -> None:
    """A body with a rule and an alert id only gives one alert, which says why nothing can be done about it."""
    (alert,) = parse(json.dumps(body_with([])).encode()).alerts
    assert (alert.uuid, alert.rule_name) == ("a", "A rule")
    assert "names no host" in alert.obstacle


def test_too_many_alerts_are_cut_aloud() -> None:
    """Beyond the limit alerts are left out, and a note says so."""
    parsed = parse(json.dumps([document(number) for number in range(MAXIMUM_ALERTS + 5)]).encode())
    assert len(parsed.alerts) == MAXIMUM_ALERTS
    assert any("more than" in note for note in parsed.notes)
