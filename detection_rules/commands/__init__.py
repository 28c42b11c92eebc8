"""`doorwatch rules`: list, match, test, lint, export, import, bump, coverage."""

import textwrap
from typing import Any

import click

from beat_bridge.terminal import format_option, print_json_lines, print_table
from detection_rules.commands.checking import lint_rules, test_rules
from detection_rules.commands.covering import show_coverage
from detection_rules.commands.exchange import bump_rules, export_rules, import_rules
from detection_rules.commands.loading import Directories, load, rules_option
from detection_rules.commands.matching import match_documents, read_documents
from detection_rules.rule_set import Rule

__all__ = ["read_documents", "rules"]


@click.group()
def rules() -> None:
    """Detection rules in Elastic's TOML: list, match, test, lint; to Kibana and back."""


@rules.command("list")
@rules_option
@format_option
def list_rules(directories: Directories, output: str) -> None:
    """The rules, with what they read."""
    loaded = load(directories)
    if output == "json":
        print_json_lines(_described(rule) for rule in loaded)
        return
    print_table(
        "Rules",
        ("rule", "severity", "reads"),
        [
            (f"{rule.stem}\n{_wrapped(rule.name)}", f"{rule.severity} {rule.risk_score}", "\n".join(rule.index))
            for rule in loaded
        ],
    )


def _described(rule: Rule) -> dict[str, Any]:
    return {
        "rule": rule.stem,
        "rule_id": rule.rule_id,
        "version": rule.source.version,
        "name": rule.name,
        "description": rule.description,
        "severity": rule.severity,
        "risk_score": rule.risk_score,
        "language": rule.language,
        "index": rule.index,
        "techniques": sorted({technique.id for threat in rule.threat for technique in threat.technique}),
        "path": str(rule.path),
    }


def _wrapped(name: str) -> str:
    """A name in lines that leave room for the other columns on a terminal of 80."""
    return textwrap.fill(name, 29, initial_indent="  ", subsequent_indent="  ")


for command in (
    match_documents,
    test_rules,
    lint_rules,
    export_rules,
    import_rules,
    bump_rules,
    show_coverage,
):
    rules.add_command(command)
