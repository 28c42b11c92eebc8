"""A guest behind a QMP socket."""

import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.guests import TIMEOUT_SECONDS, GuestGone, GuestState
from beat_bridge.sensors.hypervisor.guests.evidence import arriving
from beat_bridge.sensors.hypervisor.guests.lifeline import Lifeline
from beat_bridge.sensors.hypervisor.guests.monitor import Monitor, RefusedError
from beat_bridge.sensors.hypervisor.guests.peer import is_qemu, start_time
from beat_bridge.sensors.hypervisor.guests.ram import Backend, Ram, open_ram
from beat_bridge.sensors.hypervisor.guests.standing import GuestMemory, Incarnation, PageTables, Standing
from beat_bridge.sensors.hypervisor.guests.stillness import Stillness, attended
from beat_bridge.sensors.hypervisor.memory.layout import from_mtree

SNAPSHOT_SECONDS = 300.0
DUMP_SECONDS_PER_GIB = 60.0
_POLL_SECONDS = 0.02
_NETWORK_CARD = re.compile(r"^(\S+): index=0,type=nic,", re.MULTILINE)
_REGISTERS = re.compile(r"^CR0=([0-9a-f]{8}) CR2=[0-9a-f]+ CR3=([0-9a-f]+) CR4=([0-9a-f]+)", re.MULTILINE)
_PAGING, _LA57, _FRAME = 1 << 31, 1 << 12, 0x000F_FFFF_FFFF_F000
_OFF = frozenset({"shutdown"})
_NO_UUID = "00000000-0000-0000-0000-000000000000"
ADVICE = (
    "start QEMU with  -object memory-backend-memfd,id=ram,size=SIZE,share=on -machine memory-backend=ram  "
    "(SIZE as in -m), or run Doorwatch as root"
)


class _Status(msgspec.Struct):
    status: str
    running: bool


class _Name(msgspec.Struct):
    name: str = ""


class _Uuid(msgspec.Struct):
    UUID: str


class _Memdev(msgspec.Struct):
    id: str
    size: int
    share: bool


class _Snapshot(msgspec.Struct):
    name: str


class _Image(msgspec.Struct):
    snapshots: tuple[_Snapshot, ...] = ()


class _Disk(msgspec.Struct):
    drv: str
    ro: bool
    image: _Image
    node: str = msgspec.field(name="node-name")


class _Block(msgspec.Struct):
    inserted: _Disk | None = None


class _Job(msgspec.Struct):
    id: str
    status: str
    error: str = ""


class _Dump(msgspec.Struct):
    status: str


def open_qmp(socket: Path, *, timeout: float = TIMEOUT_SECONDS, backend: Backend = Backend.AUTO) -> "QmpGuest":
    """The guest whose QEMU listens on a socket.

    Args:
        socket: Of QEMU's `-qmp unix:PATH,server=on,wait=off`; nobody else may hold it while a call lasts.
        timeout: Seconds that each call may take.
        backend: How its RAM is read.

    Raises:
        DoorwatchError: Nobody listens or answers there, or not as QEMU does.
    """
    with Monitor(socket, timeout) as monitor:
        name = monitor.ask_for(_Name, "query-name").name
        uuid = monitor.ask_for(_Uuid, "query-uuid").UUID
    return QmpGuest(socket, name or socket.stem, "" if uuid == _NO_UUID else uuid, timeout, backend)


