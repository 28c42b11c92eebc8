"""Alerts, and the incidents in which they meet."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from responders.alerts import Severity, field, from_document
from responders.incidents import belongs, incident_of

DOCUMENT: dict[str, Any] = {
    "kibana.alert.uuid": "u-1",
    "kibana.alert.rule.name": "Shared Memory Execution",
    "kibana.alert.rule.rule_id": "r-1",
    "kibana.alert.severity": "critical",
    "kibana.alert.risk_score": 99,
    "host": {"id": "h-1", "name": "web-1", "boot": {"id": "b-1"}},
    "process": {"pid": 4711, "start": "2026-01-02T03:04:05.123456789Z", "executable": "/run/x (deleted)"},
    "doorwatch": {"finding": {"key": "k-1", "verdict": "malicious"}, "process": {"start_ticks": 77}},
}


def flattened(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The same document with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            found |= flattened(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def test_nested_dotted_and_wrapped_documents_read_alike() -> None:
    """Nested objects, dotted keys, and the single-value lists of the fields API give the same alert."""
    nested = from_document(DOCUMENT)
    assert nested == from_document(flattened(DOCUMENT))
    assert nested == from_document({key: [value] for key, value in flattened(DOCUMENT).items()})
    assert (nested.pid, nested.start_ticks, nested.executable) == (4711, 77, "/run/x")
    assert nested.severity is Severity.CRITICAL
    assert nested.started_at == 1767323045.123456


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(sorted(flattened(DOCUMENT))), json_values))
def test_any_value_in_any_field_is_read_without_a_fault(document: dict[str, Any]) -> None:
    """A field of the wrong type counts as missing: no document makes the reader fail, and its text is printable."""
    alert = from_document(document)
    assert all(text.isprintable() for text in (alert.uuid, alert.rule_name, alert.executable, alert.host_id))
    assert alert.pid is None or alert.pid >= 0


def test_a_pid_without_its_start_is_not_acted_on() -> None:
    """An alert that has a pid and no start says so as its obstacle."""
    assert "without its start" in from_document({"host.id": "h", "process.pid": 4}).obstacle
    assert "names no host" in from_document({"process.pid": 4, "process.start": 1}).obstacle
    assert from_document(DOCUMENT).obstacle == ""


def test_alerts_without_an_id_are_told_apart_by_content() -> None:
    """The same document has the same id each time it is sent, another document another one."""
    first = from_document({"host.id": "h", "process.pid": 4})
    assert first.uuid == from_document({"process.pid": 4, "host.id": "h"}).uuid
    assert first.uuid != from_document({"host.id": "h", "process.pid": 5}).uuid


@given(st.floats(0, 4e9), st.floats(-10, 10))
def test_alerts_about_one_process_meet_within_two_seconds(start: float, apart: float) -> None:
    """Two accounts of a process's start meet if, and only if, they are at most two seconds apart."""
    first = from_document({"host.id": "h", "process.pid": 4, "process.start": start * 1000})
    second = from_document({"host.id": "h", "process.pid": 4, "process.start": (start + apart) * 1000})
    assert second.started_at is not None
    assert first.started_at is not None
    assert belongs(second, incident_of(first)) == (abs(second.started_at - first.started_at) <= 2)


def test_other_hosts_and_pids_never_meet() -> None:
    """Host and pid must be the same."""
    incident = incident_of(from_document({"host.id": "h", "process.pid": 4, "process.start": 1000}))
    assert not belongs(from_document({"host.id": "i", "process.pid": 4, "process.start": 1000}), incident)
    assert not belongs(from_document({"host.id": "h", "process.pid": 5, "process.start": 1000}), incident)
    assert not belongs(from_document({"host.id": "h", "doorwatch.finding.key": "k"}), incident)


def test_a_key_that_is_both_dotted_and_nested_is_found() -> None:
    """`a.b` beside `a: {c: ...}` hides neither."""
    document = {"host.id": "dotted", "host": {"name": "nested"}}
    assert (field(document, "host.id"), field(document, "host.name")) == ("dotted", "nested")
