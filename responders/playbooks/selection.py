"""Loading playbooks, and choosing the one that answers an alert."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from beat_bridge import strict_yaml
from beat_bridge.errors import DoorwatchError
from responders.alerts import Alert
from responders.playbooks.model import Match, Playbook

SHIPPED = tuple(Path(__file__).with_name(name) for name in ("contain_backdoor.yml", "keep_evidence.yml"))
"""In the order in which they are tried."""


def load_playbooks(paths: Sequence[str | Path] = ()) -> tuple[Playbook, ...]:
    """Read playbooks in order; the shipped ones where none are named.

    Raises:
        DoorwatchError: One line, FILE:LINE and what is wrong.
    """
    files = [Path(path) for path in paths] or list(SHIPPED)
    playbooks: dict[str, Playbook] = {}
    for path in files:
        playbook = strict_yaml.load(path, Playbook)
        if playbook.name in playbooks:
            raise DoorwatchError(f"{path}: another playbook is named {playbook.name} too: names tell them apart")
        playbooks[playbook.name] = playbook
    return tuple(playbooks.values())


def choose(playbooks: Sequence[Playbook], alert: Alert) -> tuple[Playbook | None, str]:
    """The first playbook that answers the alert; else None and why each one did not."""
    reasons = []
    for playbook in playbooks:
        reason = mismatch(playbook.match, alert)
        if not reason:
            return playbook, ""
        reasons.append(f"{playbook.name}: {reason}")
    return None, "; ".join(reasons) or "there is no playbook"


def mismatch(match: Match, alert: Alert) -> str:
    """The first condition that an alert does not meet; empty where it meets all."""
    verdict = alert.verdict.rank if alert.verdict else -1
    conditions = (
        (
            not match.rules or _any(match.rules, alert.rule_name, alert.rule_id),
            f"rule {alert.rule_name!r} is not named",
        ),
        (alert.severity.rank >= match.minimum_severity.rank, f"severity {alert.severity} is too low"),
        (alert.risk_score >= match.minimum_risk_score, f"risk score {alert.risk_score:g} is too low"),
        (
            match.minimum_verdict is None or verdict >= match.minimum_verdict.rank,
            f"verdict {alert.verdict or 'missing'} is too low",
        ),
        (not match.hosts or _any(match.hosts, alert.host_id, alert.host_name), "the host is not among its hosts"),
        (not _any(match.never_hosts, alert.host_id, alert.host_name), "the host is one of never_hosts"),
        (not _any(match.never_executables, alert.executable), "the executable is one of never_executables"),
    )
    return next((reason for met, reason in conditions if not met), "")


def _any(patterns: Sequence[str], *names: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names if name)