class QmpGuest:
    """A Guest. Nothing is held open between calls, but while its memory is paused."""

    def __init__(self, socket: Path, name: str, uuid: str, timeout: float, backend: Backend) -> None:
        self._socket = socket
        self.name = name
        self.uuid = uuid
        self._timeout = timeout
        self._backend = backend

    def state(self) -> GuestState:
        """As Guest."""
        try:
            with self._monitor() as monitor:
                return _state(monitor)
        except GuestGone:
            return GuestState.GONE

    def memory(self) -> GuestMemory:
        """As Guest."""
        with self._monitor() as monitor:
            ram = _ram(monitor, self.name)
        return attended(
            open_ram(ram, self._backend, stillness := _QmpStillness(self._socket, self._timeout)),
            self.standing,
            stillness,
        )

    def standing(self) -> Standing:
        """How it stands: its QEMU, and the page tables of its processors."""
        try:
            with self._monitor() as monitor:
                return standing(monitor)
        except GuestGone:
            return Standing(GuestState.GONE, Incarnation((0, 0)))

    def pause(self) -> None:
        """As Guest."""
        with self._monitor() as monitor:
            monitor.stop()

    def resume(self) -> None:
        """As Guest."""
        with self._monitor() as monitor:
            monitor.ask("cont")

    def set_link(self, up: bool) -> None:
        """As Guest."""
        with self._monitor() as monitor:
            cards = _NETWORK_CARD.findall(monitor.tell("info network"))
            if not cards:
                raise DoorwatchError(f"{self.name}: this guest has no network card")
            refusals = []
            for card in cards:
                try:
                    monitor.ask("set_link", {"name": card, "up": up})
                except RefusedError as error:
                    refusals.append(str(error))
        if refusals:
            raise DoorwatchError(
                f"{self.name}: {len(refusals)} of {len(cards)} network cards did not obey: {refusals[0]}"
            )

    def snapshot(self, name: str) -> None:
        """As Guest: into its qcow2 disks, all of which must be able to keep one."""
        with self._monitor() as monitor:
            disks = self._disks(monitor)
            if any(name in _names(disk) for disk in disks):
                raise DoorwatchError(f"{self.name}: this guest has a snapshot {name} already")
            nodes = [disk.node for disk in disks]
            self._job(monitor, "snapshot-save", {"tag": name, "vmstate": nodes[0], "devices": nodes})

    def revert(self, name: str) -> None:
        """As Guest: it runs on if it ran."""
        with self._monitor() as monitor:
            disks = self._disks(monitor)
            if not all(name in _names(disk) for disk in disks):  # QEMU would stop the guest before it looks
                there = ", ".join(sorted(set.intersection(*map(_names, disks)))) or "none"
                raise DoorwatchError(f"{self.name}: this guest has no snapshot {name} (there are: {there})")
            nodes = [disk.node for disk in disks]
            self._job(monitor, "snapshot-load", {"tag": name, "vmstate": nodes[0], "devices": nodes})

    def dump_memory(self, path: Path) -> None:
        """As Guest; it stands still meanwhile. The file is opened here, so QEMU needs no right to the directory."""
        with self._monitor() as monitor, arriving(path) as descriptor:
            gibibytes = sum(memdev.size for memdev in monitor.ask_for(list[_Memdev], "query-memdev")) / (1 << 30)
            handle = f"doorwatch-{secrets.token_hex(4)}"
            monitor.hand_over(handle, descriptor)
            monitor.ask("dump-guest-memory", {"paging": False, "protocol": f"fd:{handle}", "detach": True})
            deadline = time.monotonic() + self._timeout + DUMP_SECONDS_PER_GIB * (1 + gibibytes)
            while (status := monitor.ask_for(_Dump, "query-dump").status) == "active":
                if time.monotonic() > deadline:
                    raise DoorwatchError(f"{path}: QEMU has not finished this memory dump in time: is the disk slow?")
                time.sleep(_POLL_SECONDS)  # QEMU has an event for the end, but it may pass before anybody listens
            if status != "completed":
                raise DoorwatchError(f"{path}: QEMU could not write this memory dump: is the disk full?")

    def close(self) -> None:
        """As Guest: nothing is open."""

    @contextmanager
    def _monitor(self) -> Iterator[Monitor]:
        with Monitor(self._socket, self._timeout) as monitor:
            yield monitor

    def _disks(self, monitor: Monitor) -> list[_Disk]:
        blocks = monitor.ask_for(list[_Block], "query-block")
        disks = [block.inserted for block in blocks if block.inserted and not block.inserted.ro]
        other = next((image.drv for image in disks if image.drv != "qcow2"), None)
        if not disks or other:
            raise DoorwatchError(
                f"{self.name}: this guest cannot keep a snapshot: "
                + (f"one of its disks is {other}, and all must be qcow2" if other else "it has no disk to write it to")
            )
        return disks

    def _job(self, monitor: Monitor, command: str, arguments: Mapping[str, object]) -> None:
        job_id = f"doorwatch-{secrets.token_hex(4)}"
        monitor.ask(command, {"job-id": job_id, **arguments})
        deadline = time.monotonic() + SNAPSHOT_SECONDS
        while True:
            jobs = [
                job for job in monitor.ask_for(list[_Job], "query-jobs", seconds=SNAPSHOT_SECONDS) if job.id == job_id
            ]
            if not jobs or jobs[0].status == "concluded":
                break
            if time.monotonic() > deadline:
                raise DoorwatchError(f"{self.name}: {command} has not ended in {SNAPSHOT_SECONDS:g} s")
            time.sleep(_POLL_SECONDS)  # as in dump_memory
        monitor.ask("job-dismiss", {"id": job_id})
        if jobs and jobs[0].error:
            raise DoorwatchError(f"{self.name}: {command} failed: {jobs[0].error}: look whether it runs")


