"""`doorwatch rules coverage`: which rule answers which behaviour, from where, and which ATT&CK technique."""

import click

from beat_bridge.terminal import print_json_lines, print_table
from detection_rules.commands.loading import Directories, load, rules_option
from detection_rules.coverage import coverage, navigator_layer


@click.command("coverage")
@rules_option
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json", "navigator"]),
    default="table",
    show_default=True,
    help="A table for people, one JSON object a line, or a layer for the ATT&CK Navigator.",
)
def show_coverage(directories: Directories, output: str) -> None:
    """What the rules answer: behaviour by rule and viewpoint, made from the rules themselves."""
    rules = load(directories)
    if output == "navigator":
        print_json_lines([navigator_layer(rules)])
        return
    rows = coverage(rules)
    if output == "json":
        print_json_lines(rows)
        return
    print_table(
        "Coverage",
        ("rule", "behaviour", "seen by"),
        [(row.rule, "\n".join(row.behaviours), "\n".join(row.viewpoints)) for row in rows],
    )
