"""A real guest, looked at from outside and, by the product's own sensors, from inside."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from drgn import Program

from beat_bridge.detectors import detect
from beat_bridge.detectors.cross_view import Comparison, compare, confirm, reportable, single
from beat_bridge.model.base import Verdict, Viewpoint
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.model.findings import Finding, FindingKind, Standing
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.kernel import BpfLink, BpfMap, BpfProgram
from beat_bridge.model.processes import Executable
from beat_bridge.sensors.hypervisor.kernel.namespaces import for_each_net
from beat_bridge.sensors.hypervisor.kernel.program import open_program, view
from beat_bridge.sensors.hypervisor.kernel.records import offset_of
from beat_bridge.sensors.hypervisor.kernel.sockets import packet_sockets
from beat_bridge.sensors.hypervisor.kernel.tasks import tasks_in_list
from beat_bridge.sensors.hypervisor.looking import Introspection
from beat_bridge.sensors.hypervisor.memory.layout import q35
from beat_bridge.sensors.hypervisor.memory.ram_file import RamFile
from beat_bridge.sensors.hypervisor.symbols.profile import load_profile
from tests.lab.guest import Guest, plants, product
from tests.lab.guest.fixtures import bookworm, trixie
from tests.lab.guest.monitor import paused
from tests.lab.guest.outside import Outside

__all__ = ["bookworm", "trixie"]
pytestmark = pytest.mark.guest


class Sides(NamedTuple):
    """A guest, and a look at it from either side."""

    guest: Guest
    introspection: Introspection
    prog: Program
    """Knows where things lie."""

    def outside(self) -> Inventory:
        """While it runs."""
        return self.introspection.look()

    def still(self) -> Inventory:
        """While it stands still."""
        with paused(self.guest.monitor_path):
            return self.introspection.look()

    def compared(self, *, hidden: tuple[int, ...] = ()) -> Comparison:
        """Outside, inside, outside."""
        before = self.outside()
        inside = product.look(self.guest, hidden=hidden)
        return compare(before, inside, self.outside())


@pytest.fixture(scope="module")
def sides(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """The guest whose Python is this one; no other is booted."""
    release = next(filter(product.fits, product.PYTHONS), None)
    if release is None:
        pytest.skip("no guest has this interpreter's version, which the sensors' compiled library needs")
    fitting: Guest = request.getfixturevalue(release)
    product.install(fitting)
    with contextlib.closing(RamFile(Path(fitting.ram_file), q35(fitting.memory))) as memory:
        profile = load_profile(fitting.kernel_image, memory, tmp_path_factory.mktemp("profiles"))
        yield Sides(fitting, Introspection(memory, profile), open_program(memory, profile))


def _kinds(findings: tuple[Finding, ...]) -> list[tuple[FindingKind, str]]:
    return [(finding.kind, finding.subject) for finding in findings]


def _candidates(seen: Inventory) -> tuple[Finding, ...]:
    return tuple(finding for finding in detect(seen) if finding.standing is Standing.CANDIDATE)


def test_both_sides_of_a_quiet_guest_agree(sides: Sides) -> None:
    """Processes, sockets, modules and eBPF objects are compared to the last, and nothing differs."""
    with plants.program(sides.guest, "raw_socket"), plants.program(sides.guest, "network_program"):
        told = sides.compared()
        seen = sides.outside()
    assert [finding.explanation for finding in told.findings] == []
    assert told.coverage.detail == ""
    assert told.coverage.status is CoverageStatus.COMPLETE
    assert told.coverage.examined >= len(seen.modules) + len(seen.bpf_programs) + len(seen.bpf_maps) + 20


def test_modules_and_bpf_objects_are_the_same_from_both_sides(sides: Sides) -> None:
    """Names and instances of modules, and ids, tags, types and links of eBPF objects, agree to the letter."""
    with plants.program(sides.guest, "network_program"):
        inside, seen = product.look(sides.guest), sides.outside()
    assert {(each.name, each.instance, each.state) for each in inside.modules} == {
        (each.name, each.instance, each.state) for each in seen.modules
    }
    assert all(each.instance for each in seen.modules)
    assert {_plain(each) for each in seen.bpf_programs} == set(inside.bpf_programs)
    assert {_plain(each) for each in seen.bpf_maps} == set(inside.bpf_maps)
    assert {_plain(each) for each in seen.bpf_links} == set(inside.bpf_links)
    assert inside.bpf_links


def _plain(thing: BpfProgram | BpfMap | BpfLink) -> BpfProgram | BpfMap | BpfLink:
    return msgspec.structs.replace(thing, seen_by=())


@pytest.mark.parametrize("program", ["bustle", "crowd"])
def test_a_busy_guest_gives_no_report(sides: Sides, program: str) -> None:
    """While processes and sockets come and go without end, no look and no comparison reports anything."""
    arguments = ("100",) if program == "crowd" else ()
    with contextlib.ExitStack() as stack:
        for _ in range(2 if program == "bustle" else 1):
            stack.enter_context(plants.program(sides.guest, program, *arguments))
        for _ in range(2):
            told = sides.compared()
            assert [finding.explanation for finding in told.findings] == []
            assert told.coverage.examined > 20
        for _ in range(10):
            candidates = _candidates(sides.outside())
            assert reportable(candidates) == ()
            assert confirm(candidates, sides.still()) == ()


def test_a_process_taken_from_the_task_list_is_confirmed(sides: Sides) -> None:
    """Out of the list and in the table: a candidate in each look, malicious once the guest stood still."""
    with (
        plants.program(sides.guest, "raw_socket") as planted,
        Outside(sides.guest) as ram,
        ram.unlinked_task(planted.pid),
    ):
        candidates = _candidates(sides.outside())
        (found,) = confirm(candidates, sides.still())
        assert confirm(candidates, sides.still()) == (found,)
    assert found.process is not None
    assert (found.kind, found.process.pid) == (FindingKind.HIDDEN_PROCESS, planted.pid)
    assert (found.verdict, found.standing) == (Verdict.MALICIOUS, Standing.CONFIRMED)
    assert "it is not in the list of tasks" in found.reasons
    assert confirm(candidates, sides.still()) == ()


def test_a_module_taken_from_the_list_is_hidden_from_the_inside_too(sides: Sides) -> None:
    """A module out of the list of modules is told by the lists outside; inside, /sys/module still shows it."""
    with (
        plants.module(sides.guest),
        Outside(sides.guest) as ram,
        ram.unlinked_module(plants.KPROBE_MODULE),
    ):
        (found,) = confirm(_candidates(sides.outside()), sides.still())
        inside = product.look(sides.guest)
    assert (found.kind, found.subject) == (FindingKind.HIDDEN_MODULE, f"module:{plants.KPROBE_MODULE}")
    assert "it is not in the list of modules" in found.reasons
    (module,) = (each for each in inside.modules if each.name == plants.KPROBE_MODULE)
    assert module.seen_by == ("sys_module",)


@pytest.fixture
def hiding(sides: Sides) -> Iterator[Callable[[], tuple[int, Comparison]]]:
    """A process that the guest's libc keeps from whoever lists processes; a comparison of the sides meanwhile."""
    with plants.program(sides.guest, "raw_socket") as planted:
        yield lambda: (planted.pid, sides.compared(hidden=(planted.pid,)))


