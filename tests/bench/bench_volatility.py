"""The same questions of the same memory image: one look of ours, and Volatility3's plugins.

Volatility3 comes from PyPI into an environment of its own below `.cache`, and gets symbols made from the same BTF. Both
are asked as a responder would ask them, by their commands, and ours also as a look of a program that stays.
"""

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from beat_bridge.sensors.hypervisor.looking import Introspection
from beat_bridge.sensors.hypervisor.memory.raw_dump import RawDump
from beat_bridge.sensors.hypervisor.symbols.profile import Profile, load_profile
from tests.bench.figures import Figure, seconds
from tests.bench.isf import isf
from tests.lab.guest import Guest, image, plants
from tests.lab.guest.monitor import paused
from tests.lab.guest.outside import Outside

VERSION = "2.28.2"
PLUGINS = (
    # as many of its questions as it can answer of this kernel that ours answers in one look
    "linux.pslist.PsList",
    "linux.pidhashtable.PIDHashTable",
    "linux.psaux.PsAux",
    "linux.lsof.Lsof",
    "linux.sockstat.Sockstat",
    "linux.lsmod.Lsmod",
    "linux.malware.hidden_modules.Hidden_modules",
    "linux.malware.check_modules.Check_modules",
    "linux.malware.check_syscall.Check_syscall",
    "linux.malware.check_idt.Check_idt",
    "linux.malware.check_afinfo.Check_afinfo",
    "linux.malware.netfilter.Netfilter",
    "linux.ebpf.EBPF",
    "linux.tracing.ftrace.CheckFtrace",
)
_TARGET = 100
_RELEASE = "bookworm"
_CACHE = Path(__file__).parents[2] / ".cache" / "volatility3"
_LINES = 64 << 20
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Planted:
    """What lies in the image, to be found."""

    emulator: int
    parked_socket: int
    """Inode number."""
    unlinked_task: int
    changed_function: str


def figures() -> Sequence[Figure]:
    """How long each takes over one image, and what of the planted things each tells."""
    with TemporaryDirectory() as scratch:
        directory = Path(scratch)
        planted, kernel = _image(directory)
        tells, plugin_seconds = _ask_volatility(directory)
        found, command_seconds = _ask_doorwatch(directory / "image", kernel, directory / "cache")
        memory = RawDump(directory / "image")
        with closing(memory):
            introspection = Introspection(memory, load_profile(kernel, memory, directory / "cache"))
            look_seconds = statistics.median(seconds(introspection.look, 21))
    theirs = sum(plugin_seconds.values())
    worked = len(plugin_seconds)
    return [
        Figure(
            name="one look at a 512 MiB image, against Volatility3's plugins one after the other",
            value=look_seconds * 1000,
            unit="ms",
            target=f"{_TARGET} times faster",
            met=theirs / look_seconds >= _TARGET,
            peer=f"Volatility3 {VERSION}, {worked} of {len(PLUGINS)} plugins,",
            peer_value=theirs * 1000,
            note=f"{theirs / look_seconds:,.0f} times faster; its quickest plugin alone takes "
            f"{min(plugin_seconds.values()):.1f} s: {min(plugin_seconds.values()) / look_seconds:,.0f} times",
        ),
        Figure(
            name="`doorwatch scan --memory`, a process of its own, kernel in the cache",
            value=command_seconds,
            unit="s",
            target="",
            met=None,
            peer=f"Volatility3 {VERSION}, {worked} plugins, a process each,",
            peer_value=theirs,
            note=f"{theirs / command_seconds:,.0f} times faster",
        ),
        *_told(planted, found, tells),
    ]


def _image(directory: Path) -> tuple[Planted, Path]:
    """A guest in which everything is planted, written to `image` while it stands still."""
    with ExitStack() as stack:
        guest = stack.enter_context(Guest(image(_RELEASE)))
        outside = stack.enter_context(Outside(guest))
        emulator = stack.enter_context(plants.emulator(guest))
        parked = stack.enter_context(plants.program(guest, "parked_socket"))
        for name in ("raw_socket", "ebpf_socket", "network_program"):
            stack.enter_context(plants.program(guest, name))
        stack.enter_context(plants.module(guest))
        hidden = stack.enter_context(plants.program(guest, "crowd", "1"))
        stack.enter_context(outside.unlinked_task(hidden.pid))
        stack.enter_context(outside.changed_syscall())
        change = stack.enter_context(outside.changed_text())
        with paused(guest.monitor_path):
            shutil.copyfile(guest.ram_file, directory / "image")
        kernel = directory / "vmlinuz"
        shutil.copyfile(guest.kernel_image, kernel)
    planted = Planted(emulator.pid, parked.facts["inode"], hidden.pid, change.symbol)
    with closing(RawDump(directory / "image")) as memory:
        profile = load_profile(kernel, memory, directory / "cache")
        symbols = directory / "symbols" / "linux"
        symbols.mkdir(parents=True)
        (symbols / "kernel.json").write_bytes(isf(profile, _banner(profile, memory)))
    return planted, kernel


