"""What is planted in a guest is there, as the guest's own kernel and tools say, and is gone afterwards."""

import json
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from doorwatch.demo.emulator import DIRECTORY, FALSE_NAME, FILE_NAME, FILTER
from tests.lab.guest import Guest, GuestError, plants
from tests.lab.guest.fixtures import guest
from tests.lab.guest.outside import UNUSED_SYSCALL, Change, Outside

__all__ = ["guest"]
pytestmark = pytest.mark.guest

_READ_KCORE = """
import struct, sys
address, size = map(int, sys.argv[1:])
with open("/proc/kcore", "rb") as core:
    count = struct.unpack_from("<H", core.read(64), 56)[0]
    for _ in range(count):
        kind, _, offset, virtual, _, length, _, _ = struct.unpack("<IIQQQQQQ", core.read(56))
        if kind == 1 and virtual <= address < virtual + length:
            core.seek(offset + address - virtual)
            print(core.read(size).hex())
            break
"""


def _seen_inside(guest: Guest, address: int, size: int) -> bytes:
    """Kernel memory as the guest's own kernel gives it."""
    return bytes.fromhex(guest.check("python3", "-S", "-c", _READ_KCORE, str(address), str(size)))


def _inodes(guest: Guest, table: str) -> set[int]:
    """The sockets that a table under /proc/net lists."""
    header, *rows = (line.split() for line in guest.get(f"/proc/net/{table}").decode().splitlines())
    column = header.index("Inode") if table == "packet" else 9
    return {int(row[column]) for row in rows}


def _held(guest: Guest) -> set[int]:
    """The sockets that any process has a descriptor of."""
    links = guest.run(["sh", "-c", "readlink /proc/[0-9]*/fd/*"]).out.decode().split()
    return {int(link[8:-1]) for link in links if link.startswith("socket:[")}


def test_the_emulator_is_in_place(guest: Guest) -> None:
    """It runs from a deleted file in shared memory under a false name and holds a packet socket with its filter."""
    with plants.emulator(guest) as planted:
        assert guest.check("readlink", f"/proc/{planted.pid}/exe") == f"{DIRECTORY}/{FILE_NAME} (deleted)\n"
        assert guest.get(f"/proc/{planted.pid}/comm").decode() == f"{FALSE_NAME}\n"
        assert planted.facts["inode"] in _inodes(guest, "packet") & _held(guest)
        assert f"bpf filter ({len(FILTER)}):" in guest.check("ss", "-0", "-b")
    assert planted.facts["inode"] not in _inodes(guest, "packet")
    assert guest.run(["test", "-e", f"/proc/{planted.pid}"]).code == 1


def test_the_raw_socket_is_in_place(guest: Guest) -> None:
    """It is an IPv4 raw socket that its process holds."""
    with plants.program(guest, "raw_socket") as planted:
        assert planted.facts["inode"] in _inodes(guest, "raw") & _held(guest)


def test_the_parked_socket_is_nobodys(guest: Guest) -> None:
    """The kernel lists the socket, and no process has a descriptor of it, though one has of its parking place."""
    with plants.program(guest, "parked_socket") as planted:
        assert planted.facts["inode"] in _inodes(guest, "packet")
        held = _held(guest)
        assert planted.facts["inode"] not in held
        assert planted.facts["parked_in"] in held


def test_the_ebpf_filter_is_in_place(guest: Guest) -> None:
    """The guest's bpftool shows the program with its map, and the socket is a packet socket."""
    with plants.program(guest, "ebpf_socket") as planted:
        shown = json.loads(guest.check("bpftool", "-j", "prog", "show", "id", str(planted.facts["program"])))
        assert (shown["type"], shown["name"]) == ("socket_filter", planted.facts["name"])
        assert shown["map_ids"] == [planted.facts["map"]]
        assert planted.facts["inode"] in _inodes(guest, "packet") & _held(guest)


def test_the_network_program_is_in_place(guest: Guest) -> None:
    """The guest's bpftool shows a linked program with its map: a netfilter hook where the kernel has them, else XDP."""
    with plants.program(guest, "network_program") as planted:
        links = {link["id"]: link for link in json.loads(guest.check("bpftool", "-j", "link", "show"))}
        shown = json.loads(guest.check("bpftool", "-j", "prog", "show", "id", str(planted.facts["program"])))
        assert links[planted.facts["link"]]["prog_id"] == planted.facts["program"]
        assert shown["map_ids"] == [planted.facts["map"]]
        assert shown["type"] == planted.facts["kind"] == {"bookworm": "xdp", "trixie": "netfilter"}[guest.image.release]


def test_the_kprobe_module_counts(guest: Guest) -> None:
    """The module is loaded, its probe sits on bpf(2), and it counts the calls that bpftool makes."""
    with plants.module(guest) as parameters:
        assert plants.KPROBE_MODULE in guest.get("/proc/modules").decode()
        assert "__x64_sys_bpf" in guest.get("/sys/kernel/debug/kprobes/list").decode()
        guest.check("bpftool", "prog")
        assert int(guest.get(f"/sys/module/{plants.KPROBE_MODULE}/parameters/calls")) > parameters["calls"]
    assert plants.KPROBE_MODULE not in guest.get("/proc/modules").decode()


