"""The lab's far side: builds the demo's network inside namespaces of its own, and probes the host from outside.

Run by `lab.Lab` as root of a fresh user and network namespace. Two network namespaces, joined by a veth pair:

    outside (this process)  198.51.100.1 ───── 198.51.100.2  host (the emulator)

It reads one JSON command a line and answers each with one line; when its input ends, so does the emulator.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from doorwatch.demo import emulator

OUTSIDE, HOST = "198.51.100.1", "198.51.100.2"  # TEST-NET-2 (RFC 5737): leads nowhere else
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
READY_SECONDS = 20.0


def _ip(*arguments: str, inside: int | None = None) -> None:
    enter = ["nsenter", f"--net=/proc/{inside}/ns/net"] if inside else []
    subprocess.run([*enter, "ip", *arguments], check=True, capture_output=True, text=True, timeout=10)


def _start_host() -> tuple[int, int, int]:
    """Fork the process that becomes the emulator.

    Returns:
        Its pid, the descriptor that lets it go on, and the one it says "unshared" and "ready" on.
    """
    go_read, go_write = os.pipe()
    told_read, told_write = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(go_read)
        os.close(told_write)
        return pid, go_write, told_read
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent or libc.unshare(CLONE_NEWNET):
            os._exit(1)
        os.setsid()
        os.close(go_write)
        os.dup2(go_read, 0)
        os.dup2(told_write, 1)
        os.write(1, b"unshared\n")
        if select.select([0], [], [], READY_SECONDS)[0]:
            emulator.become()
    except OSError as error:
        os.write(1, f"the emulator cannot be started here: {error}\n".encode())
    finally:
        os._exit(1)


def _await_line(descriptor: int, expected: str) -> None:
    """Wait, within a bound, for a line from the host's side."""
    answer = b""
    deadline = time.monotonic() + READY_SECONDS
    while not answer.endswith(b"\n"):
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            break
        part = os.read(descriptor, 200)
        if not part:
            break
        answer += part
    if answer.decode(errors="replace").strip() != expected:
        raise RuntimeError(answer.decode(errors="replace").strip() or f"the emulator did not say {expected!r}")


@contextlib.contextmanager
def _host() -> Iterator[int]:
    """The host with its emulator in it; yields the emulator's pid."""
    pid, go, told = _start_host()
    try:
        _await_line(told, "unshared")
        _ip("link", "set", "lo", "up")
        _ip("link", "add", "outside0", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        _ip("address", "add", f"{OUTSIDE}/24", "dev", "outside0")
        _ip("link", "set", "outside0", "up")
        _ip("link", "set", "lo", "up", inside=pid)
        _ip("address", "add", f"{HOST}/24", "dev", "eth0", inside=pid)
        _ip("link", "set", "eth0", "up", inside=pid)
        os.write(go, emulator.script())
        os.close(go)
        _await_line(told, "ready")
        # the network is to outlive the emulator, so that it can be seen to come back
        held = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        # an ended emulator is to leave no zombie behind, which others would still see
        signal.signal(signal.SIGCHLD, lambda *_: _reap(pid))
        yield pid
        os.close(held)
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def probe(sequence: int, seconds: float) -> float | None:
    """Send one ICMP echo request to the host.

    Args:
        sequence: Number of this probe.
        seconds: How long to wait for its answer.

    Returns:
        Round-trip time in milliseconds; None where no answer came.
    """
    identifier = os.getpid() & 0xFFFF
    body = struct.pack("!BBHHH", 8, 0, 0, identifier, sequence)
    packet = struct.pack("!BBHHH", 8, 0, _checksum(body), identifier, sequence)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        start = time.monotonic()
        raw.sendto(packet, (HOST, 0))
        while (left := start + seconds - time.monotonic()) > 0 and select.select([raw], [], [], left)[0]:
            answer = raw.recv(256)
            icmp = answer[(answer[0] & 0xF) * 4 :]
            if icmp[:1] == b"\0" and struct.unpack("!HH", icmp[4:8]) == (identifier, sequence):
                return (time.monotonic() - start) * 1000
    return None


def _answer(command: dict[str, Any], number: int, pid: int) -> dict[str, Any]:
    if "probe" in command:
        return {"round_trip_ms": probe(number & 0xFFFF, float(command["probe"]))}
    if "alive" in command:
        return {"alive": Path(f"/proc/{pid}").exists()}
    return {"error": f"unknown command {command}"}


def main() -> None:
    """Serve the lab's commands until the input ends."""
    try:
        with _host() as pid:
            print(json.dumps({"emulator": pid, "address": HOST}), flush=True)  # noqa: T201 - stdout is the channel
            for number, line in enumerate(sys.stdin):
                print(json.dumps(_answer(json.loads(line), number, pid)), flush=True)  # noqa: T201
    except subprocess.CalledProcessError as error:
        print(json.dumps({"error": f"{' '.join(error.cmd)}: {error.stderr.strip()}"}), flush=True)  # noqa: T201
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        print(json.dumps({"error": str(error)}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
