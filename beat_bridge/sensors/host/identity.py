"""Which machine this is."""

import os
import platform
import socket
from pathlib import Path

from beat_bridge.model.host import Host


def identity() -> Host:
    """This host, as Elastic Agent would name it (`/etc/machine-id`)."""
    name = os.uname()
    return Host(
        id=_line("/etc/machine-id") or _line("/var/lib/dbus/machine-id") or f"hostname:{name.nodename}",
        name=socket.gethostname(),
        boot_id=_line("/proc/sys/kernel/random/boot_id"),
        kernel_release=name.release,
        architecture=name.machine,
        os_name=_os_name(),
    )


def _line(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "backslashreplace").strip()
    except OSError:
        return ""


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("NAME", "")
    except OSError:
        return ""
