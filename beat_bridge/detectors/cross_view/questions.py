"""What two views of one host are compared over.

For each kind of thing: what makes it the same thing in two looks, whether a view would have shown it, and what may not
differ.

Legitimate differences, and where they are dealt with:

- a process that has ended and waits for its parent (a zombie) is in the kernel's lists and not in a view from inside:
  `_is_running`;
- a view from inside a PID namespace, under `hidepid`, or out of which something is mounted lists a part of all
  processes: its coverage does not say `listed`, and nothing is compared;
- network namespaces that could not be entered: `packet_sockets` does not say `listed`, and only packet sockets of
  namespaces that were (`Inventory.network_namespaces`) are compared;
- /proc tells more of a kernel thread's name than its `comm` holds (`rcu_tasks_kthread`, `kworker/0:1-events`:
  proc_task_name, fs/proc/array.c): only names of programs are compared;
- sockets that the kernel opened for itself have no inode and are nobody's: left out;
- a raw socket that was disconnected is in no table and hears nothing (`raw_disconnect`, net/ipv4/raw.c): `lists.py`;
- a socket kept by io_uring, a mapped ring or a message in flight exists without a holder: only existence is compared;
- a module that was loaded anew bears its old name: `KernelModule.instance` tells the two apart, and without it, as
  while a module is being loaded or removed, nothing is said;
- ids of eBPF objects are not given again before two thousand million others (`idr_alloc_cyclic`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from beat_bridge.detectors.scene import AF_PACKET, called, hears_the_network, is_capturing, subject_of
from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.model.filters import FilterKind
from beat_bridge.model.findings import FindingKind
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.kernel import BpfLink, BpfMap, BpfProgram, KernelModule
from beat_bridge.model.processes import Executable, Process
from beat_bridge.model.sockets import Socket

OTHER = "the other view"
"""In every clause about what a view tells otherwise, and in no other reason."""
T = TypeVar("T", Process, Socket, KernelModule, BpfProgram, BpfMap, BpfLink)


@dataclass(frozen=True)
class Question(Generic[T]):
    """One kind of thing that views are compared over."""

    kind: FindingKind
    plural: str
    """For coverage: `processes`."""
    sensor: str
    """Whose coverage says whether a view lists all of them."""
    role: str
    """The field of `Finding` that holds one."""
    things: Callable[[Inventory], Mapping[str, T]]
    """Everything a view shows, by subject."""
    compared: Callable[[Inventory], Mapping[str, T]]
    """Of those, what another view should show as well."""
    shows: Callable[[Inventory, T], bool]
    """Whether this view would list such a thing if it existed."""
    same: Callable[[T, T], bool | None]
    """Whether two things with one subject, in two looks of one view, are one thing that was there all the time; None
    where that cannot be said."""
    differences: Callable[[T, T], Iterator[str]]
    """(first, other view): what the other view tells otherwise, one clause each; empty where nothing."""
    named: Callable[[T], str]
    """As a person would name it."""


def lists_all(inventory: Inventory, sensor: str) -> bool:
    """Whether a sensor says that it listed everything there is; one that tells two stories is not believed."""
    entries = [entry for entry in inventory.coverage if entry.sensor == sensor]
    return bool(entries) and all(entry.listed or entry.status is CoverageStatus.COMPLETE for entry in entries)


def _running(inventory: Inventory) -> Mapping[str, Process]:
    # of a process whose first thread has ended, others may go on: they hold what it holds
    held = {holder.pid for socket in inventory.sockets for holder in socket.holders}
    return {subject_of(each): each for each in inventory.processes if _is_running(each) or each.pid in held}


def _is_running(process: Process) -> bool:
    """It is a kernel thread, or has memory of its own: what has ended and waits for its parent has neither."""
    executable = process.executable
    gone = isinstance(executable, Unavailable) and executable.reason is Reason.ABSENT
    return process.kernel_thread or not gone


def _same_process(one: Process, other: Process) -> bool | None:
    """Process id and start time are in the subject; of what is not whole yet, or has ended, nothing can be said."""
    return None if one.state or other.state else True


def _process_differences(process: Process, other: Process) -> Iterator[str]:
    if process.kernel_thread != other.kernel_thread:
        yield f"{OTHER} takes it for a {'kernel thread' if other.kernel_thread else 'program'}"
    elif process.name != other.name and not process.kernel_thread:
        yield f"its name is {process.name}, {OTHER} tells {other.name}"
    here, there = process.executable, other.executable
    if isinstance(here, Executable) and isinstance(there, Executable) and not _one_file(here, there):
        yield f"it runs {here.path}, {OTHER} tells {there.path}"


def _one_file(here: Executable, there: Executable) -> bool:
    """One path, or the same path below another root, or one inode on one device."""
    if here.path == there.path or here.path.endswith(there.path) or there.path.endswith(here.path):
        return True
    return bool(here.inode) and (here.device, here.inode) == (there.device, there.inode)


def _shows_all(sensor: str) -> Callable[[Inventory, object], bool]:
    return lambda inventory, _: lists_all(inventory, sensor)


def _sockets(inventory: Inventory) -> Mapping[str, Socket]:
    return {f"socket:{each.inode}": each for each in inventory.sockets}


def _hearing(inventory: Inventory) -> Mapping[str, Socket]:
    return {
        subject: each
        for subject, each in _sockets(inventory).items()
        if each.inode and hears_the_network(each) and (is_capturing(each) or each.filter.kind is not FilterKind.NONE)
    }


def _shows_socket(inventory: Inventory, socket: Socket) -> bool:
    if not is_capturing(socket):
        # no table need show it: only a look at every socket's filter would
        return lists_all(inventory, "socket_filters") and lists_all(inventory, "packet_sockets")
    if lists_all(inventory, "packet_sockets"):
        return True
    return socket.family == AF_PACKET and socket.network_namespace in inventory.network_namespaces


def _same_socket(one: Socket, other: Socket) -> bool:
    """Inode numbers of sockets come back only after four thousand million others; cookies, where both tell, never."""
    if one.cookie and other.cookie and one.cookie != other.cookie:
        return False
    return (one.family, one.type) == (other.family, other.type)


def _socket_differences(socket: Socket, other: Socket) -> Iterator[str]:
    if {socket.filter.kind, other.filter.kind} <= {FilterKind.NONE, FilterKind.CLASSIC, FilterKind.EBPF} and (
        (socket.filter.kind, socket.filter.program) != (other.filter.kind, other.filter.program)
    ):
        yield f"it carries {_filter(socket)}, {OTHER} tells {_filter(other)}"
    here, there = socket.network_namespace, other.network_namespace
    if isinstance(here, int) and isinstance(there, int) and here != there:
        yield f"it belongs to network namespace {here}, {OTHER} tells {there}"
    if (socket.family, socket.type) != (other.family, other.type):
        yield f"{OTHER} tells another address family or type"


def _filter(socket: Socket) -> str:
    if socket.filter.kind is FilterKind.CLASSIC:
        return f"a classic filter of {len(socket.filter.program)} instructions"
    return "no filter" if socket.filter.kind is FilterKind.NONE else "an eBPF filter"


def _same_module(one: KernelModule, other: KernelModule) -> bool | None:
    if not one.instance or not other.instance:
        return None
    return one.instance == other.instance


def _nothing(_one: object, _other: object) -> Iterator[str]:
    return iter(())


def _program_differences(program: BpfProgram, other: BpfProgram) -> Iterator[str]:
    if program.tag and other.tag and program.tag != other.tag:
        yield f"its tag is {program.tag}, {OTHER} tells {other.tag}"
    if program.type and other.type and program.type != other.type:
        yield f"its type is {program.type}, {OTHER} tells {other.type}"


def _map_differences(each: BpfMap, other: BpfMap) -> Iterator[str]:
    if each.type and other.type and each.type != other.type:
        yield f"its type is {each.type}, {OTHER} tells {other.type}"


def _link_differences(link: BpfLink, other: BpfLink) -> Iterator[str]:
    if link.program_id and other.program_id and link.program_id != other.program_id:
        yield f"it attaches program {link.program_id}, {OTHER} tells {other.program_id}"


def _modules(inventory: Inventory) -> Mapping[str, KernelModule]:
    return {f"module:{each.name}": each for each in inventory.modules}


def _programs(inventory: Inventory) -> Mapping[str, BpfProgram]:
    return {f"bpf_program:{each.id}": each for each in inventory.bpf_programs}


def _maps(inventory: Inventory) -> Mapping[str, BpfMap]:
    return {f"bpf_map:{each.id}": each for each in inventory.bpf_maps}


def _links(inventory: Inventory) -> Mapping[str, BpfLink]:
    return {f"bpf_link:{each.id}": each for each in inventory.bpf_links}


PROCESSES = Question[Process](
    kind=FindingKind.HIDDEN_PROCESS,
    plural="processes",
    sensor="processes",
    role="process",
    things=lambda inventory: {subject_of(each): each for each in inventory.processes},
    compared=_running,
    shows=_shows_all("processes"),
    same=_same_process,
    differences=_process_differences,
    named=called,
)
SOCKETS = Question[Socket](
    kind=FindingKind.HIDDEN_SOCKET,
    plural="sockets",
    sensor="packet_sockets",
    role="socket",
    things=_sockets,
    compared=_hearing,
    shows=_shows_socket,
    same=_same_socket,
    differences=_socket_differences,
    named=lambda socket: (
        f"{'packet' if socket.family == AF_PACKET else 'raw' if is_capturing(socket) else 'filtered'} "
        f"socket {socket.inode}"
    ),
)
MODULES = Question[KernelModule](
    kind=FindingKind.HIDDEN_MODULE,
    plural="modules",
    sensor="modules",
    role="module",
    things=_modules,
    compared=_modules,
    shows=_shows_all("modules"),
    same=_same_module,
    differences=_nothing,
    named=lambda module: f"kernel module {module.name}",
)
BPF_PROGRAMS = Question[BpfProgram](
    kind=FindingKind.BPF_OBJECT_MISMATCH,
    plural="BPF programs",
    sensor="bpf_objects",
    role="bpf_program",
    things=_programs,
    compared=_programs,
    shows=_shows_all("bpf_objects"),
    same=lambda one, other: (one.tag, one.type) == (other.tag, other.type),
    differences=_program_differences,
    named=lambda program: (
        f"BPF program {program.id} ({program.type or 'of unknown type'}, {program.name or 'no name'})"
    ),
)
BPF_MAPS = Question[BpfMap](
    kind=FindingKind.BPF_OBJECT_MISMATCH,
    plural="BPF maps",
    sensor="bpf_objects",
    role="bpf_map",
    things=_maps,
    compared=_maps,
    shows=_shows_all("bpf_objects"),
    same=lambda one, other: one.type == other.type,
    differences=_map_differences,
    named=lambda each: f"BPF map {each.id} ({each.type or 'of unknown type'}, {each.name or 'no name'})",
)
BPF_LINKS = Question[BpfLink](
    kind=FindingKind.BPF_OBJECT_MISMATCH,
    plural="BPF links",
    sensor="bpf_objects",
    role="bpf_link",
    things=_links,
    compared=_links,
    shows=_shows_all("bpf_objects"),
    same=lambda one, other: (one.type, one.program_id) == (other.type, other.program_id),
    differences=_link_differences,
    named=lambda link: f"BPF link {link.id} ({link.type or 'of unknown type'})",
)
