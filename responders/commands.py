"""`doorwatch respond`: serve the webhook; list, show, renew, release and audit responses; check playbooks."""

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from beat_bridge import strict_yaml
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.responses import ResponseStep, StepState
from beat_bridge.terminal import format_option, print_json_lines, print_table
from responders import audit, leases
from responders.journal import Journal, Summary
from responders.options import ResponderOptions
from responders.playbooks.model import action_of
from responders.playbooks.selection import choose, load_playbooks

F = TypeVar("F", bound=Callable[..., Any])


def _state_option(command: F) -> F:
    option = click.option(
        "--state",
        "state_dir",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        required=True,
        help="The responder's state directory (state_dir in its configuration).",
    )
    return option(command)


@click.group()
def respond() -> None:
    """Serve the webhook; list, show, release and audit responses."""


@respond.command()
@click.argument("configuration", type=click.Path(dir_okay=False, path_type=Path))
def serve(configuration: Path) -> None:
    """Serve the webhook alone, from a file with the keys of the `responder` section.

    Without the bridge there is no new look after a response: verify_cure says so, and steps go to the audit file and
    the journal only. `doorwatch run` serves all of it.
    """
    from responders.standalone import serve_until  # noqa: PLC0415 - the web server is loaded only where it is run

    options = strict_yaml.load(configuration, ResponderOptions)
    if not options.state_dir:
        raise DoorwatchError(f"{configuration}: state_dir is missing: say where the responder keeps its records")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writer)
    serve_until(options, lambda: os.read(reader, 1), announce=lambda line: click.echo(line, err=True))


@respond.command(name="list")
@_state_option
@format_option
def list_(state_dir: Path, output: str) -> None:
    """List incidents, the newest first."""
    with _journal(state_dir) as journal:
        summaries = tuple(journal.summaries())
    if output == "json":
        print_json_lines(_row(summary) for summary in summaries)
        return
    print_table(
        "Incidents",
        ("incident", "opened", "process", "rules", "alerts", "actions"),
        [
            (
                summary.incident.id,
                _time(summary.opened_at),
                _process(summary),
                ", ".join(sorted({alert.rule_name for alert in summary.incident.alerts})),
                str(len(summary.incident.alerts)),
                ", ".join(f"{action}: {state}" for action, state in _states(summary.steps).items()),
            )
            for summary in summaries
        ],
    )


@respond.command()
@click.argument("incident")
@_state_option
@format_option
def show(incident: str, state_dir: Path, output: str) -> None:
    """Show every step of one incident."""
    with _journal(state_dir) as journal:
        if journal.incident(incident) is None:
            raise DoorwatchError(
                f"there is no incident {incident} in {state_dir}: see  doorwatch respond list --state {state_dir}"
            )
        steps = journal.steps(incident)
    if output == "json":
        print_json_lines(steps)
        return
    print_table(
        f"Incident {incident}",
        ("", "at", "action", "state", "what", "proof"),
        [
            (
                str(step.sequence),
                step.at.isoformat(timespec="milliseconds"),
                step.action,
                step.state.value,
                step.explanation,
                step.proof,
            )
            for step in steps
        ],
        empty="no step yet",
    )


@respond.command()
@click.argument("incident")
@_state_option
def release(incident: str, state_dir: Path) -> None:
    """Undo an isolation now, whether or not the responder runs."""
    with _journal(state_dir) as journal:
        step = leases.release(journal, incident, _seal(state_dir))
    click.echo(f"incident {incident}: the network is open again{f' ({step.proof})' if step.proof else ''}")


@respond.command()
@click.argument("incident")
@click.option("--seconds", type=click.IntRange(1, 86_400), required=True, help="How long from now.")
@_state_option
def renew(incident: str, seconds: int, state_dir: Path) -> None:
    """Let an isolation run for longer, or for less long."""
    with _journal(state_dir) as journal:
        step = leases.renew(journal, incident, seconds, _seal(state_dir))
    until = step.lease_expires_at.isoformat(timespec="seconds") if step.lease_expires_at else ""
    click.echo(f"incident {incident}: isolated until {until}")


