"""`doorwatch demo`."""

import logging
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from beat_bridge.errors import DoorwatchError
from doorwatch.demo.lab import open_lab
from doorwatch.demo.stage import Stage
from doorwatch.demo.story import Story


@click.command()
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="Also write what is shown as an SVG file."
)
def demo(picture: Path | None) -> None:
    """The main job on this machine, live, in under a minute.

    A harmless emulator of a backdoor is started in namespaces of its own, found, explained, contained, released and
    proven gone. Nothing outside the emulator and its namespaces is touched, and no root is needed.
    """
    if picture is not None and not picture.absolute().parent.is_dir():
        raise DoorwatchError(f"{picture}: there is no directory {picture.absolute().parent} to write it to")
    logging.getLogger().addHandler(logging.NullHandler())  # the stage tells what the log would
    stage = Stage(record=picture is not None)
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="doorwatch-demo-")))
        try:
            lab = stack.enter_context(open_lab())
        except DoorwatchError as error:
            from doorwatch.demo.recorded import tell_recorded  # noqa: PLC0415 - only where nothing can be shown live

            tell_recorded(stage, str(error))
        else:
            Story(stage, lab, state).tell()
    stage.console.print()
    if stage.broken:
        stage.say(f"{len(stage.broken)} of the claims above did not hold: run  doorwatch doctor", holds=None)
    else:
        stage.say(f"Everything held. The whole took {stage.seconds:.1f} s.", holds=True)
    if picture is not None:
        stage.save_picture(picture)
    if stage.broken:
        raise click.exceptions.Exit(1)