class _QmpStillness(Stillness):
    """Stands still for a look: the connection is kept, so that no other client can come between stop and cont."""

    def __init__(self, socket: Path, timeout: float) -> None:
        self._socket = socket
        self._timeout = timeout
        self._monitor: Monitor | None = None
        self._lifeline: Lifeline | None = None

    def pause(self) -> None:
        monitor = Monitor(self._socket, self._timeout).__enter__()
        try:
            if _state(monitor) is GuestState.RUNNING:
                self._lifeline = Lifeline.of(monitor.descriptor())
                self.stopped_at = perf_counter()
                monitor.stop()
        except BaseException:
            self._let_go()
            monitor.close()
            raise
        self._monitor = monitor

    def standing(self) -> Standing | None:
        return None if self._monitor is None else standing(self._monitor)

    def resume(self) -> None:
        monitor, self._monitor = self._monitor, None
        if monitor is None:
            return
        try:
            if self._lifeline is not None:
                monitor.ask("cont")
        finally:
            self._let_go()
            monitor.close()

    def _let_go(self) -> None:
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            lifeline.let_go()


def standing(monitor: Monitor) -> Standing:
    """How the guest stands at the other end of a conversation."""
    return Standing(
        _state(monitor),
        Incarnation((monitor.peer, start_time(monitor.peer))),
        tuple(
            PageTables(int(cr3, 16) & _FRAME, bool(int(cr4, 16) & _LA57))
            for cr0, cr3, cr4 in _REGISTERS.findall(monitor.tell("info registers -a"))
            if int(cr0, 16) & _PAGING
        ),
    )


def _names(disk: _Disk) -> set[str]:
    return {snapshot.name for snapshot in disk.image.snapshots}


def _state(monitor: Monitor) -> GuestState:
    answer = monitor.ask_for(_Status, "query-status")
    if answer.running:
        return GuestState.RUNNING
    return GuestState.OFF if answer.status in _OFF else GuestState.PAUSED


def _ram(monitor: Monitor, guest: str) -> Ram:
    memdevs = monitor.ask_for(list[_Memdev], "query-memdev")
    tree = monitor.tell("info mtree -f")
    main = monitor.object_property("/machine", "memory-backend") or "pc.ram"
    backend = main.rpartition("/")[2]
    shared = next((memdev.share for memdev in memdevs if memdev.id == backend), None)
    if shared is None:
        raise DoorwatchError(f"{guest}: its RAM is in {len(memdevs)} pieces (NUMA), which cannot be read: {ADVICE}")
    path = f"/objects/{backend}"
    named = monitor.object_property(path, "type") == "memory-backend-file"
    file = Path(monitor.object_property(path, "mem-path")) if named else None
    pid = monitor.peer if is_qemu(monitor.peer) else 0
    return Ram(guest, from_mtree(tree, backend), shared, file, pid, ADVICE)
