"""What the rules answer: which behaviour, by which rule, seen from where; and the ATT&CK techniques of all of them.

All of it is read off the rules: the kinds of finding their queries name, the data they read, their threat mapping.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from detection_rules.behaviours import picture, render_behaviours
from detection_rules.datasets import read_by
from detection_rules.language import eql, eql_ast, kql, kql_ast
from detection_rules.rule_set import Rule

NAVIGATOR: Final = {"attack": "17", "navigator": "5.1.0", "layer": "4.5"}
"""Versions a layer names; 4.5 is the layer format."""
SEEN_BY: Final = {
    # a dataset -> the viewpoints its documents come from
    "auditd_manager.auditd": ("Auditd Manager",),
    "endpoint.events.file": ("Elastic Defend",),
    "endpoint.events.network": ("Elastic Defend",),
    "endpoint.events.process": ("Elastic Defend",),
    "doorwatch.heartbeat": ("Doorwatch's heartbeats",),
    "doorwatch.finding": ("Doorwatch inside", "Doorwatch below"),
    "doorwatch.inventory": ("Doorwatch inside", "Doorwatch below"),
}
BELOW_ONLY: Final = frozenset(
    {"hidden_process", "hidden_module", "hidden_socket", "bpf_object_mismatch", "kernel_text", "module_text"}
    | {"read_only_data"}
)
"""Kinds of finding, and surfaces, that only the hypervisor's view gives."""
INSIDE_ONLY: Final = frozenset({"abnormal_pid_file"})
"""Kinds that need the guest's file system."""
_TIMESTOMP: Final = "T1070.006"
"""Told by the detector of PID files alone, as a technique of its findings and not as a kind."""
_SCORES: Final = {"low": 25, "medium": 50, "high": 75, "critical": 100}
_KINDS: Final = ("doorwatch.finding.kind", "doorwatch.hook.surface")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One rule."""

    rule: str
    name: str
    severity: str
    behaviours: tuple[str, ...]
    """ATT&CK techniques, the most particular first named: `T1205.002 Socket Filters`."""
    findings: tuple[str, ...]
    """Kinds of finding that the query names."""
    viewpoints: tuple[str, ...]
    datasets: tuple[str, ...]


def coverage(rules: Iterable[Rule]) -> list[Row]:
    """One row for each rule, by name."""
    return [_row(rule) for rule in rules]


def navigator_layer(rules: Iterable[Rule]) -> dict[str, Any]:
    """A layer for the ATT&CK Navigator: every technique with the rules that answer it.

    The score is that of the severest rule: 25 low, 50 medium, 75 high, 100 critical.
    """
    answered: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        for threat in rule.threat:
            tactic = threat.tactic.name.lower().replace(" ", "-")
            for technique in threat.technique:
                for one in technique.subtechnique or (technique,):
                    answered.setdefault((one.id, tactic), []).append(rule)
    return {
        "name": "Doorwatch",
        "versions": NAVIGATOR,
        "domain": "enterprise-attack",
        "description": "BPFDoor-class Linux backdoors: the techniques that Doorwatch's detection rules answer.",
        "filters": {"platforms": ["Linux"]},
        "techniques": [
            {
                "techniqueID": technique,
                "tactic": tactic,
                "score": max(_SCORES[rule.severity] for rule in found),
                "enabled": True,
                "comment": "; ".join(rule.name for rule in found),
                "metadata": [{"name": rule.stem, "value": rule.severity} for rule in found],
                "showSubtechniques": "." in technique,
            }
            for (technique, tactic), found in sorted(answered.items())
        ],
        "gradient": {"colors": ["#ffe9a8", "#d6336c"], "minValue": 0, "maxValue": 100},
        "legendItems": [],
    }


def render_coverage(rules: Iterable[Rule]) -> str:
    """docs/coverage.md."""
    rows = coverage(rules)
    views = list(dict.fromkeys(view for row in rows for view in row.viewpoints))
    techniques: dict[str, list[str]] = {}
    for row in rows:
        for behaviour in row.behaviours:
            techniques.setdefault(behaviour, []).append(row.rule)
    lines = [
        "# Coverage",
        "",
        "Made from the rules by `make docs`; do not edit. `doorwatch rules coverage --format navigator` writes a layer",
        "for the [ATT&CK Navigator](https://mitre-attack.github.io/attack-navigator/).",
        "",
        "## Rules and viewpoints",
        "",
        "*Inside* is the bridge on the host itself, *below* the bridge on its hypervisor. A rule that reads several",
        "sources fires on each of them, a sequence needs all of them.",
        "",
        f"| rule | severity | behaviour | {' | '.join(views)} |",
        f"|---|---|---|{'---|' * len(views)}",
        *(
            f"| `{row.rule}` | {row.severity} | {'<br>'.join(row.behaviours)} | "
            f"{' | '.join('yes' if view in row.viewpoints else '' for view in views)} |"
            for row in rows
        ),
        "",
        "## What it does, and who sees it",
        "",
        "From public reports on BPFDoor and its relatives. What no rule tells is named, with the reason.",
        "",
        "![Behaviours and viewpoints](coverage.svg)",
        "",
        *render_behaviours({row.rule: row.viewpoints for row in rows}, tuple(views)),
        "",
        "## Techniques",
        "",
        "| technique | rules |",
        "|---|---|",
        *(f"| {name} | {', '.join(f'`{rule}`' for rule in found)} |" for name, found in sorted(techniques.items())),
        "",
        "## Findings and rules",
        "",
        "| finding | rules |",
        "|---|---|",
        *(f"| `{kind}` | {', '.join(f'`{rule}`' for rule in found)} |" for kind, found in _by_kind(rows).items()),
        "",
    ]
    return "\n".join(lines)


def render_picture(rules: Iterable[Rule]) -> str:
    """docs/coverage.svg."""
    rows = coverage(rules)
    views = tuple(dict.fromkeys(view for row in rows for view in row.viewpoints))
    return picture({row.rule: row.viewpoints for row in rows}, views)


def _by_kind(rows: Iterable[Row]) -> Mapping[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for row in rows:
        for kind in row.findings:
            kinds.setdefault(kind, []).append(row.rule)
    return dict(sorted(kinds.items()))


def _row(rule: Rule) -> Row:
    named = named_values(rule, "doorwatch.finding.kind")
    surfaces = named_values(rule, "doorwatch.hook.surface", demanded=True)
    read = read_by(rule.reads)
    views = dict.fromkeys(view for dataset in read for view in SEEN_BY.get(dataset, ()))
    if (
        named
        and (named | surfaces) - {"kernel_hook_drift"}
        and (named | surfaces) - {"kernel_hook_drift"} <= BELOW_ONLY
    ):
        views.pop("Doorwatch inside", None)
    by_technique = named_values(rule, "threat.technique.subtechnique.id")
    if (named and named <= INSIDE_ONLY) or by_technique == {_TIMESTOMP}:
        views.pop("Doorwatch below", None)
    return Row(
        rule=rule.stem,
        name=rule.name,
        severity=rule.severity,
        behaviours=tuple(
            dict.fromkeys(
                f"{one.id} {one.name}"
                for threat in rule.threat
                for technique in threat.technique
                for one in (technique.subtechnique or (technique,))
            )
        ),
        findings=tuple(sorted(named)),
        viewpoints=tuple(views),
        datasets=read,
    )


def named_values(rule: Rule, field: str, *, demanded: bool = False) -> set[str]:
    """The values that a rule's query holds a field against.

    Args:
        rule: The rule.
        field: The field's name.
        demanded: Leave out those under a `not`.
    """
    found: set[str] = set()
    for root in _roots(rule):
        pending: list[Any] = [root]
        while pending:
            node = pending.pop()
            match node:
                case eql_ast.Not() | kql_ast.Not() if demanded:
                    continue
                case eql_ast.Comparison(eql_ast.Field(path), eql_ast.Comparator.EQUAL, eql_ast.Literal(value)):
                    found |= {str(value)} if path == field else set()
                case eql_ast.Membership(eql_ast.Field(path), choices, negated=False):
                    found |= {str(choice.value) for choice in choices} if path == field else set()
                case kql_ast.Equals(path, kql_ast.Value(text)):
                    found |= {text} if path == field else set()
                case eql_ast.And(operands) | eql_ast.Or(operands) | kql_ast.And(operands) | kql_ast.Or(operands):
                    pending.extend(operands)
                case eql_ast.Not(operand) | kql_ast.Not(operand):
                    pending.append(operand)
                case _:
                    pass
    return found


def _roots(rule: Rule) -> list[Any]:
    if rule.language == "eql":
        return [event.condition for event in eql_ast.events(eql.parse_query(rule.query))]
    return [kql.parse(rule.query)]
