"""Do the lists of one kernel agree, in one look from outside?

A process is in the list of tasks and in the table of process ids; a live module in the list, under /sys/module and in
the tree of code; a packet socket in its namespace's list; an eBPF program or map that is in use in its table. What is
taken out of one of them is still in the others.

One look at a running guest may read one list before and another after a thing began: what is found here is a candidate,
which `confirm` settles. Not even a pause settles what stands in the middle of beginning or ending because its processor
was given no time. What says that of itself is no candidate; of a process it is a gap in the coverage of `processes`,
for as long as it goes on saying so.

Not asked: run queues (what sleeps is on none), the table of raw sockets (a disconnected one is in it no more), modules
that are being loaded or removed (they are put into one list after the other).
"""

from collections.abc import Iterator

from beat_bridge.detectors.cross_view.questions import (
    BPF_MAPS,
    BPF_PROGRAMS,
    MODULES,
    PROCESSES,
    SOCKETS,
    Question,
    T,
    lists_all,
)
from beat_bridge.detectors.cross_view.telling import ONE_LOOK, difference
from beat_bridge.detectors.scene import AF_PACKET, Scene
from beat_bridge.model.base import Viewpoint
from beat_bridge.model.findings import Finding, Standing
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.kernel import KernelModule
from beat_bridge.model.processes import Process
from beat_bridge.model.sockets import Socket

TASKS = frozenset({"task_list", "pid_table"})
MODULE_LISTS = frozenset({"module_list", "module_kset", "module_tree"})
PACKET_SOCKETS = frozenset({"packet_sklist"})
PROGRAM_TABLE = frozenset({"prog_idr"})
MAP_TABLE = frozenset({"map_idr"})
_WORDS = {
    "task_list": "the list of tasks",
    "pid_table": "the table of process ids",
    "run_queue": "a run queue",
    "module_list": "the list of modules",
    "module_kset": "the objects behind /sys/module",
    "module_tree": "the tree of module code",
    "packet_sklist": "its namespace's list of packet sockets",
    "raw_hashinfo": "the table of raw sockets",
    "descriptor": "a process's descriptors",
    "prog_idr": "the table of BPF programs",
    "map_idr": "the table of BPF maps",
    "in_use": "use",
}


def find(scene: Scene) -> Iterator[Finding]:
    """A candidate for each thing that a list lacks; nothing where a list could not be walked to its end."""
    seen = scene.inventory
    if seen.viewpoint is not Viewpoint.HYPERVISOR:
        return
    yield from _lacking(PROCESSES, TASKS, seen)
    yield from _lacking(SOCKETS, PACKET_SOCKETS, seen)
    yield from _lacking(MODULES, MODULE_LISTS, seen)
    yield from _lacking(BPF_PROGRAMS, PROGRAM_TABLE, seen)
    yield from _lacking(BPF_MAPS, MAP_TABLE, seen)


def _lacking(question: Question[T], lists: frozenset[str], seen: Inventory) -> Iterator[Finding]:
    if not lists_all(seen, question.sensor):
        return
    for subject, thing in question.things(seen).items():
        told = frozenset(_seen_by(thing))
        missing = sorted(lists - told)
        if told and missing and _is_settled(thing):
            showing: list[str] = [_WORDS.get(name, name) for name in sorted(told)]
            lacking: list[str] = [_WORDS.get(name, name) for name in missing]
            yield difference(
                question,
                thing,
                subject=subject,
                seen=seen,
                explanation=f"{question.named(thing)} is in {', '.join(showing)} and not in {', '.join(lacking)}, "
                "where the kernel has whatever is there.",
                reasons=[
                    *(f"it is in {name}" for name in showing),
                    *(f"it is not in {name}" for name in lacking),
                    ONE_LOOK,
                ],
                standing=Standing.CANDIDATE,
            )


def _seen_by(thing: object) -> tuple[str, ...]:
    return getattr(thing, "seen_by", ())


def _is_settled(thing: object) -> bool:
    if isinstance(thing, Process):
        return not thing.state
    if isinstance(thing, KernelModule):
        return thing.state == "live"
    return not isinstance(thing, Socket) or thing.family == AF_PACKET
