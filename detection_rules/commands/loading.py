"""Which rules a command is about."""

from pathlib import Path

import click

from detection_rules.rule_set import RuleSet, load_rules

Directories = tuple[Path, ...]
rules_option = click.option(
    "--rules",
    "directories",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Use the rules of this directory instead of those that come with Doorwatch (repeatable).",
)


def load(directories: Directories) -> RuleSet:
    """The rules of some directories, or those that come with Doorwatch.

    Raises:
        DoorwatchError: One of them cannot be used.
    """
    return load_rules(directories or None)
