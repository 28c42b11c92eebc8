"""Playbooks: what is refused when they are loaded, and which one answers."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from beat_bridge import strict_yaml
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Verdict
from responders.alerts import Alert, Severity
from responders.playbooks.model import Budget, Match, Peer, Playbook
from responders.playbooks.selection import choose, load_playbooks, mismatch

ALERT = Alert(
    uuid="u",
    rule_id="r-1",
    rule_name="Shared Memory Execution",
    severity=Severity.HIGH,
    risk_score=73,
    host_id="h-1",
    host_name="web-1",
    executable="/dev/shm/x",  # noqa: S108 - data
    verdict=Verdict.MALICIOUS,
)


ISOLATE = "steps:\n- action: capture_evidence\n- action: isolate_network\n  lease_seconds: 9\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("steps:\n- action: isolate_network\n  lease_seconds: 3\n", "F:1: capture_evidence must be the first step"),
        ("steps:\n- action: stop_process\n- action: capture_evidence\n", "F:1: capture_evidence must be the first"),
        ("steps:\n- action: capture_evidence\n- action: capture_evidence\n", "F:1: an action stands in steps twice"),
        ("steps:\n- action: verify_cure\n- action: capture_evidence\n", "F:1: verify_cure must be the last step"),
        ("steps: []\n", "F:2: Expected a list of length >= 1"),
        ("steps:\n- action: format_disk\n", "F:3: Invalid value 'format_disk'"),
        ("steps:\n- action: verify_cure\n  often: true\n", "F:4: there is no such key: `often`"),
        (
            "steps:\n- action: capture_evidence\n- action: isolate_network\n  lease_seconds: 0\n",
            "F:5: Expected a whole number >= 1",
        ),
        (
            ISOLATE + "  may_reach:\n  - network: 10.0.0.1/8\n",
            "F:7: 10.0.0.1/8 has host bits set",
        ),
        (
            ISOLATE + "  may_reach:\n  - network: 0.0.0.0/0\n",
            "F:7: 0.0.0.0/0 is every address",
        ),
    ],
)
def test_a_wrong_playbook_is_refused_with_its_line(text: str, line: str) -> None:
    """What would act without evidence, or is mistyped, is one line with file and line number."""
    with pytest.raises(DoorwatchError) as caught:
        strict_yaml.parse(f"name: a\n{text}".encode(), Playbook, "F")
    assert str(caught.value).startswith(line)


def test_a_peer_cannot_smuggle_a_rule_into_the_ruleset() -> None:
    """A network is a network: nothing else passes, however it is spelled."""
    for text in ("10.0.0.0/8 accept; drop", "10.0.0.0/8\n", "::1%eth0; x", "fd00::%a/64", "any"):
        with pytest.raises(ValueError, match=r"does not appear to be|names a zone"):
            Peer(network=text)


def test_the_shipped_playbook_loads_from_the_installed_package() -> None:
    """The default playbook is package data, keeps evidence first and verifies last."""
    shipped, _ = load_playbooks()
    assert [type(step).__name__ for step in shipped.steps] == [
        "CaptureEvidence",
        "IsolateNetwork",
        "StopProcess",
        "VerifyCure",
    ]
    assert choose([shipped], ALERT) == (shipped, "")


CONDITIONS = [
    (Match(rules=("Shared*",)), Match(rules=("Abnormal*",))),
    (Match(rules=("r-1",)), Match(rules=("r-2",))),
    (Match(minimum_severity=Severity.HIGH), Match(minimum_severity=Severity.CRITICAL)),
    (Match(minimum_risk_score=73), Match(minimum_risk_score=74)),
    (Match(minimum_verdict=Verdict.MALICIOUS), None),
    (Match(hosts=("web-*",)), Match(hosts=("db-*",))),
    (Match(never_hosts=("db-1",)), Match(never_hosts=("h-1",))),
    (Match(never_executables=("/usr/*",)), Match(never_executables=("/dev/shm/*",))),  # noqa: S108 - data
]


@pytest.mark.parametrize(("meets", "misses"), CONDITIONS)
def test_each_condition_decides(meets: Match, misses: Match | None) -> None:
    """Each condition lets the alert through when met, and names itself when it is missed by a hair."""
    assert mismatch(meets, ALERT) == ""
    if misses is not None:
        assert mismatch(misses, ALERT) != ""


def test_an_alert_without_a_verdict_does_not_meet_a_minimum() -> None:
    """Missing is not malicious, nor benign: a playbook that asks for a verdict passes such an alert by."""
    bare = msgspec.structs.replace(ALERT, verdict=None)
    assert "verdict missing" in mismatch(Match(minimum_verdict=Verdict.BENIGN), bare)


def test_the_first_playbook_that_matches_answers(tmp_path: Path) -> None:
    """Order is priority, and names must differ."""
    first = tmp_path / "a.yml"
    first.write_text("name: a\nmatch: {rules: [Other]}\nsteps: [{action: verify_cure}]\n")
    second = tmp_path / "b.yml"
    second.write_text("name: b\nsteps: [{action: verify_cure}]\n")
    chosen, _ = choose(load_playbooks([first, second]), ALERT)
    assert chosen is not None
    assert chosen.name == "b"
    second.write_text("name: a\nsteps: [{action: verify_cure}]\n")
    with pytest.raises(DoorwatchError, match="another playbook is named a"):
        load_playbooks([first, second])


@pytest.mark.parametrize(
    ("verdict", "name"),
    [(Verdict.MALICIOUS, "contain_backdoor"), (Verdict.SUSPICIOUS, "keep_evidence"), (None, "keep_evidence")],
)
def test_out_of_the_box_only_certainty_cuts_a_host_off(verdict: Verdict | None, name: str) -> None:
    """The shipped playbooks act on what was judged malicious, and keep evidence alone of everything less certain."""
    chosen, _ = choose(load_playbooks(), msgspec.structs.replace(ALERT, verdict=verdict))
    assert chosen is not None
    assert chosen.name == name


def test_check_prints_what_the_shipped_playbooks_do() -> None:
    """`doorwatch respond playbooks check` reads the shipped playbooks and exits with 0."""
    command = [sys.executable, "-m", "doorwatch", "respond", "playbooks", "check", "--format", "json"]
    answer = subprocess.run(command, capture_output=True, timeout=30, check=True)
    names = [msgspec.json.decode(line)["name"] for line in answer.stdout.splitlines()]
    assert names == ["contain_backdoor", "keep_evidence"]
    assert Budget().isolations == 5
