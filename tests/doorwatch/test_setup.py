"""`doorwatch setup` gathers what a cluster and a Kibana need."""

import subprocess
import sys

import click
import pytest

from doorwatch.setup import COMMANDS, setup


@pytest.mark.parametrize("name", COMMANDS)
def test_every_part_can_be_loaded(name: str) -> None:
    """What --help lists is there, under its own name."""
    command = setup.get_command(click.Context(setup), name)
    assert command is not None
    assert command.name == name


def test_help_loads_no_room() -> None:
    """The list of parts needs neither Elasticsearch's client nor Kibana's."""
    code = (
        "import sys; from doorwatch.setup import setup; setup.main(['--help'], standalone_mode=False)\n"
        "print(*sorted(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert all(f"\n  {name} " in answer.stdout for name in COMMANDS)
    assert not {"elasticsearch", "requests", "msgspec"} & set(answer.stdout.splitlines()[-1].split())


def test_an_unknown_part_is_no_command() -> None:
    """Anything else is left to click to refuse."""
    assert setup.get_command(click.Context(setup), "splunk") is None
