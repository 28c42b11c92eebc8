"""The host this responder may act on."""

import msgspec

from beat_bridge.model.host import Host
from beat_bridge.sensors.host.identity import identity


def this_host(host_id: str = "") -> Host:
    """Identity of this host, as the sensors put it into every document.

    Args:
        host_id: From the configuration; empty for what the sensors read (/etc/machine-id).
    """
    host = identity()
    return msgspec.structs.replace(host, id=host_id) if host_id else host
