"""The `doorwatch` command: gathers the rooms' commands and loads a room only when it is asked for."""

import errno
import importlib
import os
import sys
from typing import NoReturn

import click

from beat_bridge.errors import DoorwatchError, MissingExtraError

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (where it lives, the line that --help shows)
    "demo": ("doorwatch.demo.commands:demo", "The main job on this machine, live, in under a minute."),
    "scan": (
        "beat_bridge.commands.scan:scan",
        "One look at this host, a guest or a memory image: findings, and what could not be checked.",
    ),
    "doctor": (
        "doorwatch.doctor:doctor",
        "What every sensor and target can do here, and why not.",
    ),
    "guests": (
        "beat_bridge.commands.guests:guests",
        "List the guests of a hypervisor; pause, dump, cut off, revert one.",
    ),
    "run": ("doorwatch.run.commands:run", "The bridge and the responder from one configuration file."),
    "respond": ("responders.commands:respond", "Serve the webhook; list, show, release and audit responses."),
    "rules": ("detection_rules.commands:rules", "List, lint, test, match, export and import the detection rules."),
    "filter": ("beat_bridge.commands.filter:filter_group", "What a classic BPF program accepts, in words."),
    "documents": ("doorwatch.documents:documents", "Search the local store of a standalone bridge."),
    "letters": (
        "beat_bridge.commands.letters:letters",
        "Documents Elasticsearch refused: list and replay them.",
    ),
    "osquery": ("osquery_packs.commands:osquery", "Packs of queries, and an extension with our tables."),
    "package": ("kibana_dashboards.commands:package", "Build the Elastic integration package."),
    "setup": ("doorwatch.setup:setup", "Prepare an Elasticsearch cluster and a Kibana for Doorwatch."),
}
PACKAGE_OF_EXTRA = {
    "elasticsearch": "elasticsearch",
    "elastic_transport": "elasticsearch",
    "starlette": "responder",
    "uvicorn": "responder",
    "requests": "responder",
    "cryptography": "responder",
    "drgn": "hypervisor",
    "libvmi": "hypervisor",
    "lz4": "hypervisor",
    "qemu": "hypervisor",
    "zstandard": "hypervisor",
    "libvirt": "libvirt",
    "jinja2": "kibana",
    "osquery": "osquery",
    "thrift": "osquery",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, so that `--help` stays instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names in the order they are declared."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command's room."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="doorwatch", message="%(prog)s %(version)s")
def cli() -> None:
    """Finds BPFDoor-class Linux backdoors, and contains the hosts that carry them."""


def main() -> NoReturn:
    """Run the command line; a user's error is one line and exit code 2."""
    try:
        # outside its standalone mode click returns the exit code that a command asked for
        asked = cli.main(standalone_mode=False)
        code = asked if isinstance(asked, int) else 0
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()  # a group called by its name alone: its help is the answer
        code = error.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "doorwatch"
        code = _complain(f"{error.format_message().rstrip('.')} (see  {command} --help)")
    except click.ClickException as error:
        code = _complain(error.format_message())
    except click.Abort:
        code = _complain("stopped")
    except DoorwatchError as error:
        code = _complain(str(error))
    except ModuleNotFoundError as error:
        extra = PACKAGE_OF_EXTRA.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        code = _complain(str(MissingExtraError(str(error.name), extra, f"`doorwatch {' '.join(sys.argv[1:2])}`")))
    except BrokenPipeError:
        code = _give_up_on_output(0)  # the reader (head, less) has gone: nothing left to say
    except OSError as error:
        if error.filename is not None or error.errno != errno.ENOSPC:
            raise
        code = _give_up_on_output(_complain(f"the output cannot be written: {error.strerror}"))
    sys.exit(code)


def _give_up_on_output(code: int) -> int:
    """Leave nothing that Python would try to flush at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _complain(line: str) -> int:
    click.echo(f"doorwatch: {line}", err=True)
    return 2