@pytest.mark.parametrize("make", [Outside.changed_syscall, Outside.changed_text])
def test_changes_from_outside_are_seen_inside(
    guest: Guest, make: Callable[[Outside], AbstractContextManager[Change]]
) -> None:
    """The guest's own /proc/kcore shows the bytes written from outside, and afterwards the old ones."""
    with Outside(guest) as outside:
        with make(outside) as change:
            assert change.before != change.after
            assert _seen_inside(guest, change.address, len(change.after)) == change.after
        assert _seen_inside(guest, change.address, len(change.after)) == change.before


def test_a_changed_table_entry_leads_nowhere(guest: Guest) -> None:
    """Both kernels dispatch through `x64_sys_call`, so that the changed entry of `sys_call_table` is inert."""
    call = f"import ctypes; print(ctypes.CDLL(None).syscall({UNUSED_SYSCALL}))"
    with Outside(guest) as outside, outside.changed_syscall():
        assert "x64_sys_call" in outside.symbols
        assert guest.check("python3", "-S", "-c", call) == "-1\n"


def test_an_unlinked_task_is_hidden_and_lives(guest: Guest) -> None:
    """A process out of the list is not among the tasks the kernel lists, runs on, and is listed again afterwards."""
    with plants.program(guest, "raw_socket") as planted, Outside(guest) as outside:
        assert planted.pid in _listed(guest)
        with outside.unlinked_task(planted.pid) as task:
            assert planted.pid not in _listed(guest)
            assert guest.get(f"/proc/{planted.pid}/stat")
            assert b"python3\0" in outside.read(task, 8192)
        assert planted.pid in _listed(guest)


def test_an_unlinked_module_is_hidden_and_works(guest: Guest) -> None:
    """A module out of the list is not in /proc/modules; its kobject is in /sys, and its probe goes on counting."""
    calls = f"/sys/module/{plants.KPROBE_MODULE}/parameters/calls"
    with plants.module(guest), Outside(guest) as outside:
        with outside.unlinked_module(plants.KPROBE_MODULE) as module:
            assert plants.KPROBE_MODULE not in guest.get("/proc/modules").decode()
            before = int(guest.get(calls))
            guest.check("bpftool", "prog")
            assert int(guest.get(calls)) > before
            assert plants.KPROBE_MODULE.encode() in outside.read(module, 256)
        assert plants.KPROBE_MODULE in guest.get("/proc/modules").decode()


def test_what_is_not_there_cannot_be_unlinked(guest: Guest) -> None:
    """A module that is not loaded is an error, and the list is as it was."""
    before = guest.get("/proc/modules")
    with (
        Outside(guest) as outside,
        pytest.raises(GuestError, match="no_such_module"),
        outside.unlinked_module("no_such_module"),
    ):
        pass
    assert guest.get("/proc/modules") == before


def test_a_crowd_is_as_large_as_asked_for(guest: Guest) -> None:
    """As many processes as asked for sleep in the guest, and all are gone when the crowd is."""
    with plants.program(guest, "crowd", "50") as planted:
        assert len(set(planted.facts["pids"])) == 50
        assert set(planted.facts["pids"]) <= set(
            map(int, guest.check("ps", "-o", "pid=", "--ppid", str(planted.pid)).split())
        )
    assert not guest.run(["ps", "-o", "pid=", "--ppid", str(planted.pid)]).out


def test_a_busy_guest_is_busy(guest: Guest) -> None:
    """While it bustles, processes come and go that nobody asked for."""
    with plants.program(guest, "bustle"):
        before = _forks(guest)
        guest.check("sleep", "1")
        assert _forks(guest) > before + 3


def _forks(guest: Guest) -> int:
    """Processes made since boot."""
    (line,) = (line for line in guest.get("/proc/stat").decode().splitlines() if line.startswith("processes "))
    return int(line.split()[1])


def _listed(guest: Guest) -> set[int]:
    """The tasks that the kernel meets when it walks its list (SysRq-t: show_state)."""
    guest.check("sh", "-c", "dmesg --clear; echo t >/proc/sysrq-trigger")
    rows = (line.partition("task:")[2].split() for line in guest.check("dmesg").splitlines() if "task:" in line)
    return {int(field.removeprefix("pid:")) for row in rows for field in _pid_fields(row)}


def _pid_fields(row: list[str]) -> list[str]:
    joined = " ".join(row).replace("pid: ", "pid:")
    return [field for field in joined.split() if field.startswith("pid:")]


def test_a_word_is_eight_bytes_in_kernel_order(guest: Guest) -> None:
    """What is read from outside by symbol is what the guest's own kernel says lies there."""
    with Outside(guest) as outside:
        address = outside.symbols["page_offset_base"]
        assert outside.read_word(address) == struct.unpack("<Q", _seen_inside(guest, address, 8))[0]
