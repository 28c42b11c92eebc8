"""`doorwatch setup`: what a cluster and a Kibana need. Each is loaded only when it is asked for."""

import importlib

import click

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (where it lives, the line that --help shows)
    "elasticsearch": ("beat_bridge.commands.setup:elasticsearch", "Index templates, lifecycle and the bridge's role."),
    "kibana": ("kibana_dashboards.setup.commands:kibana", "The connector, rules, dashboards and osquery packs."),
}


class _Rooms(click.Group):
    """Whoever sets up a cluster need not have what setting up a Kibana takes, nor the other way round."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names in the order they are declared."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command's room."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=_Rooms)
def setup() -> None:
    """Prepare an Elasticsearch cluster and a Kibana for Doorwatch."""
