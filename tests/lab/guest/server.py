"""The guest's first process: it carries out requests from the command channel, one at a time.

Its standard input and output are the channel's port. It ends, and the guest with it, when the tester hangs up.
Processes that ended are reaped before and after each request.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.guest.frames import PAYLOAD_LIMIT, Decoder, Frame, encode

OUTPUT_LIMIT = PAYLOAD_LIMIT // 2
"""Bytes kept of each of a command's two outputs; the rest is read and dropped."""
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
_READ_SIZE = 1 << 16

Answer = tuple[dict[str, Any], bytes]


def main() -> None:
    """Answer requests until the tester hangs up."""
    _send({"ready": os.uname().release})
    decoder = Decoder()
    while data := os.read(0, _READ_SIZE):
        for frame in decoder.feed(data):
            _reap()
            header, payload = _answer(frame)
            _reap()
            _send({"id": frame.header.get("id"), **header}, payload)


def _answer(frame: Frame) -> Answer:
    try:
        return _OPERATIONS[frame.header["operation"]](frame.header, frame.payload)
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the tester is to know and the guest to live
        return {"error": f"{type(error).__name__}: {error}"}, b""


def _send(header: dict[str, Any], payload: bytes = b"") -> None:
    rest = memoryview(encode(header, payload))
    while rest:
        rest = rest[os.write(1, rest) :]


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _popen(header: dict[str, Any], stdin: bytes, stderr: int) -> subprocess.Popen[bytes]:
    with open(os.memfd_create("stdin"), "w+b") as source:  # noqa: PTH123 - a descriptor has no path
        source.write(stdin)
        source.seek(0)
        return subprocess.Popen(
            header["argv"],
            executable=header.get("executable"),
            stdin=source,
            cwd="/",
            env=ENVIRONMENT | header.get("environment", {}),
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def run(header: dict[str, Any], stdin: bytes) -> Answer:
    """Run a command to its end, or to its deadline; its answer's payload is standard output, then error."""
    deadline = time.monotonic() + header["timeout"]
    process = _popen(header, stdin, subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    outputs = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    exited = os.pidfd_open(process.pid)
    with selectors.DefaultSelector() as selector:
        for descriptor in (exited, *outputs):
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            ready = [key.fd for key, _ in selector.select(left)]
            if ready == [exited]:
                break  # it has ended, and nothing is left to read, though a child of its may still hold the pipe
            for descriptor in set(ready) & set(outputs):
                if not _read_into(outputs[descriptor], descriptor):
                    selector.unregister(descriptor)
    timed_out = process.poll() is None
    if timed_out:
        _kill_group(process)
    code = process.wait()
    os.close(exited)
    process.stdout.close()
    process.stderr.close()
    out, err = outputs.values()
    return {"code": code, "timed_out": timed_out, "out": len(out)}, bytes(out + err)


def _read_into(output: bytearray, descriptor: int) -> bool:
    data = os.read(descriptor, _READ_SIZE)
    output += data[: OUTPUT_LIMIT - len(output)]
    return bool(data)


def start(header: dict[str, Any], stdin: bytes) -> Answer:
    """Start a process that stays, and wait for the line `ready` on its standard output."""
    deadline = time.monotonic() + header["timeout"]
    process = _popen(header, stdin, subprocess.STDOUT)
    assert process.stdout
    said = bytearray()
    with process.stdout, selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not said.endswith(b"ready\n"):
            if not selector.select(max(0, deadline - time.monotonic())) or not _read_into(
                said, process.stdout.fileno()
            ):
                _kill_group(process)
                raise TimeoutError(f"never became ready; it said: {said[-2000:].decode(errors='replace')}")
    return {"pid": process.pid}, bytes(said)


def stop(header: dict[str, Any], _payload: bytes) -> Answer:
    """Kill a started process with its group, and wait until it is reaped."""
    os.killpg(header["pid"], signal.SIGKILL)
    os.waitpid(header["pid"], 0)
    return {}, b""


def put(header: dict[str, Any], payload: bytes) -> Answer:
    """Write a part of a file."""
    path = Path(header["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("r+b" if header["offset"] else "wb") as file:
        file.seek(header["offset"])
        file.write(payload)
        if header["mode"] is not None:
            os.fchmod(file.fileno(), header["mode"])
    return {}, b""


def get(header: dict[str, Any], _payload: bytes) -> Answer:
    """Read a part of a file; an empty answer is its end."""
    data = bytearray()
    with Path(header["path"]).open("rb", buffering=0) as file:
        file.seek(header["offset"])
        # in small pieces: some files of /proc have the kernel allocate as much as is asked for
        while len(data) < PAYLOAD_LIMIT and (piece := file.read(min(_READ_SIZE, PAYLOAD_LIMIT - len(data)))):
            data += piece
    return {}, bytes(data)


_OPERATIONS: dict[str, Callable[[dict[str, Any], bytes], Answer]] = {
    "run": run,
    "start": start,
    "stop": stop,
    "put": put,
    "get": get,
}

if __name__ == "__main__":
    main()
    sys.exit()
