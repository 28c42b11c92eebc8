"""Which machine this is: the names a kernel keeps of itself."""

from uuid import UUID

from drgn import Program

from beat_bridge.model.host import Host
from beat_bridge.sensors.hypervisor.kernel.program import symbol, view
from beat_bridge.sensors.hypervisor.kernel.records import record

_BANNER_BYTES = 64


def identity(prog: Program, host_id: str) -> Host:
    """The guest as its kernel knows it.

    Args:
        prog: The guest.
        host_id: Its `/etc/machine-id` where the caller knows it, which alone ties this view to the one from inside;
            empty to use the node name.

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
        FaultError: It cannot be read.
    """
    address = view(prog).profile.find("sysctl_bootid")
    raw = b"" if address is None else view(prog).read(address, 16)
    return str(UUID(bytes=raw)) if any(raw) else ""
