"""`doorwatch doctor`: what every sensor, tool and target can do here, why not, and what to do about it."""

from functools import partial
from pathlib import Path

import click

from beat_bridge.commands.doctor import LOCAL_CHECKS, Check, State, report
from beat_bridge.commands.doctor_below import guests, local_hypervisors
from beat_bridge.terminal import format_option
from doorwatch import configuration as configurations
from doorwatch.configuration import Configuration
from doorwatch.run.targets import obstacles


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also check this configuration file and the targets that it names.",
)
@format_option
def doctor(path: Path | None, output: str) -> None:
    """Say what every sensor, tool and target can do here, and why not."""
    checks = [*LOCAL_CHECKS, local_hypervisors]
    if path is not None:
        configuration = configurations.load(path)
        checks.append(partial(_targets, configuration, path))
        if configuration.guests is not None:
            checks.append(partial(guests, configuration.guests, configuration.state_dir / "guests" / "kernels"))
    report(output, checks)


def _targets(configuration: Configuration, path: Path) -> tuple[Check, ...]:
    """The targets of a configuration: one check for each that does not answer, or one for all of them."""
    found = tuple(Check(name="target", state=State.NO, detail=line) for line in obstacles(configuration, path))
    return found or (Check(name="targets", state=State.WORKS, detail=f"all that {path} names answer"),)
