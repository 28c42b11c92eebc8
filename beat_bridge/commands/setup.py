"""`doorwatch setup`: what a cluster needs before the first document."""

import json
from typing import Any

import click

from beat_bridge.ecs import templates
from beat_bridge.shipping.connection import Cluster
from beat_bridge.shipping.options import ElasticsearchOptions
from beat_bridge.shipping.setup import Action, Wanted, install, plan
from beat_bridge.terminal import format_option, print_json_lines, print_table


@click.group()
def setup() -> None:
    """Prepare an Elasticsearch cluster for Doorwatch."""


@setup.command()
@click.option("--url", "hosts", multiple=True, required=True, help="https://HOST:PORT; may be given several times.")
@click.option("--ca", "ca_file", default="", metavar="FILE", help="PEM file of the cluster's certificate authority.")
@click.option("--fingerprint", default="", metavar="HEX", help="SHA-256 of the cluster's certificate, instead of --ca.")
@click.option("--api-key-file", default="", metavar="FILE", help="File that holds the encoded API key.")
@click.option("--user", "username", default="", help="User name, with --password-file.")
@click.option("--password-file", default="", metavar="FILE", help="File that holds the user's password.")
@click.option("--dry-run", is_flag=True, help="Only show what would be changed.")
@format_option
def elasticsearch(dry_run: bool, output: str, **connection: Any) -> None:
    """Install index templates and lifecycle, and print the role that the bridge wants.

    Needs the cluster privileges manage_index_templates, manage_ilm and monitor. May be run again at any time.
    """
    cluster = Cluster(ElasticsearchOptions(**connection))
    try:
        steps = plan(cluster, wanted())
        if output == "table":
            print_table(
                f"{cluster.name}: {'would change' if dry_run else 'changes'}",
                ("", "what", "name", "note"),
                [(change.action, change.kind, change.name, change.detail) for change in steps.changes],
            )
        if not dry_run:
            install(cluster, steps)
    finally:
        cluster.close()
    if output == "json":
        print_json_lines([*steps.changes, *({"role": name, "body": body} for name, body in templates.roles().items())])
        return
    if not dry_run and any(change.action is Action.UPDATE for change in steps.changes):
        click.echo("Data streams that exist already take this up when they next roll over.")
    click.echo("The bridge needs no more than this role; give it a user or an API key that has it:")
    for name, body in templates.roles().items():
        click.echo(f"PUT _security/role/{name}\n{json.dumps(body, indent=2)}")


def wanted() -> Wanted:
    """What Doorwatch wants of a cluster."""
    return Wanted(
        lifecycle_policies={templates.POLICY: templates.lifecycle_policy()},
        component_templates=templates.component_templates(),
        index_templates=templates.index_templates(),
    )
