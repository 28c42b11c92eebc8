"""The detectors on this kernel: a harmless program that calls itself udevd, in a shared memory of its own."""

import subprocess
from collections.abc import Iterable, Iterator

import pytest

from beat_bridge.detectors import detect
from beat_bridge.detectors.lifecycle import Ledger, advance
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.model.findings import Change, FindingEvent, FindingKind
from beat_bridge.sensors import host

pytestmark = pytest.mark.live

# cat(1) under another name; a mount namespace of its own keeps the real /dev/shm untouched
_SCRIPT = """
mount -t tmpfs -o mode=755 tmpfs /dev/shm
cp "$(command -v cat)" /dev/shm/kdmtmpflush
exec -a '/sbin/udevd -d' /dev/shm/kdmtmpflush
"""


@pytest.fixture
def impostor() -> Iterator[subprocess.Popen[bytes]]:
    """The running program; it echoes what it reads and ends with its input."""
    with subprocess.Popen(
        ["unshare", "-Urm", "bash", "-ec", _SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"ready\n")
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def test_a_real_impostor_is_found_and_gone_when_it_ends(impostor: subprocess.Popen[bytes]) -> None:
    """A false name and a place in shared memory are found together, and told as gone where the list is complete."""
    look = host.look()
    ledger, events = advance(Ledger(), detect(look), look)
    opened = _about(impostor.pid, events)
    assert opened == {
        (Change.OPENED, FindingKind.MASQUERADE),
        (Change.OPENED, FindingKind.SHARED_MEMORY_EXECUTION),
        (Change.OPENED, FindingKind.BACKDOOR_PROCESS),
    }

    impostor.communicate()
    again = host.look()
    _, events = advance(ledger, detect(again), again)
    (processes,) = (entry for entry in again.coverage if entry.sensor == "processes")
    # inside a container the list of processes is not all there are, and its silence proves nothing
    provable = processes.listed or processes.status is CoverageStatus.COMPLETE
    assert _about(impostor.pid, events) == ({(Change.GONE, kind) for _, kind in opened} if provable else set())


def _about(pid: int, events: Iterable[FindingEvent]) -> set[tuple[Change, FindingKind]]:
    """What was told of a process."""
    return {
        (event.change, event.finding.kind) for event in events if event.finding.subject.startswith(f"process:{pid}:")
    }
