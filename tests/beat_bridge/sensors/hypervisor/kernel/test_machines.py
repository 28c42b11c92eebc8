"""Guests unlike the small one with a single processor that the other tests look at."""

import json
from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID

import pytest

from beat_bridge.sensors.hypervisor.kernel.program import open_program, view
from beat_bridge.sensors.hypervisor.looking import Introspection
from beat_bridge.sensors.hypervisor.memory.layout import q35
from beat_bridge.sensors.hypervisor.memory.libvmi_memory import Driver, LibvmiMemory
from beat_bridge.sensors.hypervisor.memory.ram_file import RamFile
from beat_bridge.sensors.hypervisor.symbols.profile import load_profile
from tests.beat_bridge.sensors.hypervisor.kernel.conftest import Watched
from tests.lab.guest import Guest, accelerator, image, plants
from tests.lab.guest.qemu import MIB

pytestmark = pytest.mark.guest
_UUID = UUID("5a1c86b5-2a4e-4d6f-9b7e-0d1f2e3c4b5a")


class Machine(NamedTuple):
    """What a guest has."""

    release: str
    memory: int
    processors: int
    five_levels: bool


@pytest.fixture(
    scope="module",
    params=[Machine("bookworm", 8192 * MIB, 4, five_levels=True), Machine("trixie", 3072 * MIB, 2, five_levels=False)],
    ids=["bookworm, 8 GiB, 4 processors, 5 levels", "trixie, 3 GiB, 2 processors"],
)
def large(request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A guest with memory above the PCI hole and several processors."""
    machine: Machine = request.param
    booted = image(machine.release)
    with Guest(
        booted,
        memory=machine.memory,
        processors=machine.processors,
        five_level_paging=machine.five_levels,
        arguments=("-uuid", str(_UUID)),
        accelerated_by=accelerator(booted),
    ) as guest:
        memory = RamFile(guest.ram_file, q35(guest.memory))
        profile = load_profile(guest.kernel_image, memory)
        prog = open_program(memory, profile)
        assert view(prog).space.levels == (5 if machine.five_levels else 4)
        yield Watched(guest, memory, profile, prog, Introspection(memory, profile))
        memory.close()


def test_a_large_guest_is_seen_whole(large: Watched) -> None:
    """Processes are those of /proc, a planted socket has its filter and holder, and no sensor has a gap."""
    with plants.program(large.guest, "raw_socket") as planted:
        told = {int(name) for name in large.guest.check("ls", "/proc").split() if name.isdigit()}
        seen = large.whole_look(
            "processes", "packet_sockets", "socket_filters", "modules", "kernel_hooks", "kernel_text"
        )
        later = {int(name) for name in large.guest.check("ls", "/proc").split() if name.isdigit()}
    assert told & later <= seen.by_pid().keys() <= told | later
    (socket,) = (each for each in seen.sockets if each.inode == planted.facts["inode"])
    assert socket.filter.program
    assert [holder.pid for holder in socket.holders] == [planted.pid]
    assert [hook for hook in seen.hooks if hook.actual != hook.expected and not hook.explained] == []


def test_every_processors_run_queue_is_walked(large: Watched) -> None:
    """Of processes that spin, one pinned to each processor, each is on a run queue."""
    with plants.program(large.guest, "spinning") as planted:
        seen = large.whole_look("processes")
    running = {process.pid for process in seen.processes if "run_queue" in process.seen_by}
    assert len(planted.facts["pids"]) == large.guest.processors
    assert set(planted.facts["pids"]) <= running


def test_a_machine_is_known_by_its_uuid(large: Watched) -> None:
    """Where nobody gives an id, the UUID that the hypervisor gave to the firmware tells one guest from another."""
    seen = large.look()
    told = large.guest.get("/sys/class/dmi/id/product_uuid").decode().strip()
    assert (seen.host.id, seen.host.name) == (str(_UUID), "guest")
    assert told == seen.host.id
    given = Introspection(large.memory, large.profile, host_id="given")
    assert given.look().host.id == "given"


def test_libvmi_sees_what_has_changed(large: Watched) -> None:
    """Through libvmi, whose page cache never expires by itself, each look sees the guest as it is by then."""
    memory = LibvmiMemory(str(large.guest.ram_file), Driver.FILE, q35(large.guest.memory))
    watched = large._replace(memory=memory, introspection=Introspection(memory, large.profile))
    before = watched.whole_look("processes")
    with plants.program(large.guest, "ebpf_socket") as planted:
        during = watched.whole_look("processes", "socket_filters", "bpf_objects")
        maps = {each["id"] for each in json.loads(large.guest.check("bpftool", "-j", "map", "list"))}
    after = watched.whole_look("processes")
    memory.close()
    assert planted.pid not in before.by_pid()
    assert planted.pid in during.by_pid()
    assert planted.facts["inode"] in {socket.inode for socket in during.sockets}
    assert {each.id for each in during.bpf_maps} == maps
    assert planted.pid not in after.by_pid()
