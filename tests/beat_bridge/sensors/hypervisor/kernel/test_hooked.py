"""Every place through which control passes, made to lead elsewhere, is told with where it leads and whose that is.

Modules make some of them lead elsewhere; the others are changed from outside, in a guest that stands still.
"""

import re
import struct
from collections.abc import Iterator

import pytest

from beat_bridge.model.kernel import Hook
from beat_bridge.sensors.hypervisor.kernel.seq_operations import SHOWN_BY
from tests.beat_bridge.sensors.hypervisor.kernel.conftest import Watched
from tests.lab.guest import plants
from tests.lab.guest.outside import Outside

pytestmark = pytest.mark.guest
_POINTER = struct.Struct("<Q")
_MEMBERS = ("start", "stop", "next", "show")


def _hooks(watched: Watched, *surfaces: str) -> list[Hook]:
    return [hook for hook in watched.whole_look("kernel_hooks").hooks if hook.surface in surfaces]


def _drift(watched: Watched, surface: str) -> dict[str, Hook]:
    drifting = (hook for hook in _hooks(watched, surface) if hook.actual != hook.expected and not hook.explained)
    return {hook.symbol: hook for hook in drifting}


def test_a_modules_tracer_is_found_with_its_owner(watched: Watched) -> None:
    """An ftrace hook that a module registers is told as that module's, as the guest's own tracefs lists it."""
    before = _hooks(watched, "ftrace")
    with plants.module(watched.guest, plants.FTRACE_MODULE):
        found = [hook for hook in _hooks(watched, "ftrace") if hook not in before]
        listed = watched.guest.check("cat", "/sys/kernel/tracing/enabled_functions")
    (hook,) = found
    assert (hook.owner, hook.explained) == (plants.FTRACE_MODULE, False)
    assert hook.actual.startswith(f"{plants.FTRACE_MODULE}+0x")
    assert re.search(r"^__x64_sys_swapoff \(1\)", listed, re.MULTILINE)
    assert _hooks(watched, "ftrace") == before


def test_a_live_patch_is_found(watched: Watched) -> None:
    """A live patch is told by its module, as /sys/kernel/livepatch shows it, until it is taken away."""
    assert _hooks(watched, "livepatch") == []
    with plants.module(watched.guest, plants.LIVEPATCH_MODULE):
        (hook,) = _hooks(watched, "livepatch")
        handlers = [hook.actual for hook in _hooks(watched, "ftrace") if hook.explained]
        listed = watched.guest.check("ls", "/sys/kernel/livepatch").split()
    assert [hook.owner] == listed == [plants.LIVEPATCH_MODULE]
    assert not hook.explained
    assert "klp_ftrace_handler" in handlers
    assert _hooks(watched, "livepatch") == []


def test_a_modules_netfilter_hook_is_found_with_its_owner(watched: Watched) -> None:
    """A function of a module's that sees packets is told at its place, and it really counts them."""
    with plants.module(watched.guest, plants.NETFILTER_MODULE) as parameters:
        hooks = [hook for hook in _hooks(watched, "netfilter") if hook.owner == plants.NETFILTER_MODULE]
        watched.guest.check("python3", "-S", "-c", _SEND)
        counted = int(watched.guest.get(f"/sys/module/{plants.NETFILTER_MODULE}/parameters/packets"))
    (hook,) = hooks
    assert re.fullmatch(r"net:\[\d+\] ipv4 prerouting \d+", hook.symbol)
    assert hook.actual == hook.expected
    assert counted > parameters["packets"]


def test_netfilter_at_a_device_is_found(watched: Watched) -> None:
    """A chain at an interface's ingress is told by the interface."""
    chain = "type filter hook ingress device lo priority 0;"
    watched.guest.check("nft", f"add table netdev lab; add chain netdev lab c {{ {chain} }}")
    try:
        hooks = _hooks(watched, "netfilter")
    finally:
        watched.guest.check("nft", "delete table netdev lab")
    (hook,) = (hook for hook in hooks if " lo ingress " in hook.symbol)
    assert hook.owner == "nf_tables"


