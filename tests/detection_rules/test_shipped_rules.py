"""The rules that come with Doorwatch: proven by their documents, and by what the detectors really write."""

import tomllib
from datetime import UTC, datetime
from typing import Any

import pytest

from beat_bridge.detectors.pid_files import KNOWN_NAMES
from beat_bridge.ecs.findings import finding_document
from beat_bridge.model.base import Verdict, Viewpoint
from beat_bridge.model.filters import FilterJudgement, FilterKind, Instruction, Magic, SocketFilter
from beat_bridge.model.findings import Change, Finding, FindingEvent, FindingKind
from beat_bridge.model.host import Host
from beat_bridge.model.kernel import Hook
from beat_bridge.model.pid_files import PidFile
from beat_bridge.model.sockets import Socket
from detection_rules import Rule, load_rules
from detection_rules.lint import lint, queried_fields
from detection_rules.mutation import ENOUGH, mutate
from detection_rules.proof import prove, read_proof
from detection_rules.rule_set import SHIPPED

AT = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
HOST = Host(id="8a1d6f3c", name="web-01", boot_id="5b1c")
SOCKET = Socket(
    inode=5,
    family=17,
    type=3,
    protocol=3,
    network_namespace=4026531840,
    filter=SocketFilter(kind=FilterKind.CLASSIC, program=(Instruction(6, 0, 0, 1),)),
)
MAGIC = FilterJudgement(
    verdict=Verdict.MALICIOUS,
    summary="waits",
    magic=(Magic(protocol="udp", offset=8, width=2, value=0x7255),),
)
EVIDENCE: dict[str, tuple[FindingKind, dict[str, Any]]] = {
    # a rule about findings -> what the detectors write for it
    "shared_memory_execution": (FindingKind.SHARED_MEMORY_EXECUTION, {}),
    "abnormal_pid_file": (
        FindingKind.ABNORMAL_PID_FILE,
        {"pid_file": PidFile(path="/run/x.pid", size=0, mode=0o644, user_id=0, modified_at=1, changed_at=1, born_at=1)},
    ),
    "bpf_on_raw_socket": (
        FindingKind.SOCKET_FILTER,
        {"socket": SOCKET, "judgement": FilterJudgement(verdict=Verdict.MALICIOUS, summary="waits")},
    ),
    "socket_filter_secret": (FindingKind.SOCKET_FILTER, {"socket": SOCKET, "judgement": MAGIC}),
    "orphan_socket": (FindingKind.ORPHAN_SOCKET, {"socket": SOCKET}),
    "masquerade": (FindingKind.MASQUERADE, {}),
    "backdoor_process": (FindingKind.BACKDOOR_PROCESS, {}),
    "hidden_process": (FindingKind.HIDDEN_PROCESS, {"missing_from": (Viewpoint.HOST,)}),
    "hidden_module": (FindingKind.HIDDEN_MODULE, {"missing_from": (Viewpoint.HOST,)}),
    "hidden_socket": (FindingKind.HIDDEN_SOCKET, {"socket": SOCKET}),
    "bpf_object_mismatch": (FindingKind.BPF_OBJECT_MISMATCH, {}),
    "kernel_hook_drift": (
        FindingKind.KERNEL_HOOK_DRIFT,
        {"hook": Hook(surface="idt", symbol="asm_exc_page_fault", expected="a", actual="b")},
    ),
    "kernel_text_change": (
        FindingKind.KERNEL_HOOK_DRIFT,
        {"hook": Hook(surface="kernel_text", symbol="tcp4_seq_show+0x12", expected="a", actual="b")},
    ),
}
OTHERS = {
    # rules that fire on a technique or on documents that are no findings
    "agent_silent",
    "backdoor_start",
    "packet_socket_deleted_program",
    "sensor_blinded",
    "shell_without_history",
    "short_lived_redirect",
    "timestomp_in_process",
}
RULES = load_rules()


@pytest.fixture(params=RULES, ids=lambda rule: rule.stem)
def rule(request: pytest.FixtureRequest) -> Rule:
    """Each shipped rule."""
    value: Rule = request.param
    return value


