"""The host this responder may act on."""

import os
import platform
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.host import Host

_MACHINE_ID = Path("/etc/machine-id")


def this_host(host_id: str = "") -> Host:
    """Identity of this host as the sensors and Elastic Agent report it.

    Args:
        host_id: From the configuration; empty for /etc/machine-id.

    Raises:
        DoorwatchError: It has no machine id.
    """
    if not host_id:
        try:
            host_id = _MACHINE_ID.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            host_id = ""
    if not host_id:
        raise DoorwatchError(f"{_MACHINE_ID}: holds no machine id: set host_id in the configuration")
    return Host(
        id=host_id,
        name=platform.node(),
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
        kernel_release=os.uname().release,
        architecture=os.uname().machine,
        os_name=platform.freedesktop_os_release().get("PRETTY_NAME", "") if _has_os_release() else "",
    )


def _has_os_release() -> bool:
    return any(Path(path).exists() for path in ("/etc/os-release", "/usr/lib/os-release"))
