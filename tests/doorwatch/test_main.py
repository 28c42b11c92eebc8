"""The front door: instant help, and one line for every user's error."""

import subprocess
import sys
from pathlib import Path

import pytest

from doorwatch.main import COMMANDS, PACKAGE_OF_EXTRA, LazyGroup

ROOT = Path(__file__).parent.parent.parent


def _run(*arguments: str, code: str = "from doorwatch.main import main; main()") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )


def test_help_names_every_command_and_loads_no_room() -> None:
    """`--help` lists all commands without importing the modules they live in."""
    loaded = (
        "import sys; from doorwatch.main import cli; cli.main(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    answer = _run(code=loaded)
    for name, (place, _) in COMMANDS.items():
        assert f"\n  {name} " in answer.stdout
        assert f" {place.partition(':')[0]} " not in answer.stdout
    assert " rich" not in answer.stdout
    assert " msgspec" not in answer.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_exists(name: str) -> None:
    """What --help promises can be loaded, and has a help text of its own."""
    import click  # noqa: PLC0415 - only this test needs it

    command = LazyGroup().get_command(click.Context(click.Group()), name)
    assert command is not None
    assert command.help


def test_an_unknown_command_is_wrong_usage() -> None:
    """A misspelt command exits with 2 and is named in one line."""
    answer = _run("scna")
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
    assert answer.stderr.startswith("doorwatch: No such command 'scna'")


def test_a_users_error_is_one_line() -> None:
    """A DoorwatchError reaches the user as one line on standard error, with exit code 2."""
    code = (
        "import doorwatch.main as m; from beat_bridge.errors import DoorwatchError\n"
        "@m.cli.command('broken')\n"
        "def broken():\n    raise DoorwatchError('f.yml:3: what is wrong')\n"
        "m.LazyGroup.get_command = lambda self, ctx, name: broken\n"
        "m.main()"
    )
    answer = _run("broken", code=code)
    assert (answer.returncode, answer.stderr) == (2, "doorwatch: f.yml:3: what is wrong\n")


def test_a_commands_exit_code_is_the_programs() -> None:
    """What a command asks for with click's Exit is what the shell sees."""
    code = (
        "import click, doorwatch.main as m\n"
        "@m.cli.command('three')\n"
        "def three():\n    raise click.exceptions.Exit(3)\n"
        "m.LazyGroup.get_command = lambda self, ctx, name: three\n"
        "m.main()"
    )
    assert _run("three", code=code).returncode == 3


@pytest.mark.parametrize("module", PACKAGE_OF_EXTRA)
def test_a_missing_extra_says_how_to_get_it(module: str) -> None:
    """Where an optional library is absent, the line names the extra that brings it."""
    code = (
        "import doorwatch.main as m\n"
        f"def gone(*_):\n    raise ModuleNotFoundError('gone', name={module!r})\n"
        "m.LazyGroup.get_command = gone\n"
        "m.main()"
    )
    answer = _run("run", code=code)
    assert answer.returncode == 2
    assert f"pip install 'doorwatch[{PACKAGE_OF_EXTRA[module]}]'" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """`doorwatch --help | head -1` ends quietly."""
    answer = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m doorwatch --help | head -1"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert answer.stderr == ""
    assert answer.stdout.startswith("Usage")


def test_a_full_disk_behind_the_output_is_one_line() -> None:
    """What cannot be written to standard output is said on standard error, with exit code 2."""
    answer = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m doorwatch rules list --format json > /dev/full"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 2
    assert answer.stderr == "doorwatch: the output cannot be written: No space left on device\n"


def test_rules_are_listed_without_what_reads_guests() -> None:
    """`doorwatch rules list` loads nothing of the hypervisor's side, installed or not."""
    code = (
        "import sys; from doorwatch.main import cli; cli.main(['rules', 'list', '--format', 'json'], "
        "standalone_mode=False); print(*sys.modules)"
    )
    loaded = _run(code=code).stdout.splitlines()[-1].split()
    assert "detection_rules" in loaded
    assert not [name for name in loaded if name.startswith(("drgn", "libvmi", "qemu", "beat_bridge.sensors"))]