def _banner(profile: Profile, memory: RawDump) -> bytes:
    raw = memory.read(profile.physical(profile.address("linux_banner")), 512)
    return raw[: raw.index(0) + 1]


def _volatility() -> Path:
    """Its command, installed once."""
    command = _CACHE / VERSION / "bin" / "vol"
    if not command.exists():
        subprocess.run([sys.executable, "-m", "venv", str(_CACHE / VERSION)], check=True)
        pip = [str(_CACHE / VERSION / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", f"volatility3=={VERSION}"], check=True)
    return command


def _ask_volatility(directory: Path) -> tuple[dict[str, Rows], dict[str, float]]:
    """Rows and seconds of each plugin that answers; its caches are warm, as they are for its second user."""
    (directory / "its cache").mkdir()
    command = [str(_volatility()), "-q", "--offline", "-r", "json", "-f", str(directory / "image")]
    command += ["-s", str(directory / "symbols"), "--cache-path", str(directory / "its cache")]
    subprocess.run([*command, PLUGINS[0]], capture_output=True, check=True)
    rows: dict[str, Rows] = {}
    times: dict[str, float] = {}
    for plugin in PLUGINS:
        start = time.perf_counter()
        ended = subprocess.run([*command, plugin], capture_output=True, check=False)
        took = time.perf_counter() - start
        if ended.returncode == 0:
            rows[plugin], times[plugin] = json.loads(ended.stdout[-_LINES:]), took
        else:
            sys.stderr.write(f"Volatility3 does not answer {plugin} of this kernel\n")
    return rows, times


def _ask_doorwatch(path: Path, kernel: Path, cache: Path) -> tuple[Rows, float]:
    """The documents of a scan, and its seconds with the kernel in the cache."""
    command = [sys.executable, "-m", "doorwatch", "scan", "--memory", str(path), "--kernel", str(kernel)]
    times, output = [], b""
    for _ in range(4):
        start = time.perf_counter()
        ended = subprocess.run(
            [*command, "--format", "json"], capture_output=True, check=False, env={"XDG_CACHE_HOME": str(cache)}
        )
        times.append(time.perf_counter() - start)
        output = ended.stdout
    return [json.loads(line) for line in output.splitlines()], statistics.median(times[1:])


def _told(planted: Planted, documents: Rows, tells: Mapping[str, Rows]) -> Iterator[Figure]:
    """Of each planted thing, who tells of it; 1 is yes."""
    findings = [each for each in documents if "finding" in each["doorwatch"]]
    sockets = tells.get("linux.sockstat.Sockstat", [])

    def ours(kind: str, wanted: Callable[[dict[str, Any]], bool]) -> bool:
        return any(each["doorwatch"]["finding"]["kind"] == kind and wanted(each) for each in findings)

    listed = {row["PID"] for row in tells.get("linux.pslist.PsList", [])}
    numbered = {row["PID"] for row in tells.get("linux.pidhashtable.PIDHashTable", [])}
    hooks = "kernel_hook_drift"
    answers = {
        "the emulator's filter, and what its packet must hold": (
            ours("socket_filter", lambda each: each["process"]["pid"] == planted.emulator),
            any(row["PID"] == planted.emulator and "instructions" in str(row["Filter"]) for row in sockets),
        ),
        "that the emulator's socket has some filter": (
            ours("socket_filter", lambda each: each["process"]["pid"] == planted.emulator),
            any(row["PID"] == planted.emulator and "cBPF" in str(row["Filter"]) for row in sockets),
        ),
        "a packet socket that no descriptor leads to": (
            ours("orphan_socket", lambda each: each["doorwatch"]["socket"]["inode"] == planted.parked_socket),
            any(row["Family"] == "AF_PACKET" and str(planted.parked_socket) in str(row) for row in sockets),
        ),
        "a process unlinked from the task list": (
            ours("hidden_process", lambda each: each["process"]["pid"] == planted.unlinked_task),
            planted.unlinked_task in numbered - listed,
        ),
        "the changed slot of sys_call_table": (
            ours(hooks, lambda each: each["doorwatch"]["hook"]["surface"] == "syscall_table"),
            bool(tells.get("linux.malware.check_syscall.Check_syscall")),
        ),
        "the changed byte of the kernel's code": (
            ours(hooks, lambda each: planted.changed_function in each["doorwatch"]["hook"]["symbol"]),
            False,  # it compares no code
        ),
    }
    for thing, (told, peer) in answers.items():
        yield Figure(
            name=f"tells {thing}",
            value=float(told),
            unit="of 1",
            target="1",
            met=told,
            peer="Volatility3",
            peer_value=float(peer),
        )
