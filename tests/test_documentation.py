"""The documentation tells of commands, options, files and keys that exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from doorwatch.main import cli

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^ *```(?:sh|console|bash)?\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(doorwatch [^`]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def _commands() -> Iterator[tuple[str, list[str]]]:
    """Every doorwatch command line in a block or a sentence: the page's name, and its words after `doorwatch`."""
    for page in PAGES:
        text = page.read_text()
        for block in (*FENCE.findall(text), *INLINE.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL))):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r" \| |&&|;", line.strip().removeprefix("$ ")):
                    command = re.match(r"\s*(?:sudo )?doorwatch(?= |$)(.*)", part)
                    if command:
                        yield page.name, shlex.split(command[1], comments=True)


COMMANDS = list(_commands())


def test_there_are_commands_to_try() -> None:
    """The documentation shows how to use most commands."""
    assert {words[0] for _, words in COMMANDS if words} >= {"scan", "doctor", "filter", "run", "respond", "rules"}


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{page}: {' '.join(words)}" for page, words in COMMANDS])
def test_every_documented_command_line_is_understood(page: str, words: list[str]) -> None:
    """Each command of the documentation is parsed by the program as it stands there, apart from files being absent."""
    command: click.Command = cli
    context = click.Context(cli, info_name="doorwatch")
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        assert found is not None, f"{page}: there is no command {' '.join(words)}"
        command, rest = found, rest[1:]
        context = click.Context(command, info_name=command.name, parent=context)
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "-h"}
    for word in rest:
        if word.startswith("--") or re.fullmatch(r"-[a-z]", word):
            assert word.partition("=")[0] in known, f"{page}: {' '.join(words)}: no option {word}"


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    """Each relative link of a page names a file that is there."""
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    for target in LINK.findall(prose):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_version_is_the_changelogs() -> None:
    """The newest heading of the changelog is the version of the package."""
    (version,) = re.findall(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    headings = re.findall(r"^## ([0-9.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == version
