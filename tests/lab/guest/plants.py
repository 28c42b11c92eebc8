"""Harmless things to be found from outside, planted in a guest, with what the guest itself says of them.

Each is gone when its context is left.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from doorwatch.demo import emulator as demo
from tests.lab.guest.qemu import Guest

SOCKET_PROGRAMS = ("raw_socket", "ebpf_socket", "parked_socket")
PROGRAMS = (*SOCKET_PROGRAMS, "network_program", "crowd", "bustle", "headless", "spinning")
"""Modules of `planted`."""
FTRACE_MODULE, KPROBE_MODULE, LIVEPATCH_MODULE, NETFILTER_MODULE = (
    f"doorwatch_{what}" for what in ("ftrace", "kprobe", "livepatch", "netfilter")
)


_SYSFS = f"/sys/kernel/livepatch/{LIVEPATCH_MODULE}"
_END_LIVE_PATCH = f"echo 0 >{_SYSFS}/enabled && while test -e {_SYSFS}; do sleep 0.1; done"
"""A live patch goes when no task is in its code any more; then its directory is gone."""


class Planted(NamedTuple):
    """A process that made something."""

    pid: int
    facts: dict[str, Any]
    """What it says that it made: inode numbers, ids of BPF objects."""


@contextlib.contextmanager
def program(guest: Guest, name: str, *arguments: str) -> Iterator[Planted]:
    """One of PROGRAMS."""
    argv = ["python3", "-S", "-m", f"tests.lab.guest.planted.{name}", *arguments]
    started = guest.start(argv, environment={"PYTHONPATH": "/run/server"})
    try:
        yield Planted(started.pid, json.loads(started.out.splitlines()[0]))
    finally:
        guest.stop(started.pid)


@contextlib.contextmanager
def emulator(guest: Guest) -> Iterator[Planted]:
    """The product's own harmless imitation of BPFDoor: shared memory, a deleted file, a false name, a packet socket."""
    path = f"{demo.DIRECTORY}/{demo.FILE_NAME}"
    guest.check("cp", "/usr/bin/python3", path)
    started = guest.start(demo.FALSE_ARGV, demo.script(), executable=path, environment=demo.ENVIRONMENT)
    try:
        descriptors = guest.check("sh", "-c", f"readlink /proc/{started.pid}/fd/*").split()
        (inode,) = (int(target[8:-1]) for target in descriptors if target.startswith("socket:["))
        yield Planted(started.pid, {"inode": inode})
    finally:
        guest.stop(started.pid)


@contextlib.contextmanager
def module(guest: Guest, name: str = KPROBE_MODULE) -> Iterator[dict[str, int]]:
    """One of the modules beside this file, loaded; its parameters as they are then."""
    guest.check("modprobe", name)
    try:
        directory = f"/sys/module/{name}/parameters"
        names = guest.run(["ls", directory]).out.decode().split()
        yield {name: int(guest.get(f"{directory}/{name}")) for name in names if name != "find"}
    finally:
        if name == LIVEPATCH_MODULE:
            guest.check("sh", "-c", _END_LIVE_PATCH, timeout=120)
        guest.check("rmmod", name)
