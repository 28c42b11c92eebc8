"""The machine that was looked at."""

from beat_bridge.model.base import Value


class Host(Value, frozen=True, kw_only=True):
    """The observed host, never the machine that collected the data."""

    id: str
    """`/etc/machine-id` of the observed host, as Elastic Agent reports it in `host.id`."""
    name: str
    boot_id: str
    """`/proc/sys/kernel/random/boot_id`: process ids and start times mean nothing across it."""
    kernel_release: str = ""
    architecture: str = ""
    os_name: str = ""
