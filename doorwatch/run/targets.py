"""Whether what a configuration names is there and answers, said with the line of the file that names it."""

from collections.abc import Iterator
from pathlib import Path

from beat_bridge import strict_yaml
from beat_bridge.errors import DoorwatchError
from detection_rules import load_rules
from doorwatch.configuration import Configuration
from responders.options import check
from responders.playbooks.selection import load_playbooks
from responders.webhook.credentials import load_credentials


def obstacles(configuration: Configuration, path: Path) -> Iterator[str]:
    """One line for each target that does not answer as it should: `FILE:LINE: what answered`.

    Takes as long as the time-outs of unreachable targets. Nothing is written anywhere.
    """
    if configuration.elasticsearch is not None and (trouble := _elasticsearch(configuration)):
        yield f"{strict_yaml.place(path, 'elasticsearch.hosts')}: {trouble}"
    if configuration.alerts is not None and (trouble := _webhook(configuration)):
        yield f"{strict_yaml.place(path, 'alerts.url')}: {trouble}"


def faults(configuration: Configuration, path: Path) -> Iterator[str]:
    """One line for each file a configuration names that the bridge or the responder could not start with."""
    try:
        load_rules([Path(directory) for directory in configuration.rules] or None)
    except DoorwatchError as error:
        yield f"{strict_yaml.place(path, 'rules')}: {error}"
    responder = configuration.responder
    if responder is None:
        return
    for key, file in (("tls_certificate", responder.tls_certificate), ("tls_key", responder.tls_key)):
        if file and not Path(file).is_file():
            yield f"{strict_yaml.place(path, f'responder.{key}')}: {file}: there is no such file"
    try:
        check(responder)
        load_credentials(responder)
        load_playbooks(responder.playbooks)
    except DoorwatchError as error:
        yield f"{strict_yaml.place(path, 'responder')}: {error}"


def _elasticsearch(configuration: Configuration) -> str:
    from beat_bridge.shipping.bulk import BulkTarget  # noqa: PLC0415 - loads the client, which a standalone has not

    if configuration.elasticsearch is None:
        return ""
    try:
        target = BulkTarget(configuration.elasticsearch)
    except DoorwatchError as error:
        return str(error)
    try:
        return target.obstacle()
    finally:
        target.close()


def _webhook(configuration: Configuration) -> str:
    from beat_bridge.standalone.webhook import Webhook  # noqa: PLC0415 - loads requests

    options = configuration.alerts
    own = configuration.responder
    if options is None or not options.url or (own is not None and options.url.endswith(f":{own.port}/v1/alerts")):
        return ""  # it is this process that will answer
    try:
        webhook = Webhook(
            options.url,
            ca_file=Path(options.ca_file) if options.ca_file else None,
            token_file=Path(options.token_file) if options.token_file else None,
        )
    except DoorwatchError as error:
        return str(error)
    try:
        return webhook.obstacle()
    finally:
        webhook.close()