def test_every_kind_of_finding_has_a_rule() -> None:
    """No finding goes without an alert, and the rules have the names that others rely on."""
    assert {rule.stem for rule in RULES} == set(EVIDENCE) | OTHERS
    assert {kind for kind, _ in EVIDENCE.values()} == set(FindingKind)


def test_each_rule_treats_its_documents_as_it_must(rule: Rule) -> None:
    """Every document beside a rule matches or does not match, as it says."""
    assert prove(rule, read_proof(rule)) == ()


def test_each_rule_is_free_of_remarks(rule: Rule) -> None:
    """No shipped rule reads a field that does not exist, lacks ordinary software, or a triage guide."""
    assert lint(rule) == ()


@pytest.mark.parametrize("stem", EVIDENCE)
def test_rules_and_detectors_speak_of_the_same_fields(stem: str) -> None:
    """A finding of the rule's kind, as the bridge really writes it, fires this rule and no other; once gone, none."""
    kind, evidence = EVIDENCE[stem]
    finding = Finding(
        kind=kind,
        host=HOST,
        viewpoint=Viewpoint.HOST,
        subject="process:1:2",
        verdict=Verdict.MALICIOUS,
        confidence=0.95,
        explanation="because",
        **evidence,
    )
    for change, expected in ((Change.OPENED, [stem]), (Change.CHANGED, [stem]), (Change.GONE, [])):
        event = FindingEvent(change=change, finding=finding, at=AT, first_seen=AT, sequence=0)
        fired = RULES.match(finding_document(event).body)
        assert [fires.stem for fires in fired] == expected


def test_every_condition_is_held_by_some_document(rule: Rule) -> None:
    """Changing a rule's query in any one place makes it treat some document beside it otherwise than it must."""
    outcome = mutate(rule, read_proof(rule))
    assert outcome.mutants >= 10
    assert outcome.killed >= ENOUGH, outcome.survivors


def test_the_detectors_names_are_the_rules() -> None:
    """Whatever PID or lock file the detector knows by name, the rule over Defend's events knows as well."""
    rule = next(rule for rule in RULES if rule.stem == "abnormal_pid_file")
    assert [name for name in sorted(KNOWN_NAMES) if f'"*/{name}"' not in rule.query] == []


def test_elastics_tooling_finds_what_it_asks_for(rule: Rule) -> None:
    """Metadata and threat mapping are complete as elastic/detection-rules wants them."""
    content = tomllib.loads(rule.path.read_text("utf-8"))
    assert {"creation_date", "integration", "maturity", "updated_date"} <= set(content["metadata"])
    assert content["metadata"]["integration"]
    assert content["rule"]["license"] == "Apache-2.0"
    assert content["rule"]["timestamp_override"] == "event.ingested"
    assert "## Triage and analysis" in content["rule"]["note"]
    for threat in content["rule"]["threat"]:
        for technique in threat["technique"]:
            assert technique["reference"] == f"https://attack.mitre.org/techniques/{technique['id']}/"
    assert rule.path.parent == SHIPPED


def test_endpoint_rules_mark_our_fields_optional(rule: Rule) -> None:
    """Elasticsearch refuses EQL over a field that no index maps, so ours are optional: Defend may be alone."""
    if rule.language == "eql":
        ours = [name for name in queried_fields(rule) if name.startswith("doorwatch.")]
        assert all(rule.query.count(name) == rule.query.count(f"?{name}") for name in ours)


def test_the_index_over_rules_changes_nothing() -> None:
    """Asking the rules together finds what asking each of them finds, for every document beside every rule."""
    proofs = [read_proof(rule) for rule in RULES]
    cases = [case for proof in proofs for case in (*proof.must_match, *proof.must_not_match)]
    documents = [document for case in cases for document in case.documents]
    about_one = [rule for rule in RULES if rule.plan is None]
    found = [RULES.match(document) for document in documents]
    assert found == [tuple(rule for rule in about_one if rule.matches(document)) for document in documents]
    assert all(branch.demands for rule in RULES for branch in rule.branches)
    assert sum(map(len, found)) > 100
