"""Which machine this is, in which boot: the names a kernel keeps of itself.

Findings are named by host and boot (`Finding.key`), so that those of two guests, or of two boots, must never come under
one name, and those of one boot should not come under two. In order of preference a guest's `host.id` is

1. what the caller gives: `/etc/machine-id`, which alone ties this view to the one from inside, or the UUID by which the
   hypervisor knows the guest;
2. the UUID that its firmware gave to its kernel (SMBIOS), which the hypervisor chose, and which systemd takes for the
   machine id of a new virtual machine;
3. its node name: two guests without a UUID that have one name are one host to whoever reads the documents.

The boot id is the kernel's own. It is made when somebody first asks for it, which systemd does before anything else; in
a guest where nobody has done so it is empty, and the findings of the few moments before stay under the empty one.
"""

import re
from uuid import UUID

from drgn import FaultError, Program

from beat_bridge.model.host import Host
from beat_bridge.sensors.hypervisor.kernel.lists import pointer_at
from beat_bridge.sensors.hypervisor.kernel.program import symbol, view
from beat_bridge.sensors.hypervisor.kernel.records import record

_BANNER_BYTES = 64
_UUID = re.compile(rb"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NOBODYS = {UUID(int=0), UUID(int=(1 << 128) - 1)}
"""SMBIOS: no UUID, and one that is still to be set."""


def identity(prog: Program, host_id: str) -> Host:
    """The guest as its kernel knows it.

    Args:
        prog: The guest.
        host_id: What it is known by; empty to use the node name.

    Raises:
        FaultError: Its names cannot be read.
    """
    names = record(prog, "struct uts_namespace", "name.nodename", "name.release", "name.machine", "name.sysname")
    node, release, machine, system = (
        raw.decode("utf-8", "backslashreplace") for raw in names.read(int(prog["init_uts_ns"].address_ or 0))
    )
    return Host(
        id=host_id or node,
        name=node,
        boot_id=boot_id(prog),
        kernel_release=release,
        architecture=machine,
        os_name=system,
    )


def machine_uuid(prog: Program) -> str:
    """The UUID that the machine's firmware tells, as /sys/class/dmi/id/product_uuid; empty where it has none.

    Raises:
        FaultError: It cannot be read.
    """
    table = view(prog).profile.find("dmi_ident")
    if table is None:
        return ""
    text = pointer_at(prog, table + 8 * prog["DMI_PRODUCT_UUID"].value_())
    raw = view(prog).read(text, 36) if text else b""
    if not _UUID.fullmatch(raw) or UUID(raw.decode()) in _NOBODYS:
        return ""
    return str(UUID(raw.decode()))


def banner(prog: Program) -> bytes:
    """The beginning of the kernel's banner, which stays where it is and what it is as long as the guest runs.

    Raises:
        FaultError: It cannot be read.
        LookupError: There is none.
    """
    return view(prog).read(symbol(prog, "linux_banner"), _BANNER_BYTES)


def boot_id(prog: Program) -> str:
    """`/proc/sys/kernel/random/boot_id`; empty where nobody in the guest has asked for it yet: then it has none.

    Raises:
        FaultError: It cannot be read, or lies there no more: the kernel makes a random UUID (version 4), nothing else.
    """
    address = view(prog).profile.find("sysctl_bootid")
    raw = b"" if address is None else view(prog).read(address, 16)
    if not any(raw):
        return ""
    found = UUID(bytes=raw)
    if found.version != 4:
        raise FaultError(f"what lies in the boot id's place is none: {found}", address or 0)
    return str(found)
