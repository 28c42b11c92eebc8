"""What a pass saw, as documents of the data stream logs-doorwatch.inventory-*.

Each sensor's account of itself, every socket that can see packets not addressed to it or that carries a filter, every
kernel module, and every eBPF program, map and link. A process is told with what it holds or what was found of it, not
by itself: Elastic Defend and osquery list processes, and a busy host has thousands.
"""

from collections.abc import Iterator
from functools import partial

from beat_bridge.ecs import parts
from beat_bridge.ecs.shape import Body, data_stream, digest, finish, merge, moment
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.documents import Document
from beat_bridge.model.filters import FilterKind
from beat_bridge.model.host import Host
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.kernel import BpfLink, BpfMap, BpfProgram, KernelModule
from beat_bridge.model.sockets import Socket

_AF_PACKET = 17
_SOCK_RAW = 3


def inventory_documents(
    inventory: Inventory, namespace: str = "default", observer: Host | None = None
) -> Iterator[Document]:
    """Documents of one pass, coverage first, each with an id made from host, boot, moment and subject.

    Args:
        inventory: What was seen.
        namespace: The data stream's namespace.
        observer: The machine that looked, where that is another than the host: the hypervisor.

    Raises:
        DoorwatchError: The namespace is not one.
    """
    document = partial(_document, inventory, namespace, observer)
    for coverage in inventory.coverage:
        yield document(f"coverage:{coverage.sensor}", _coverage_part(coverage))
    for socket in inventory.sockets:
        if is_noteworthy(socket):
            yield document(f"socket:{socket.inode}", _socket_part(inventory, socket))
    for module in inventory.modules:
        yield document(f"module:{module.name}", _module_part(module))
    things: tuple[BpfProgram | BpfMap | BpfLink, ...] = (
        *inventory.bpf_programs,
        *inventory.bpf_maps,
        *inventory.bpf_links,
    )
    for thing in things:
        part = _bpf_part(thing)
        yield document(f"bpf_{part['doorwatch']['bpf']['object']}:{thing.id}", part)


def is_noteworthy(socket: Socket) -> bool:
    """It is a packet or raw socket, or it carries a filter, or whether it does could not be told."""
    return socket.family == _AF_PACKET or socket.type == _SOCK_RAW or socket.filter.kind is not FilterKind.NONE


def _document(inventory: Inventory, namespace: str, observer: Host | None, subject: str, fragment: Body) -> Document:
    host, viewpoint = inventory.host, inventory.viewpoint.value
    name = digest(host.id, host.boot_id, viewpoint, moment(inventory.taken_at), subject)
    body = merge(
        parts.envelope("inventory", namespace, inventory.taken_at, name),
        parts.host_part(host),
        parts.observer_part(observer),
        {"doorwatch": {"view": {"seen_by": [viewpoint]}}},
        fragment,
    )
    return Document(data_stream=data_stream("inventory", namespace), id=name, body=finish(body))


def _coverage_part(coverage: Coverage) -> Body:
    told = f"{coverage.sensor} looked at {coverage.examined} and could not look at {coverage.missed}"
    return {
        "message": f"{told}: {coverage.detail}" if coverage.detail else told,
        "event": {
            "category": ["host"],
            "type": ["info"],
            "action": "coverage-reported",
            "outcome": {
                CoverageStatus.COMPLETE: "success",
                CoverageStatus.PARTIAL: "unknown",
                CoverageStatus.NONE: "failure",
            }[coverage.status],
        },
        "doorwatch": {
            "coverage": {
                "sensor": coverage.sensor,
                "status": coverage.status.value,
                "reason": None if coverage.reason is None else coverage.reason.value,
                "detail": coverage.detail,
                "examined": coverage.examined,
                "missed": coverage.missed,
                "listed": coverage.listed or coverage.status is CoverageStatus.COMPLETE,
            }
        },
    }


def _socket_part(inventory: Inventory, socket: Socket) -> Body:
    processes = inventory.by_pid()
    holder = next((processes[held.pid] for held in socket.holders if held.pid in processes), None)
    return merge(
        {"event": {"category": ["host"], "type": ["info"], "action": "socket-seen"}},
        parts.socket_part(socket),
        {} if holder is None else parts.process_part(holder, processes.get(holder.parent_pid)),
    )


def _module_part(module: KernelModule) -> Body:
    seen: Body = {"event": {"category": ["driver"], "type": ["info"], "action": "module-seen"}}
    return merge(seen, parts.module_part(module))


def _bpf_part(thing: BpfProgram | BpfMap | BpfLink) -> Body:
    seen: Body = {"event": {"category": ["driver"], "type": ["info"], "action": "bpf-object-seen"}}
    return merge(seen, parts.bpf_part(thing))
