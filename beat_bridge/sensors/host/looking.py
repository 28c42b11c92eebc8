"""One look at this host, with every sensor."""

from datetime import UTC, datetime

from beat_bridge.model.base import Viewpoint
from beat_bridge.model.inventory import Inventory
from beat_bridge.sensors.host.bpf_objects import look_at_bpf_objects
from beat_bridge.sensors.host.identity import identity
from beat_bridge.sensors.host.modules import look_at_modules
from beat_bridge.sensors.host.pid_files import look_at_pid_files
from beat_bridge.sensors.host.processes import look_at_processes
from beat_bridge.sensors.host.sockets import look_at_sockets


def look() -> Inventory:
    """Everything this user may see of this host now, and, in `coverage`, what he may not.

    Raises:
        DoorwatchError: There is no /proc to look through.
    """
    taken_at = datetime.now(UTC)
    sockets = look_at_sockets()
    processes = look_at_processes(sockets.descriptors, sockets.namespaces)
    pid_files = look_at_pid_files(sockets.descriptors)
    modules, bpf = look_at_modules(), look_at_bpf_objects()
    return Inventory(
        host=identity(),
        viewpoint=Viewpoint.HOST,
        taken_at=taken_at,
        processes=processes.processes,
        sockets=sockets.sockets,
        pid_files=pid_files.files,
        network_namespaces=sockets.listed_namespaces,
        modules=modules.modules,
        bpf_programs=bpf.programs,
        bpf_maps=bpf.maps,
        bpf_links=bpf.links,
        coverage=(*sockets.coverage, processes.coverage, pid_files.coverage, modules.coverage, bpf.coverage),
    )
