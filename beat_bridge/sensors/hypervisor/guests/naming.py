"""Which host a guest's documents are of."""

from beat_bridge.sensors.host.identity import identity
from beat_bridge.sensors.hypervisor.guests import Guest


def assigned_id(guest: Guest) -> str:
    """`host.id` of a guest whose `/etc/machine-id` nobody gave.

    Its hypervisor's word alone, never the guest's: a guest that could choose would choose another host's, and have
    that one cut off.
    """
    return guest.uuid or f"{identity().id}/{guest.name}"