@respond.command(name="audit")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--head",
    default="",
    help="A hash from a response document (doorwatch.response.audit_hash), which the chain must hold.",
)
@format_option
def audit_(file: Path, head: str, output: str) -> None:
    """Verify the hash chain of an audit file; exit code 1 where it is broken, with the first bad line."""
    report = audit.verify(file, head)
    if output == "json":
        print_json_lines(
            [{"sound": report.sound, "lines": report.lines, "head": report.head, "problem": report.problem}]
        )
    elif report.sound:
        click.echo(f"{file}: {report.lines} lines, every one sound; head {report.head}")
    else:
        click.echo(f"{report.problem}\n{file}: {report.lines} lines before that are sound")
    if not report.sound:
        raise click.exceptions.Exit(1)


@respond.group()
def playbooks() -> None:
    """Check playbooks, and try them on what was recorded."""


@playbooks.command()
@click.argument("files", nargs=-1, type=click.Path(dir_okay=False, path_type=Path))
@format_option
def check(files: tuple[Path, ...], output: str) -> None:
    """Read playbooks (the shipped ones where none is named) and show what each would do."""
    loaded = load_playbooks(files)
    if output == "json":
        print_json_lines(loaded)
        return
    print_table(
        "Playbooks",
        ("playbook", "does", "steps", "dry run"),
        [
            (book.name, book.description, " > ".join(map(action_of, book.steps)), "yes" if book.dry_run else "no")
            for book in loaded
        ],
    )


@playbooks.command(name="dry-run")
@click.argument("files", nargs=-1, type=click.Path(dir_okay=False, path_type=Path))
@_state_option
@format_option
def dry_run(files: tuple[Path, ...], state_dir: Path, output: str) -> None:
    """Say which playbook would answer each recorded alert, and do nothing."""
    loaded = load_playbooks(files)
    with _journal(state_dir) as journal:
        alerts = [(summary.incident.id, alert) for summary in journal.summaries() for alert in summary.incident.alerts]
    rows: list[dict[str, Any]] = []
    for incident, alert in alerts:
        chosen, reason = choose(loaded, alert)
        rows.append(
            {
                "incident": incident,
                "alert": alert.uuid,
                "rule": alert.rule_name,
                "playbook": chosen.name if chosen else "",
                "steps": [action_of(step) for step in chosen.steps] if chosen else [],
                "reason": reason,
            }
        )
    if output == "json":
        print_json_lines(rows)
        return
    print_table(
        "Recorded alerts",
        ("incident", "rule", "playbook", "why not"),
        [(row["incident"], row["rule"], row["playbook"] or "none", row["reason"]) for row in rows],
    )


def _journal(state_dir: Path) -> Journal:
    file = ResponderOptions(state_dir=str(state_dir)).journal_file
    if not file.exists():
        raise DoorwatchError(f"{file}: is not there: {state_dir} is not a responder's state directory")
    return Journal(file)


def _seal(state_dir: Path) -> Callable[[ResponseStep], str]:
    file = ResponderOptions(state_dir=str(state_dir)).audit_file
    return lambda step: audit.seal(file, step)


def _row(summary: Summary) -> dict[str, Any]:
    return {
        **msgspec.to_builtins(summary.incident),
        "opened_at": _time(summary.opened_at),
        "actions": _states(summary.steps),
    }


def _states(steps: tuple[ResponseStep, ...]) -> dict[str, str]:
    return {step.action: step.state.value for step in steps if step.state is not StepState.DUPLICATE}


def _process(summary: Summary) -> str:
    alert = summary.incident.alerts[0] if summary.incident.alerts else None
    name = f" {alert.process_name or alert.executable}" if alert else ""
    return f"{summary.incident.pid}{name}" if summary.incident.pid is not None else ""


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