def test_a_process_hidden_from_the_inside_is_told(sides: Sides, hiding: Callable[[], tuple[int, Comparison]]) -> None:
    """What both looks outside show and the one inside does not is suspicious, and malicious after a pause."""
    pid, told = hiding()
    (found,) = told.findings
    assert found.process is not None
    assert (found.kind, found.process.pid) == (FindingKind.HIDDEN_PROCESS, pid)
    assert (found.viewpoint, found.missing_from) == (Viewpoint.HYPERVISOR, (Viewpoint.HOST,))
    assert (found.verdict, found.standing) == (Verdict.SUSPICIOUS, Standing.SAMPLED)
    (confirmed,) = confirm(told.findings, sides.still())
    assert confirmed.verdict is Verdict.MALICIOUS


def test_one_look_from_inside_and_an_image_are_enough(sides: Sides) -> None:
    """A process that began before the look inside and is in a later image was there; sockets are left undecided."""
    with plants.program(sides.guest, "raw_socket") as planted:
        sides.guest.check("sleep", "3")  # start times count in seconds
        inside = product.look(sides.guest, hidden=(planted.pid,))
        told = single(inside, sides.still())
    (found,) = told.findings
    assert found.process is not None
    assert found.process.pid == planted.pid


def test_a_parked_socket_is_in_both_views(sides: Sides) -> None:
    """A socket with no descriptor is hidden from nobody's list: it is no difference, and coverage says what is odd."""
    with plants.program(sides.guest, "parked_socket") as planted:
        told = sides.compared()
        inside = product.look(sides.guest)
    assert [finding.explanation for finding in told.findings] == []
    assert planted.facts["inode"] in {each.inode for each in inside.sockets}


def test_a_process_taken_from_the_pid_table_is_hidden_from_the_inside(sides: Sides) -> None:
    """Where kill(2) and /proc look it is no more: its lists disagree, and the view from inside lacks it."""
    with (
        plants.program(sides.guest, "raw_socket") as planted,
        Outside(sides.guest) as ram,
        ram.unnumbered_task(planted.pid),
    ):
        (listed,) = confirm(_candidates(sides.outside()), sides.still())
        told = sides.compared()
        (compared,) = confirm(told.findings, sides.still())
    assert listed.process is not None
    assert (listed.kind, listed.process.pid) == (FindingKind.HIDDEN_PROCESS, planted.pid)
    assert "it is not in the table of process ids" in listed.reasons
    assert (compared.kind, compared.subject, compared.verdict) == (listed.kind, listed.subject, Verdict.MALICIOUS)
    assert compared.missing_from == (Viewpoint.HOST,)


def test_a_process_whose_first_thread_has_ended_is_no_zombie(sides: Sides) -> None:
    """What goes on in another thread is described by that thread, from either side, and cannot hide as a zombie."""
    with plants.program(sides.guest, "headless") as planted:
        agreed = sides.compared()
        told = sides.compared(hidden=(planted.pid,))
    assert [finding.explanation for finding in agreed.findings] == []
    (found,) = told.findings
    assert found.process is not None
    assert found.process.pid == planted.pid
    assert isinstance(found.process.executable, Executable)
    assert "python3" in found.process.executable.path


