"""Modules, BPF objects and hooks seen from outside, beside what the guest's own tools list."""

import json
from typing import Any

import msgspec
import pytest

from beat_bridge.model.inventory import Inventory
from beat_bridge.model.kernel import Hook
from beat_bridge.sensors.hypervisor.kernel.program import symbol, view
from beat_bridge.sensors.hypervisor.kernel.tracing import kprobes
from tests.beat_bridge.sensors.hypervisor.kernel.conftest import Watched
from tests.lab.guest import plants

pytestmark = pytest.mark.guest


def _bpftool(watched: Watched, kind: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(watched.guest.check("bpftool", "-j", kind, "list"))
    return listed


def _drift(seen: Inventory) -> list[Hook]:
    return [hook for hook in seen.hooks if hook.actual != hook.expected and not hook.explained]


def test_modules_are_those_of_proc_modules(watched: Watched) -> None:
    """Names, states and code addresses agree with /proc/modules and /sys/module, and all three lists show each."""
    told = {row.split()[0]: row.split() for row in watched.guest.check("cat", "/proc/modules").splitlines()}
    seen = {module.name: module for module in watched.whole_look("modules").modules}
    assert seen.keys() == told.keys()
    for name, module in seen.items():
        assert module.state == told[name][4].lower()
        assert module.text_address == int(watched.guest.check("cat", f"/sys/module/{name}/sections/.text"), 16)
        assert module.seen_by == ("module_kset", "module_list", "module_tree")


def test_bpf_objects_are_those_of_bpftool(watched: Watched) -> None:
    """Ids, names, types, tags and maps of programs, maps and links agree with bpftool."""
    with plants.program(watched.guest, "ebpf_socket"), plants.program(watched.guest, "network_program"):
        seen = watched.whole_look("bpf_objects")
        programs, maps, links = (_bpftool(watched, kind) for kind in ("prog", "map", "link"))
    assert {(each.id, each.name, each.type, each.tag, each.map_ids) for each in seen.bpf_programs} == {
        (each["id"], each.get("name", ""), each["type"], each["tag"], tuple(sorted(each.get("map_ids", ()))))
        for each in programs
    }
    assert {(each.id, each.name, each.type) for each in seen.bpf_maps} == {
        (each["id"], each.get("name", ""), each["type"]) for each in maps
    }
    assert {(each.id, each.type, each.program_id) for each in seen.bpf_links} == {
        (each["id"], each["type"], each["prog_id"]) for each in links
    }
    assert len(seen.bpf_programs) >= 2
    assert seen.bpf_links


def test_an_untouched_kernel_drifts_nowhere(watched: Watched) -> None:
    """Every system call, interrupt, security hook and /proc/net function leads where it should, and all were asked."""
    seen = watched.whole_look("kernel_hooks")
    (coverage,) = (each for each in seen.coverage if each.sensor == "kernel_hooks")
    assert _drift(seen) == []
    assert coverage.examined > 900
    (dispatch,) = (hook for hook in seen.hooks if hook.surface == "syscall_dispatch")
    assert dispatch.actual == "x64_sys_call"


def test_a_probe_on_bpf_is_found_with_its_owner(watched: Watched) -> None:
    """A module's kprobe is told with the probed function and the module, as debugfs lists it."""
    with plants.module(watched.guest):
        found = _drift(watched.look())
        listed = watched.guest.check("cat", "/sys/kernel/debug/kprobes/list").splitlines()
        probes = [probe.address for probe in kprobes(watched.prog)]
    (hook,) = found
    assert (hook.surface, hook.owner) == ("kprobe", plants.KPROBE_MODULE)
    (line,) = (line for line in listed if "bpf" in line)
    assert hook.symbol.partition("+")[0] == line.split()[2].partition("+")[0]
    assert probes == [int(line.split()[0], 16)]
    assert _drift(watched.look()) == []


def test_a_netfilter_program_is_among_the_hooks(watched: Watched) -> None:
    """A BPF program on a netfilter hook shows as a function of the kernel's that runs it; older kernels have XDP."""
    before = {hook.symbol for hook in watched.look().hooks if hook.surface == "netfilter"}
    with plants.program(watched.guest, "network_program") as planted:
        hooks = [hook for hook in watched.look().hooks if hook.surface == "netfilter"]
        new = [hook for hook in hooks if hook.symbol not in before]
    if planted.facts["kind"] == "netfilter":
        (hook,) = new
        assert hook.actual == "nf_hook_run_bpf"
    else:
        assert new == []


def test_a_table_of_nftables_is_among_the_hooks(watched: Watched) -> None:
    """A chain of nftables shows at its place, owned by the module that brings it."""
    watched.guest.check("nft", "add table inet lab; add chain inet lab c { type filter hook input priority 0; }")
    try:
        hooks = {hook.symbol: hook for hook in watched.look().hooks if hook.surface == "netfilter"}
    finally:
        watched.guest.check("nft", "delete table inet lab")
    inputs = [hook for name, hook in hooks.items() if " ipv4 input " in name]
    assert [hook.owner for hook in inputs] == ["nf_tables"]
    assert all(hook.actual == hook.expected for hook in inputs)


def test_an_inventory_from_outside_travels(watched: Watched) -> None:
    """What was seen survives encoding and decoding unchanged."""
    seen = watched.look()
    assert msgspec.json.decode(msgspec.json.encode(seen), type=Inventory) == seen


def test_kernel_memory_reads_as_proc_kcore_would(watched: Watched) -> None:
    """The banner at its symbol is /proc/version's text: translation and symbols agree with the guest."""
    raw = view(watched.prog).read(symbol(watched.prog, "linux_banner"), 64)
    assert watched.guest.get("/proc/version").startswith(raw[:50])
