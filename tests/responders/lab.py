"""A small network of real namespaces: a host with a process to contain, its neighbour, and somebody outside.

Everything lives in a user namespace of its own, so that an ordinary user can make it. The neighbour answers UDP echo
requests and sends marked frames through a packet socket without being asked; the one outside asks and listens.
"""

import json
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

INSIDE = Path(__file__).with_name("lab_inside.py")
START_SECONDS = 20.0
PATIENCE = 20.0
"""Seconds that a test waits for packets to stop or to come back; it never waits longer than it must."""


class Lab:
    """Running namespaces."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-I", str(INSIDE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        hello = self._read(START_SECONDS)
        self.target: int = hello["target"]
        """Pid of the process to contain: it sleeps."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def echo(self) -> bool:
        """Whether one UDP datagram from outside was answered within 100 ms."""
        return bool(self._ask("echo"))

    def frames(self) -> int:
        """How many marked frames of the packet socket reached the outside within 100 ms."""
        return int(self._ask("frames"))

    def await_echo(self, answered: bool) -> None:
        """Ask until echo requests are answered, or are not."""
        deadline = time.monotonic() + PATIENCE
        while self.echo() is not answered:
            assert time.monotonic() < deadline, f"echo requests did not become answered={answered}"

    def nft(self, *arguments: str) -> str:
        """Run nft in the host's namespace, as somebody with power there would."""
        enter = ["nsenter", "-t", str(self.target), "-U", "-n", "--preserve-credentials", "nft", *arguments]
        return subprocess.run(enter, capture_output=True, text=True, timeout=10, check=True).stdout

    def _ask(self, question: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(question.encode() + b"\n")
        self._process.stdin.flush()
        return self._read(10)["answer"]

    def _read(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else b""
        assert line, "the lab gave no answer"
        answer: dict[str, Any] = json.loads(line)
        return answer
