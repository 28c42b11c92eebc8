"""Programs that run from memory."""

from typing import Any

import pytest

from beat_bridge.detectors import detect
from beat_bridge.model.base import Reason, Unavailable, Verdict
from beat_bridge.model.findings import Finding, FindingKind
from beat_bridge.model.processes import Process
from beat_bridge.model.sockets import Socket
from tests.inventories.builders import inventory, process, socket

SHM = "/dev/shm/x"  # noqa: S108 - a place, nothing is written there


def found(*things: Process | Socket) -> list[Finding]:
    """What is said of where programs lie."""
    return [finding for finding in detect(inventory(*things)) if finding.kind is FindingKind.SHARED_MEMORY_EXECUTION]


@pytest.mark.parametrize("path", [SHM, "/run/shm/x", "/var/run/shm/x", "/dev/shm/a/b/c"])  # noqa: S108
def test_a_program_in_shared_memory_is_suspicious(path: str) -> None:
    """A program under /dev/shm or its old name is found."""
    (finding,) = found(process(812, path, filesystem="tmpfs"))
    assert (finding.verdict, finding.confidence, finding.techniques) == (Verdict.SUSPICIOUS, 0.7, ("T1564",))


def test_a_program_that_removed_itself_is_malicious() -> None:
    """In shared memory and deleted while it runs: what BPFDoor does."""
    (finding,) = found(process(812, SHM, deleted=True))
    assert (finding.verdict, finding.confidence) == (Verdict.MALICIOUS, 0.95)
    assert finding.techniques == ("T1070.004", "T1564")


def test_a_replaced_program_in_shared_memory_did_not_hide() -> None:
    """Deleted, but another file stands in its place: the lesser finding."""
    (finding,) = found(process(812, SHM, deleted=True, replaced=True))
    assert finding.verdict is Verdict.SUSPICIOUS


def test_a_program_that_never_was_a_file_is_suspicious() -> None:
    """A memfd is told by what the kernel says of it, with the technique for it."""
    (finding,) = found(process(812, "/memfd:payload", memfd=True, deleted=True))
    assert (finding.verdict, finding.confidence, finding.techniques) == (Verdict.SUSPICIOUS, 0.8, ("T1620",))


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(process(1, "/memfd:runc_cloned:/proc/self/exe", ("runc", "init"), memfd=True), id="runc"),
        pytest.param(process(1, "/memfd:runc_cloned:/proc/self/exe", ("/usr/bin/runc",), memfd=True), id="runc path"),
        pytest.param(process(1, "/memfd:crun_cloned", ("crun", "start"), memfd=True), id="crun"),
        pytest.param(process(1, "/usr/sbin/nginx", deleted=True, replaced=True), id="upgraded daemon"),
        pytest.param(process(1, "/usr/sbin/nginx", deleted=True), id="removed package"),
        pytest.param(process(1, "/tmp/x", filesystem="tmpfs"), id="built in /tmp on tmpfs"),  # noqa: S108
        pytest.param(process(1, "/dev/shmx/x"), id="a name that only begins alike"),  # noqa: S108
        pytest.param(process(1, SHM, executable=Unavailable(reason=Reason.REFUSED)), id="unreadable"),
        pytest.param(process(1, "", (), kernel_thread=True), id="kernel thread"),
    ],
)
def test_ordinary_programs_are_quiet(seen: Process) -> None:
    """Container runtimes, upgrades, builds on tmpfs and what could not be read make no finding."""
    assert found(seen) == []


