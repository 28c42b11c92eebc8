"""`doorwatch setup kibana`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value
from beat_bridge.terminal import format_option, print_json_lines, print_table
from kibana_dashboards.setup.options import KibanaOptions, Part, ResponderOptions
from kibana_dashboards.setup.plan import Action, Body, Change, Made, Outcome, Step, install

if TYPE_CHECKING:
    from kibana_dashboards.setup.kibana import Kibana

PARTS: tuple[Part, ...] = get_args(Part)
_OF_KIBANA = ("url", "space", "ca_file", "fingerprint", "api_key_file", "username", "password_file")


@click.command()
@click.option("--url", required=True, help="https://HOST:PORT, with Kibana's base path where it has one.")
@click.option("--space", default="default", show_default=True, help="Id of the space to set up.")
@click.option("--ca", "ca_file", default="", metavar="FILE", help="PEM file of the authority of Kibana's certificate.")
@click.option("--fingerprint", default="", metavar="HEX", help="SHA-256 of Kibana's certificate, instead of --ca.")
@click.option("--api-key-file", default="", metavar="FILE", help="File that holds the encoded API key.")
@click.option("--user", "username", default="", help="User name, with --password-file.")
@click.option("--password-file", default="", metavar="FILE", help="File that holds the user's password.")
@click.option("--responder-url", default="", metavar="URL", help="https://HOST:8443/v1/alerts, as Kibana reaches it.")
@click.option("--responder-user", default="", help="The webhook's user name.")
@click.option("--responder-password-file", default="", metavar="FILE", help="File that holds the webhook's password.")
@click.option("--responder-ca", default="", metavar="FILE", help="PEM file of the authority of its certificate.")
@click.option("--renew-password", is_flag=True, help="Give Kibana the webhook's password again: it has changed.")
@click.option("--rules", "directories", multiple=True, type=click.Path(path_type=Path), help="Rules of this directory.")
@click.option("--only", "parts", multiple=True, type=click.Choice(PARTS), help="Only this part; may be given again.")
@click.option("--enable", is_flag=True, help="Start the rules that are created.")
@click.option("--overwrite", is_flag=True, help="Replace also what somebody changed in Kibana.")
@click.option("--dry-run", is_flag=True, help="Only show what would be changed.")
@format_option
def kibana(output: str, *, dry_run: bool, **given: Any) -> None:
    """Install the webhook connector, rules with their action, dashboards and osquery packs; may be run again.

    What it would change is shown first. What somebody changed in Kibana stays, and is listed as `differs`, unless
    --overwrite is given. Where a change fails, the ones before it are made; running it again continues.
    """
    from kibana_dashboards.setup.kibana import Kibana, check_version_and_space  # noqa: PLC0415 - loads requests

    options, responder, choices = _options(given), _responder(given), _choices(given)
    with Kibana(options) as reached:
        version = check_version_and_space(reached)
        steps = tuple(_steps(reached, responder, choices))
        changes = [step.change for step in steps]
        if output == "table":
            title = (
                f"{reached.name}, space {options.space}, Kibana {version}: {'would change' if dry_run else 'changes'}"
            )
            _print_changes(title, changes)
        if dry_run:
            if output == "json":
                print_json_lines(changes)
            return
        made = install(steps, lambda change: _tell(change, output))
    _report(made, output)


class Choices(Value, frozen=True, kw_only=True):
    """What is to be set up, and how."""

    parts: tuple[Part, ...]
    directories: tuple[Path, ...]
    renew_password: bool
    enable: bool
    overwrite: bool


def _steps(reached: "Kibana", responder: ResponderOptions | None, choices: Choices) -> Iterator[Step]:
    """All steps, in the order that works: the connector before the rules that name it, data views before dashboards."""
    # a room is loaded only for the part that is asked for
    from kibana_dashboards.setup import connector as connectors  # noqa: PLC0415
    from kibana_dashboards.setup import packs, rules, saved_objects  # noqa: PLC0415

    connector = connectors.connector_of(responder, reached.options.space) if responder else None
    overwrite = choices.overwrite
    if "connector" in choices.parts:
        yield from connectors.plan(reached, connector, renew_password=choices.renew_password)
    if "rules" in choices.parts:
        bodies = _rule_bodies(choices.directories)
        yield from rules.plan(reached, bodies, connector, overwrite=overwrite, enable=choices.enable)
    if "dashboards" in choices.parts:
        yield from saved_objects.plan(reached, _objects(), overwrite=overwrite)
    if "packs" in choices.parts:
        yield from packs.plan(reached, _pack_bodies(), overwrite=overwrite)


def _rule_bodies(directories: tuple[Path, ...]) -> tuple[Body, ...]:
    from detection_rules.kibana import rule_to_kibana  # noqa: PLC0415
    from detection_rules.kibana.directory import shipped_sources  # noqa: PLC0415
    from detection_rules.rule_set import load_rules  # noqa: PLC0415

    return tuple(rule_to_kibana(rule) for rule in (load_rules(directories) if directories else shipped_sources()))


def _objects() -> tuple[Body, ...]:
    from kibana_dashboards.dashboards import saved_objects  # noqa: PLC0415

    return saved_objects()


def _pack_bodies() -> tuple[Body, ...]:
    from osquery_packs import load_packs  # noqa: PLC0415
    from osquery_packs.kibana import api_body  # noqa: PLC0415

    return tuple(api_body(pack) for pack in load_packs() if pack.kibana)


def _options(given: dict[str, Any]) -> KibanaOptions:
    try:
        return msgspec.convert({name: given[name] for name in _OF_KIBANA}, KibanaOptions)
    except msgspec.ValidationError as error:
        raise DoorwatchError(
            f"--space {given['space']!r}: a space's id has small letters, digits, _ and - only"
        ) from error


def _responder(given: dict[str, Any]) -> ResponderOptions | None:
    options = {name: given[f"responder_{name}"] for name in ("url", "user", "password_file", "ca")}
    if not options["url"]:
        if any(options.values()):
            raise DoorwatchError("the --responder-... options need --responder-url")
        return None
    return ResponderOptions(
        url=options["url"],
        username=options["user"],
        password_file=options["password_file"],
        ca_file=options["ca"],
    )


def _choices(given: dict[str, Any]) -> Choices:
    return Choices(
        parts=given["parts"] or PARTS,
        directories=given["directories"],
        renew_password=given["renew_password"],
        enable=given["enable"],
        overwrite=given["overwrite"],
    )


def _print_changes(title: str, changes: Sequence[Change]) -> None:
    print_table(
        title,
        ("", "what", "name", "note"),
        [(change.action, change.kind, change.name, change.detail) for change in changes],
    )


def _tell(change: Change, output: str) -> None:
    if output == "table":
        click.echo(f"{change.action} {change.kind} {change.name} ...")


def _report(made: Sequence[Made], output: str) -> None:
    """Say what became of it; a failure is the command's error."""
    if output == "json":
        print_json_lines(made)
    done = sum(each.outcome is Outcome.DONE for each in made)
    failed = next((each for each in made if each.outcome is Outcome.FAILED), None)
    remaining = [each.change for each in made if each.outcome is Outcome.REMAINS]
    if failed is not None:
        rest = f"{len(remaining)} more remain: run it again to continue" if remaining else "run it again to continue"
        raise DoorwatchError(f"{failed.problem}; {done} changes were made, {rest}")
    if output == "table":
        differing = sum(each.change.action is Action.DIFFERS for each in made)
        click.echo(f"{done} changes made." if done else "Nothing to do.")
        if differing:
            click.echo(f"{differing} were changed in Kibana and stay as they are; --overwrite replaces them.")