def test_a_netfilter_function_that_was_never_registered_is_found(watched: Watched) -> None:
    """A hook whose function was changed behind netfilter's back is told with the one that was registered there."""
    with plants.module(watched.guest, plants.NETFILTER_MODULE), Outside(watched.guest) as outside:
        words = list(_words(outside.read(outside.symbols["init_net"], 4096)))
        called = _text_of(watched, plants.NETFILTER_MODULE)
        # struct nf_hook_entries: a count, then (function, private) pairs; the module is the only one there
        (place,) = {word + 8 for word in words if word >> 48 == 0xFFFF and _reads(outside, word + 8) in called}
        with outside.still({place: _POINTER.pack(outside.symbols["init_task"])}):
            found = _drift(watched, "netfilter")
    (hook,) = found.values()
    assert hook.owner == ""
    assert hook.expected.startswith(f"{plants.NETFILTER_MODULE}+0x")
    assert hook.expected.endswith("as registered")


def test_every_function_behind_proc_net_is_checked(watched: Watched) -> None:
    """Each operation of each table (tcp, udp, raw, packet, unix) is told where it leads to data, or to another's."""
    with Outside(watched.guest) as outside:
        tables = [name for name in SHOWN_BY if name in outside.symbols]
        nowhere, another = (_POINTER.pack(outside.symbols[name]) for name in ("init_task", "__x64_sys_getppid"))
        for target, owner in ((nowhere, ""), (another, "kernel")):
            with outside.still({outside.symbols[name]: target * len(_MEMBERS) for name in tables}):
                found = _drift(watched, "seq_operations")
            assert set(found) == {f"{name}.{member}" for name in tables for member in _MEMBERS}
            assert {hook.owner for hook in found.values()} == {owner}
        assert {"tcp4_seq_ops", "tcp6_seq_ops", "udp_seq_ops", "udp6_seq_ops"} <= set(tables)
    assert _drift(watched, "seq_operations") == {}


@pytest.mark.parametrize("vector", [1, 14, 128, 236])
def test_a_changed_interrupt_gate_is_found(watched: Watched, vector: int) -> None:
    """A gate that leads out of the kernel's entry code, to data or to a function, is told with its vector."""
    with Outside(watched.guest) as outside:
        gate = outside.symbols["idt_table"] + 16 * vector
        low, selector, bits, middle, high, reserved = struct.unpack("<HHHHII", outside.read(gate, 16))
        assert bits >> 15
        assert outside.symbols["_text"] <= low | middle << 16 | high << 32 < outside.symbols["_end"]
        for name, owner in (("init_task", ""), ("__x64_sys_getppid", "kernel")):
            to = outside.symbols[name]
            parts = (to & 0xFFFF, selector, bits, to >> 16 & 0xFFFF, to >> 32, reserved)
            with outside.still({gate: struct.pack("<HHHHII", *parts)}):
                found = _drift(watched, "idt")
            (hook,) = found.values()
            assert (hook.symbol, hook.owner) == (f"idt_table[{vector}]", owner)
    assert _drift(watched, "idt") == {}


def test_a_changed_security_hook_is_found(watched: Watched) -> None:
    """A hook of the capability module that leads to data is told by its name."""
    with Outside(watched.guest) as outside:
        registered = outside.symbols["capability_hooks"]
        wanted = outside.symbols["cap_capable"]
        words = list(_words(outside.read(registered, 2048)))
        place = registered + 8 * words.index(wanted)
        with outside.still({place: _POINTER.pack(outside.symbols["init_task"])}):
            found = _drift(watched, "lsm")
    (hook,) = found.values()
    assert re.fullmatch(r"capable \d+", hook.symbol)
    assert hook.owner == ""
    assert _drift(watched, "lsm") == {}


def _words(data: bytes) -> Iterator[int]:
    return (word for (word,) in _POINTER.iter_unpack(data))


def _reads(outside: Outside, address: int) -> int:
    try:
        return outside.read_word(address)
    except (AssertionError, IndexError):
        return 0


def _text_of(watched: Watched, module: str) -> range:
    start = int(watched.guest.check("cat", f"/sys/module/{module}/sections/.text"), 16)
    return range(start, start + 4096)


_SEND = """
import socket
near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
near.bind(("127.0.0.1", 0))
near.sendto(b"-", near.getsockname())
near.recv(1)
"""
