"""The demo's lab: a host that carries a harmless emulator, and somebody who looks at it from outside."""

import contextlib
import json
import select
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

from beat_bridge.errors import DoorwatchError

NEEDS = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2"}
START_SECONDS = 30.0
ANSWER_SECONDS = 10.0


class Lab:
    """A running lab; made by `open_lab`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._mutex = threading.Lock()
        hello = self._read(START_SECONDS)
        self.emulator_pid = int(hello["emulator"])
        self.address = str(hello["address"])

    def probe(self, seconds: float = 0.5) -> float | None:
        """Ping the host from outside: the round trip in milliseconds, or None where no answer came."""
        answer = self._ask({"probe": seconds})["round_trip_ms"]
        return None if answer is None else float(answer)

    def emulator_alive(self) -> bool:
        """Whether the emulator still runs, by its parent's knowledge."""
        return bool(self._ask({"alive": True})["alive"])

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        if self._process.stdin is None:
            raise DoorwatchError("the demo's lab has no command channel")
        with self._mutex:
            try:
                self._process.stdin.write(json.dumps(command) + "\n")
                self._process.stdin.flush()
            except BrokenPipeError as error:
                raise DoorwatchError("the demo's lab has ended unexpectedly: run the demo again") from error
            return self._read(ANSWER_SECONDS)

    def _read(self, seconds: float) -> dict[str, Any]:
        if self._process.stdout is None or not select.select([self._process.stdout], [], [], seconds)[0]:
            raise DoorwatchError(f"the demo's lab did not answer within {seconds:.0f} s")
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "user and network namespaces are not allowed here"}
        if "error" in answer:
            raise DoorwatchError(f"the demo's lab cannot be built: {answer['error']}")
        return dict(answer)


@contextlib.contextmanager
def open_lab() -> Iterator[Lab]:
    """Build the lab, and take it down whatever happens.

    Raises:
        DoorwatchError: It cannot be built here; the line says why.
    """
    for tool, package in NEEDS.items():
        if not shutil.which(tool):
            raise DoorwatchError(f"the demo's lab needs {tool}: install {package}")
    process = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--net", "--", sys.executable, "-m", "doorwatch.demo.outside"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
    )
    try:
        yield Lab(process)
    finally:
        if process.stdin:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
