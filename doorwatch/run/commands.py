"""`doorwatch run`."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.bridge import BridgeStatus
from doorwatch import configuration as configurations
from doorwatch.run.service import Service, open_service
from doorwatch.run.targets import faults, obstacles

log = logging.getLogger("doorwatch")
HEARTBEAT_SECONDS = 60.0
TELL_SECONDS = 1.0
"""How often the terminal is brought up to date where guests are watched."""


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("/etc/doorwatch/doorwatch.yml"),
    show_default=True,
    help="The configuration file (docs/configuration.md).",
)
@click.option("--check", is_flag=True, help="Only check the file and whether its targets answer; exit 2 if not.")
def run(path: Path, check: bool) -> None:
    """Run the bridge, and the responder, from one configuration file.

    A target that cannot be reached is told in one line with its place in the file; documents wait in the spool.
    """
    configuration = configurations.load(path)
    found = list(obstacles(configuration, path))
    if check:
        found += faults(configuration, path)
        if found:
            raise DoorwatchError("\ndoorwatch: ".join(found))
        click.echo(f"{path}: sound, and every target answers")
        return
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger().setLevel(logging.INFO)
    for library in ("elastic_transport", "uvicorn"):  # what they would tell of each request, the forwarder tells once
        logging.getLogger(library).setLevel(logging.ERROR)
    for line in found:
        log.warning("%s", line)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with open_service(configuration) as service:
        _announce(service)
        _watch(service, stop)
    log.info("stopped")


def _announce(service: Service) -> None:
    configuration = service.configuration
    goes = ", ".join(configuration.elasticsearch.hosts) if configuration.elasticsearch else "the local store"
    log.info("documents go to %s by way of %s", goes, service.spool.directory)
    if service.alerts_url:
        log.info("the responder takes alerts at %s", service.alerts_url)


def _watch(service: Service, stop: threading.Event) -> None:
    """Look and beat on schedule until told to stop. A look that takes longer than the interval delays the next one."""
    with _status_line() as tell:
        _watch_and_tell(service, stop, tell)


@contextmanager
def _status_line() -> Iterator[Callable[[BridgeStatus], None]]:
    """One line at the bottom of a terminal that says how it goes; nothing elsewhere, where the log is read."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from doorwatch.run.progress import live  # noqa: PLC0415 - loads rich, only where somebody watches

    with live() as tell:
        yield tell


def _watch_and_tell(service: Service, stop: threading.Event, tell: Callable[[BridgeStatus], None]) -> None:
    host = service.configuration.host
    interval = host.interval if host is not None else HEARTBEAT_SECONDS
    next_look = next_beat = time.monotonic()
    while not stop.is_set():
        now = time.monotonic()
        if host is not None and now >= next_look:
            service.look()
            next_look = max(next_look + interval, time.monotonic())
        service.tick()
        if now >= next_beat:
            service.beat()
            next_beat = now + HEARTBEAT_SECONDS
        tell(service.status())
        upcoming = next_beat if host is None else min(next_look, next_beat)
        if service.configuration.guests is not None:
            upcoming = min(upcoming, now + TELL_SECONDS)  # guests are looked at in between
        stop.wait(max(0.0, upcoming - time.monotonic()))
