"""A process to act on, and a responder with what it recorded."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from responders.options import ResponderOptions
from responders.playbooks.model import Playbook
from responders.responder import Responder
from tests.responders.parts import HOST, Recorded, cured


@pytest.fixture
def victim() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that sleeps, in a session of its own."""
    process = subprocess.Popen(["sleep", "300"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def deleted_victim(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process whose executable has no name any more, as BPFDoor leaves it."""
    program = tmp_path / "kdmtmpflush"
    shutil.copy(str(shutil.which("sleep")), program)
    process = subprocess.Popen([program, "300"], start_new_session=True)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process.pid}/exe").readlink() != program:
        assert time.monotonic() < deadline
    program.unlink()
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def recorded() -> Recorded:
    """An empty record."""
    return Recorded()


@pytest.fixture
def make_responder(tmp_path: Path, recorded: Recorded) -> Callable[..., Responder]:
    """Makes a responder on one state directory; the test starts and closes it."""

    def make(book: Playbook, **changes: object) -> Responder:
        options = ResponderOptions(state_dir=str(tmp_path / "state"))
        arguments: dict[str, object] = {"verify": cured, "record": recorded, "host": HOST, "playbooks": (book,)}
        return Responder(options, **{**arguments, **changes})  # type: ignore[arg-type] # as above

    return make