@pytest.mark.parametrize(
    "things",
    [
        pytest.param((process(1, "/memfd:runc_cloned:x", ("udev",), memfd=True),), id="other arguments"),
        pytest.param((process(1, "/memfd:runcx cloned", ("runc",), memfd=True),), id="other name"),
        pytest.param(
            (process(1, "/memfd:runc_cloned:x", Unavailable(reason=Reason.REFUSED), memfd=True),), id="unread arguments"
        ),
        pytest.param(
            (process(1, "/memfd:runc_cloned:x", ("runc",), memfd=True), socket(5, (1,))), id="it captures packets"
        ),
    ],
)
def test_what_only_poses_as_a_runtime_is_found(things: tuple[Process | Socket, ...]) -> None:
    """Near-misses of the container runtime's excuse, one for each condition."""
    assert found(*things)


INIT = process(1, "/usr/lib/systemd/systemd")
TMPFS: dict[str, Any] = {"filesystem": "tmpfs", "start_ticks": 9000}


@pytest.mark.parametrize(
    "things",
    [
        pytest.param((process(812, "/home/u/x/p", deleted=True, **TMPFS),), id="removed"),
        pytest.param((process(812, "/usr/sbin/sshd", **TMPFS),), id="mounted over a system program"),
        pytest.param((process(812, "/home/u/x/p", **TMPFS), socket(5, (812,))), id="captures"),
        pytest.param((process(812, "/tmp/p", **TMPFS), socket(5, (812,))), id="captures from /tmp"),  # noqa: S108
    ],
)
def test_a_tmpfs_of_another_name_is_suspicious_in_company(things: tuple[Process | Socket, ...]) -> None:
    """A program on any file system in memory is found once it removed itself, poses as the system's, or captures."""
    (finding,) = found(INIT, *things)
    assert (finding.verdict, finding.confidence, finding.techniques) == (Verdict.SUSPICIOUS, 0.6, ("T1564",))


@pytest.mark.parametrize(
    "things",
    [
        pytest.param((INIT, process(812, "/home/u/build/p", **TMPFS)), id="a build"),
        pytest.param((INIT, process(812, "/tmp/p", deleted=True, **TMPFS)), id="an installer"),  # noqa: S108
        pytest.param((INIT, process(812, "/home/u/x/p", deleted=True, replaced=True, **TMPFS)), id="built anew"),
        pytest.param((INIT, process(812, "/home/u/x/p", deleted=True)), id="on disk"),
        pytest.param((process(1, "/init", filesystem="tmpfs"), process(812, "/usr/bin/p", **TMPFS)), id="live system"),
        pytest.param(
            (INIT, process(9, "/usr/sbin/mdmon", deleted=True, filesystem="ramfs", start_ticks=300)), id="initramfs"
        ),
    ],
)
def test_programs_in_memory_alone_are_quiet(things: tuple[Process, ...]) -> None:
    """Near-misses, one for each condition."""
    assert found(*things) == []


@pytest.mark.parametrize(
    "args",
    [
        ("python3", SHM),
        ("python3", "-u", SHM, "--fast"),
        ("python3", "-W", "ignore", SHM),
        ("/lib64/ld-linux-x86-64.so.2", SHM),
    ],
)
def test_a_script_in_shared_memory_is_suspicious(args: tuple[str, ...]) -> None:
    """What an interpreter, or the dynamic linker, was told to run lies in shared memory."""
    path = args[0] if args[0].startswith("/") else "/usr/bin/python3.11"
    (finding,) = found(process(812, path, args))
    assert (finding.verdict, finding.confidence) == (Verdict.SUSPICIOUS, 0.6)
    assert finding.techniques == ("T1059", "T1564")


@pytest.mark.parametrize(
    "args",
    [
        ("python3", "train.py", SHM),
        ("python3", "-c", "pass", SHM),
        ("python3", "-m", "train", SHM),
        ("python3", "-W", SHM, "train.py"),
        (),
    ],
)
def test_data_in_shared_memory_is_quiet(args: tuple[str, ...]) -> None:
    """A path in shared memory that is no script is what shared memory is for."""
    assert found(process(812, "/usr/bin/python3.11", args)) == []
    assert found(process(812, "/usr/bin/tail", ("tail", SHM))) == []
