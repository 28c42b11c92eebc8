"""May a finding that a pass does not show be called gone?

Not to see a thing proves nothing where nobody could look. A finding is gone only for one of these reasons, in words:

- the host was started anew: nothing of the boot before is left;
- a complete look no longer shows it: every sensor that its kind (and program) depends on looked at everything;
- its process ended, its socket was closed, its file was removed: the thing is not in a list that shows all there are,
  even if not all of them could be looked into, or its process id belongs to a process that began later;
- it was looked at again and is in order: the very thing is in the inventory and legible.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property

from beat_bridge.detectors.cross_view import lists
from beat_bridge.detectors.interpreters import is_interpreter
from beat_bridge.detectors.locations import IN_MEMORY
from beat_bridge.detectors.pid_files import has_the_shape
from beat_bridge.detectors.scene import AF_PACKET, Scene, is_capturing, subject_of
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.model.filters import FilterKind
from beat_bridge.model.findings import Finding, FindingKind
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.kernel import Hook
from beat_bridge.model.processes import Executable, Process

SENSORS: Mapping[FindingKind, frozenset[str]] = {
    FindingKind.SOCKET_FILTER: frozenset({"socket_filters", "packet_sockets"}),
    FindingKind.MASQUERADE: frozenset({"processes"}),
    FindingKind.SHARED_MEMORY_EXECUTION: frozenset({"processes", "packet_sockets"}),
    FindingKind.ABNORMAL_PID_FILE: frozenset({"pid_files", "processes", "packet_sockets"}),
    FindingKind.ORPHAN_SOCKET: frozenset({"socket_filters", "packet_sockets"}),
    FindingKind.KERNEL_HOOK_DRIFT: frozenset({"kernel_hooks"}),
    FindingKind.HIDDEN_PROCESS: frozenset({"processes"}),
    FindingKind.HIDDEN_SOCKET: frozenset({"packet_sockets", "socket_filters"}),
    FindingKind.HIDDEN_MODULE: frozenset({"modules"}),
    FindingKind.BPF_OBJECT_MISMATCH: frozenset({"bpf_objects"}),
    FindingKind.BACKDOOR_PROCESS: frozenset({"processes", "socket_filters", "packet_sockets", "pid_files"}),
}
"""What must have looked completely before a kind's silence means anything; for what a second view did not show,
`cross_view` as well: without a second view nothing was compared."""
_HOOK_SENSORS: Mapping[str, frozenset[str]] = {
    "kernel_text": frozenset({"kernel_text"}),
    "module_text": frozenset({"module_text"}),
    "read_only_data": frozenset({"read_only_data"}),
    "syscall_dispatch": frozenset({"kernel_hooks", "kernel_text"}),
    "syscall_table": frozenset({"kernel_hooks", "read_only_data"}),
    "seq_operations": frozenset({"kernel_hooks", "read_only_data"}),
}
"""Who tells of the places of a surface; of every other surface that is `kernel_hooks` alone."""
_KERNEL_OBJECTS = {
    # kind of subject: the sensor that lists it, and what is said where it does so no more
    "module": ("modules", "the module was removed"),
    "bpf_program": ("bpf_objects", "the program was unloaded"),
    "bpf_map": ("bpf_objects", "the map was removed"),
    "bpf_link": ("bpf_objects", "the link was removed"),
}
_IN_ORDER = "it was looked at again and is in order"


@dataclass(frozen=True)
class Look:
    """One pass, asked about findings that it does not show."""

    inventory: Inventory

    def why_gone(self, finding: Finding) -> str:
        """Why a finding that this pass does not show is gone; empty where that cannot be said."""
        host = self.inventory.host
        if finding.host.id != host.id or finding.viewpoint is not self.inventory.viewpoint:
            return ""
        if finding.host.boot_id != host.boot_id:
            if not host.boot_id:  # an inventory that could not read its boot id proves no restart
                return ""
            if finding.host.boot_id:
                return "the host was started anew"
            # told before this boot had an id, or in an earlier one: what is gone in this boot is gone in both cases
        if _needed(finding) <= self._complete:
            return "a complete look no longer shows it"
        about = {"process": self._about_process, "socket": self._about_socket, "file": self._about_file}
        kind = finding.subject.partition(":")[0]
        if kind in _KERNEL_OBJECTS:
            return self._about_kernel_object(finding, kind)
        return about.get(kind, self._about_hook)(finding)

    def _about_process(self, finding: Finding) -> str:
        was, now = finding.process, self._processes.get(finding.subject)
        if now is None:
            later = None if was is None else self._by_pid.get(was.pid)
            if was is not None and later is not None and later.start_ticks > was.start_ticks:
                return f"process id {was.pid} belongs to a later process"
            return "the process has ended" if "processes" in self._listed else ""
        if finding.kind is FindingKind.HIDDEN_PROCESS:
            return self._about_lists(finding)
        legible = isinstance(now.executable, Executable) and isinstance(now.args, tuple)
        # some are excused by what they do not hold, and a combination consists of more than the process
        whole = finding.kind is not FindingKind.BACKDOOR_PROCESS
        return _IN_ORDER if legible and whole and not _may_be_excused(now) else ""

    def _about_socket(self, finding: Finding) -> str:
        if finding.subject in self._sockets:
            if finding.kind is FindingKind.HIDDEN_SOCKET:
                return self._about_lists(finding)
            read = finding.subject in self._read_sockets and finding.kind is FindingKind.SOCKET_FILTER
            return _IN_ORDER if read else ""
        if finding.socket is None or not is_capturing(finding.socket):
            return ""
        in_view = finding.socket.family == AF_PACKET and (
            finding.socket.network_namespace in self.inventory.network_namespaces
        )
        return "the socket is closed" if in_view or "packet_sockets" in self._listed else ""

    def _about_file(self, finding: Finding) -> str:
        if finding.subject in self._files:
            return "" if self._files[finding.subject] else _IN_ORDER
        return "the file was removed" if "pid_files" in self._listed else ""

    def _about_kernel_object(self, finding: Finding, kind: str) -> str:
        sensor, words = _KERNEL_OBJECTS[kind]
        if finding.subject in self._kernel_objects:
            return self._about_lists(finding)
        return words if sensor in self._listed else ""

    def _about_lists(self, finding: Finding) -> str:
        """The thing is there: its lists may agree by now; whether another view shows it, this look cannot say."""
        listed = SENSORS[finding.kind] <= self._listed
        return _IN_ORDER if listed and not finding.missing_from and finding.subject not in self._disagreeing else ""

    def _about_hook(self, finding: Finding) -> str:
        """It leads elsewhere by now and nobody objects, or somebody accounts for it.

        That nobody objects is not enough: of two sensors the one that knew what was wrong may have seen nothing.
        """
        now, was = self._hooks.get(finding.subject), finding.hook
        if now is None or was is None:
            return ""
        return _IN_ORDER if now.explained or now.actual != was.actual else ""

    @cached_property
    def _complete(self) -> AbstractSet[str]:
        """Sensors that looked at everything; one that also says otherwise is not believed."""
        entries = self.inventory.coverage
        complete = {entry.sensor for entry in entries if entry.status is CoverageStatus.COMPLETE}
        return complete - {entry.sensor for entry in entries if entry.status is not CoverageStatus.COMPLETE}

    @cached_property
    def _listed(self) -> AbstractSet[str]:
        """Sensors that listed everything, whether or not they could look into all of it."""
        entries = self.inventory.coverage
        listed = {entry.sensor for entry in entries if entry.listed or entry.status is CoverageStatus.COMPLETE}
        unlisted = {e.sensor for e in entries if not e.listed and e.status is not CoverageStatus.COMPLETE}
        return listed - unlisted

    @cached_property
    def _by_pid(self) -> Mapping[int, Process]:
        return self.inventory.by_pid()

    @cached_property
    def _processes(self) -> Mapping[str, Process]:
        return {subject_of(process): process for process in self.inventory.processes}

    @cached_property
    def _sockets(self) -> AbstractSet[str]:
        return {f"socket:{socket.inode}" for socket in self.inventory.sockets}

    @cached_property
    def _read_sockets(self) -> AbstractSet[str]:
        read = (FilterKind.NONE, FilterKind.CLASSIC)
        return {f"socket:{socket.inode}" for socket in self.inventory.sockets if socket.filter.kind in read}

    @cached_property
    def _files(self) -> Mapping[str, bool]:
        """By subject, whether the file still has the shape that was found."""
        return {f"file:{file.path}": has_the_shape(file) for file in self.inventory.pid_files}

    @cached_property
    def _kernel_objects(self) -> AbstractSet[str]:
        """Modules and eBPF objects, by subject."""
        seen = self.inventory
        return {
            *(f"module:{each.name}" for each in seen.modules),
            *(f"bpf_program:{each.id}" for each in seen.bpf_programs),
            *(f"bpf_map:{each.id}" for each in seen.bpf_maps),
            *(f"bpf_link:{each.id}" for each in seen.bpf_links),
        }

    @cached_property
    def _disagreeing(self) -> AbstractSet[str]:
        """Subjects over which the kernel's lists disagree in this look."""
        return {finding.subject for finding in lists.find(Scene(self.inventory))}

    @cached_property
    def _hooks(self) -> Mapping[str, Hook]:
        return {f"hook:{hook.surface}:{hook.symbol}": hook for hook in self.inventory.hooks}


def _needed(finding: Finding) -> AbstractSet[str]:
    """Sensors that this very finding depends on."""
    excusable = finding.process is not None and _may_be_excused(finding.process)
    also = ({"packet_sockets"} if excusable else set()) | ({"cross_view"} if finding.missing_from else set())
    of_kind = SENSORS[finding.kind]
    if finding.hook is not None and finding.kind is FindingKind.KERNEL_HOOK_DRIFT:
        of_kind = _HOOK_SENSORS.get(finding.hook.surface, of_kind)
    return of_kind | also


def _may_be_excused(process: Process) -> bool:
    """Whether a finding about it may hang on the packet sockets it holds."""
    executable = process.executable
    if not isinstance(executable, Executable):
        return False
    return executable.memfd or executable.filesystem in IN_MEMORY or is_interpreter(executable.path)
