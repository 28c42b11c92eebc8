"""The other end of a QMP socket: QEMUs without a guest, and impostors."""

import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

GREETING = b'{"QMP": {"version": {"qemu": {"micro": 2, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}\n'


@contextlib.contextmanager
def impostor(path: Path, serve: Callable[[socket.socket], None]) -> Iterator[Path]:
    """Somebody who listens on a socket and treats each client as `serve` does."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)
        ended = threading.Event()

        def work() -> None:
            while not ended.is_set():
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client, contextlib.suppress(OSError):
                    serve(client)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield path
        finally:
            ended.set()
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as knock:
                knock.connect(str(path))
            thread.join()


def answering(answers: dict[str, object]) -> Callable[[socket.socket], None]:
    """One who speaks QMP, and says the same to each command every time; to others that it does not know them."""

    def serve(client: socket.socket) -> None:
        client.sendall(GREETING)
        for request in requests(client):
            command = request["execute"]
            if command in answers or command == "qmp_capabilities":
                answer = {"return": answers.get(command, {})}
            else:
                answer = {"error": {"class": "CommandNotFound", "desc": f"The command {command} has not been found"}}
            client.sendall(json.dumps(answer | {"id": request.get("id")}).encode() + b"\n")

    return serve


def requests(client: socket.socket) -> Iterator[dict[str, Any]]:
    """What a client asks, until it hangs up; QMP puts nothing between requests."""
    text = ""
    while data := client.recv(65536):
        text = (text + data.decode()).lstrip()  # a descriptor arrives with a blank
        with contextlib.suppress(json.JSONDecodeError):  # the rest is still to come
            while text:
                request, end = json.JSONDecoder().raw_decode(text)
                text = text[end:].lstrip()
                yield request


@contextlib.contextmanager
def qemu(directory: Path, *arguments: str, name: str = "idle", uuid: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A QEMU that has not started its machine, with a socket `NAME.qmp` in a directory."""
    path = directory / f"{name}.qmp"
    named = ["-name", name, *(["-uuid", uuid] if uuid else [])]
    hardware = ["-nodefaults", "-display", "none", "-machine", "q35", "-m", "16M", "-S"]
    listening = ["-qmp", f"unix:{path},server=on,wait=off"]
    command: Sequence[str] = ["qemu-system-x86_64", *named, *hardware, *listening, *arguments]
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not _listens(path):
            assert process.poll() is None, "QEMU has ended"
            assert time.monotonic() < deadline, "QEMU does not listen"
            time.sleep(0.02)  # nothing tells of a socket that is not there yet
        yield process
    finally:
        process.kill()
        process.wait()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as knock:
        try:
            knock.connect(str(path))
        except OSError:
            return False
        return True
