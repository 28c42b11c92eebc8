"""The one configuration file."""

from pathlib import Path
from typing import Annotated

import msgspec

from beat_bridge import strict_yaml
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value
from beat_bridge.sensors.hypervisor.options import GuestOptions
from beat_bridge.shipping.options import ElasticsearchOptions
from responders.options import ResponderOptions

Seconds = Annotated[float, msgspec.Meta(ge=0.1, le=86_400)]
Mebibytes = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
MIB = 1 << 20


class HostOptions(Value, frozen=True, kw_only=True):
    """This host's own sensors."""

    interval: Seconds = 10.0
    """Seconds from the start of one look to the start of the next."""


class SpoolOptions(Value, frozen=True, kw_only=True):
    """The durable queue between what was seen and where it goes."""

    budget_mib: Mebibytes = 1024
    """What it may take on disk; beyond it new documents are refused, said and counted, and looked for again."""


class StoreOptions(Value, frozen=True, kw_only=True):
    """The local store that takes Elasticsearch's place where no cluster is configured."""

    budget_mib: Mebibytes = 1024
    """What it may take on disk; beyond it the oldest documents go."""


class AlertOptions(Value, frozen=True, kw_only=True):
    """The fast path: rules evaluated here as documents arrive, and the webhook that their alerts go to."""

    url: str = ""
    """The responder's address, `https://localhost:8443/v1/alerts`; empty for the responder of this file."""
    ca_file: str = ""
    """PEM file of the authority that signed the responder's certificate; empty for the system's own."""
    token_file: str = ""
    """A file with the bearer token."""


class Configuration(Value, frozen=True, kw_only=True):
    """What `doorwatch run` does."""

    state: str
    """A private directory: spool, store, findings, the responder's records."""
    namespace: str = "default"
    """Last part of the data streams' names: `logs-doorwatch.finding-NAMESPACE`."""
    host: HostOptions | None = HostOptions()
    """Leave it out for the defaults; `host: null` for a machine that only responds, or only watches guests."""
    guests: GuestOptions | None = None
    """Leave it out where no virtual machines are to be watched from below. Needs the extra `hypervisor`."""
    spool: SpoolOptions = SpoolOptions()
    """The durable queue."""
    elasticsearch: ElasticsearchOptions | None = None
    """The cluster that documents go to; leave it out for the local store."""
    store: StoreOptions = StoreOptions()
    """The local store."""
    rules: tuple[str, ...] = ()
    """Directories with rules for the fast path; empty for those that are shipped."""
    alerts: AlertOptions | None = None
    """Leave it out to leave alerting to Kibana alone."""
    responder: ResponderOptions | None = None
    """Leave it out where no responder is to run on this host."""

    @property
    def state_dir(self) -> Path:
        """`state` as a path."""
        return Path(self.state)


def load(path: Path) -> Configuration:
    """Read a configuration file.

    Raises:
        DoorwatchError: One line with the file's name and line.
    """
    configuration = strict_yaml.load(path, Configuration)
    if not configuration.state_dir.is_absolute():
        raise DoorwatchError(f"{strict_yaml.place(path, 'state')}: state must be an absolute path")
    if configuration.host is None and configuration.responder is None and configuration.guests is None:
        raise DoorwatchError(f"{path}: nothing to run: configure host, guests, or responder")
    if configuration.guests is not None and not (configuration.guests.libvirt or configuration.guests.qmp):
        raise DoorwatchError(f"{strict_yaml.place(path, 'guests')}: guests need libvirt connections or qmp sockets")
    if configuration.alerts is not None and not configuration.alerts.url and configuration.responder is None:
        raise DoorwatchError(f"{strict_yaml.place(path, 'alerts')}: alerts need url, or a responder in this file")
    return configuration
