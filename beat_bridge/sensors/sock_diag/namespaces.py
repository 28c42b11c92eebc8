"""The sockets of other network namespaces.

Root enters them directly, with a thread that is thrown away afterwards; an ordinary user enters those that belong to
his own user namespaces, as root of these, with a helper process.
"""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from beat_bridge.model.base import Reason, Unavailable, Value
from beat_bridge.sensors.sock_diag.entering import CLONE_NEWNET, open_namespace, step_into
from beat_bridge.sensors.sock_diag.messages import PacketSocket
from beat_bridge.sensors.sock_diag.survey import Survey, survey

HELPER_SECONDS = 20.0
VISIT_SECONDS = 60.0
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from beat_bridge.sensors.sock_diag.helper import main; main()"
)
_ROOT = str(Path(__file__).parents[3])


class _Answer(Value, frozen=True, kw_only=True):
    """One line of the helper."""

    inode: int
    errno: int = 0
    packet: tuple[tuple[int, int, int, int, int, tuple[tuple[int, int, int, int], ...]], ...] = ()
    raw: tuple[tuple[int, int], ...] = ()
    clear: set[int] = set()  # noqa: RUF012 - msgspec copies an empty default for each answer
    charged: set[int] = set()  # noqa: RUF012
    local: set[int] = set()  # noqa: RUF012
    errors: dict[str, int] = {}  # noqa: RUF012


def enter_directly(namespaces: Mapping[int, Sequence[str]], bulk: bool = True) -> dict[int, Survey | Unavailable]:
    """The sockets of namespaces that this process has the right to enter as it is.

    Args:
        namespaces: Inode of each namespace, and paths that may lead to it (`/proc/PID/ns/net`).
        bulk: As in `survey`.

    Returns:
        One entry for each, Unavailable with REFUSED for those that it may not enter.
    """
    found: dict[int, Survey | Unavailable] = {}

    def visit_all() -> None:
        for inode, paths in namespaces.items():
            try:
                descriptor = open_namespace(inode, [os.fsencode(path) for path in paths])
                try:
                    step_into(descriptor, CLONE_NEWNET)
                finally:
                    os.close(descriptor)
            except OSError as error:
                found[inode] = _unavailable(error.errno or errno.EIO)
            else:
                found[inode] = survey(bulk)

    if namespaces:
        # a thread of its own, since setns moves whoever calls it. Every wait within survey() is bounded; the path to
        # a namespace may lead through a file system that does not answer
        visitor = threading.Thread(target=visit_all, name="doorwatch-visit", daemon=True)
        visitor.start()
        visitor.join(VISIT_SECONDS)
    late = Unavailable(reason=Reason.FAILED, detail=f"no answer within {VISIT_SECONDS:g} s")
    return {inode: found.get(inode, late) for inode in namespaces}


class Visit:
    """A helper at work; it runs beside the caller until `surveys` is called."""

    def __init__(self, namespaces: Mapping[int, Sequence[str]], bulk: bool = True) -> None:
        """Start the helper.

        Args:
            namespaces: Inode of each namespace, and paths that may lead to it (`/proc/PID/ns/net`).
            bulk: As in `survey`.
        """
        self._wanted = dict(namespaces)
        self._helper: subprocess.Popen[bytes] | None = None
        self._failure = ""
        self._answers = -1
        if not namespaces:
            return
        command = [sys.executable, "-I", "-S", "-c", _PROGRAM, _ROOT, *(() if bulk else ("brief",))]
        request = b"".join(
            b"\0".join((str(inode).encode(), *map(os.fsencode, paths))) + b"\0\0" for inode, paths in namespaces.items()
        )
        self._answers = os.memfd_create("answers")
        try:
            # files, not pipes: neither side ever waits for the other to read.
            # No environment: the helper needs none, and secrets in ours are none of its business
            with open(os.memfd_create("request"), "w+b") as asked:  # noqa: PTH123 - a descriptor, not a path
                asked.write(request)
                asked.seek(0)
                self._helper = subprocess.Popen(
                    command, stdin=asked, stdout=self._answers, stderr=subprocess.DEVNULL, env={}, cwd="/"
                )
        except OSError as error:
            self._failure = f"cannot start the helper process: {error.strerror}"

    def surveys(self) -> dict[int, Survey | Unavailable]:
        """Wait for the helper (bounded) and take what it told, one entry for each namespace asked for."""
        found: dict[int, Survey | Unavailable] = {}
        for line in self._output().splitlines():
            try:
                answer = msgspec.json.decode(line, type=_Answer)
            except msgspec.DecodeError:
                self._failure = "the helper process was cut short"
                continue
            found[answer.inode] = _unavailable(answer.errno) if answer.errno else _survey(answer)
        failure = self._failure or "the helper process ended before its work"
        for inode in self._wanted:
            found.setdefault(inode, Unavailable(reason=Reason.FAILED, detail=failure))
        return {inode: found[inode] for inode in self._wanted}

    def _output(self) -> bytes:
        if self._answers < 0:
            return b""
        with open(self._answers, "rb") as answers:  # noqa: PTH123 - a descriptor, not a path
            self._answers = -1
            if self._helper is not None:
                try:
                    self._helper.wait(HELPER_SECONDS)
                except subprocess.TimeoutExpired:
                    self._failure = f"the helper process did not end within {HELPER_SECONDS:g} s"
                    self._helper.kill()
                    with suppress(subprocess.TimeoutExpired):
                        self._helper.wait(1)
            answers.seek(0)
            return answers.read()


def _unavailable(number: int) -> Unavailable:
    reason = Reason.FAILED
    if number in {errno.EPERM, errno.EACCES}:
        reason = Reason.REFUSED
    elif number in {errno.ENOENT, errno.ESRCH}:
        reason = Reason.ABSENT
    return Unavailable(reason=reason, detail=f"entering the network namespace: {os.strerror(number)}")


def _survey(answer: _Answer) -> Survey:
    found = Survey()
    found.packet = [PacketSocket(*row) for row in answer.packet]
    found.raw = dict(answer.raw)
    found.memory.clear = answer.clear
    found.memory.charged = answer.charged
    found.local = answer.local
    found.errors = answer.errors
    return found