@pytest.mark.parametrize(
    ("table", "fact", "subject"), [("prog_idr", "program", "bpf_program"), ("map_idr", "map", "bpf_map")]
)
def test_a_bpf_object_cut_from_its_table_is_told(sides: Sides, table: str, fact: str, subject: str) -> None:
    """In use and not in its table: malicious after a pause, missing inside too, and no gap in what was looked at."""
    layout = {
        "xa_head": offset_of(sides.prog, "struct idr", "idr_rt.xa_head"),
        **{name: offset_of(sides.prog, "struct xa_node", name) for name in ("slots", "count")},
    }
    with plants.program(sides.guest, "ebpf_socket"), plants.program(sides.guest, "network_program") as planted:
        number = planted.facts[fact]
        with Outside(sides.guest) as ram, ram.unnumbered(table, number, layout):
            seen = sides.outside()
            (found,) = confirm(_candidates(seen), sides.still())
            told = sides.compared()
            listed = sides.guest.run(["bpftool", "prog" if fact == "program" else "map", "show", "id", str(number)])
        assert confirm(_candidates(sides.outside()), sides.still()) == ()
    assert listed.code != 0
    assert (found.kind, found.subject) == (FindingKind.BPF_OBJECT_MISMATCH, f"{subject}:{number}")
    assert (found.verdict, found.standing) == (Verdict.MALICIOUS, Standing.CONFIRMED)
    (coverage,) = (each for each in seen.coverage if each.sensor == "bpf_objects")
    assert (coverage.status, coverage.missed) == (CoverageStatus.COMPLETE, 0)
    assert (found.kind, found.subject) in _kinds(told.findings)


@pytest.mark.parametrize("program", ["ebpf_socket", "parked_socket"])
def test_a_packet_socket_cut_from_its_list_is_told(sides: Sides, program: str) -> None:
    """Out of its namespace's list, held or held by nobody: malicious after a pause, and missing inside."""
    node = offset_of(sides.prog, "struct sock", "__sk_common.skc_node")
    with plants.program(sides.guest, program) as planted, Outside(sides.guest) as ram:
        view(sides.prog).again()
        ((net, _),) = for_each_net(sides.prog)
        *_, sock = packet_sockets(sides.prog, net)
        head = net + offset_of(sides.prog, "struct net", "packet.sklist")
        with ram.unlisted(head, sock + node):
            seen = sides.outside()
            (found,) = confirm(_candidates(seen), sides.still())
            told = sides.compared()
        assert confirm(_candidates(sides.outside()), sides.still()) == ()
    assert (found.kind, found.subject) == (FindingKind.HIDDEN_SOCKET, f"socket:{planted.facts['inode']}")
    assert (found.verdict, found.standing) == (Verdict.MALICIOUS, Standing.CONFIRMED)
    assert "it is not in its namespace's list of packet sockets" in found.reasons
    assert (found.kind, found.subject) in _kinds(told.findings) or program == "ebpf_socket"


def test_a_process_that_says_it_is_beginning_is_a_gap_and_no_finding(sides: Sides) -> None:
    """In one list and in the middle of fork by its own word: never told, even under pause, and never complete."""
    state, tgid = (offset_of(sides.prog, "struct task_struct", name) for name in ("__state", "tgid"))
    with (
        plants.program(sides.guest, "raw_socket") as planted,
        Outside(sides.guest) as ram,
        ram.unnumbered_task(planted.pid),
    ):
        view(sides.prog).again()
        (task,) = (each for each in tasks_in_list(sides.prog) if sides.prog.read_u32(each + tgid) == planted.pid)
        with ram.still({task + state: (0x0800).to_bytes(4, "little")}):
            seen = sides.introspection.look()
        (listed,) = confirm(_candidates(sides.outside()), sides.still())
    assert listed.process is not None
    assert listed.process.pid == planted.pid
    assert _candidates(seen) == ()
    assert seen.by_pid()[planted.pid].state == "beginning"
    (gap,) = (each for each in seen.coverage if each.sensor == "processes")
    assert (gap.status, gap.listed) == (CoverageStatus.PARTIAL, True)
    assert f"process {planted.pid}: it says that it is beginning" in gap.detail


def test_two_system_calls_that_changed_places_are_told(sides: Sides) -> None:
    """Each leads to a system call's own function, and to no other's, and the table in the kernel's image tells both."""
    numbers = (167, 168)  # swapon, swapoff
    with Outside(sides.guest) as ram:
        first, second = (ram.symbols["sys_call_table"] + 8 * each for each in numbers)
        changes = {first: ram.read(second, 8), second: ram.read(first, 8)}
        with ram.still(changes):
            found = detect(sides.introspection.look())
    told = {each.subject for each in found if each.kind is FindingKind.KERNEL_HOOK_DRIFT}
    assert {f"hook:syscall_table:sys_call_table[{number}]" for number in numbers} <= told
