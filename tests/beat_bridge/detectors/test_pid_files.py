"""PID and lock files that only mark."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from beat_bridge.detectors import detect
from beat_bridge.detectors.pid_files import KNOWN_NAMES
from beat_bridge.model.base import Reason, Unavailable, Verdict
from beat_bridge.model.findings import Finding, FindingKind
from beat_bridge.model.pid_files import PidFile
from beat_bridge.model.processes import Process
from beat_bridge.model.sockets import Socket
from tests.inventories.builders import BOOTED, inventory, pid_file, process, socket

RULES = Path(__file__).parents[3] / "detection_rules/rules"


def found(*things: PidFile | Process | Socket) -> list[Finding]:
    """What is said of PID files."""
    return [finding for finding in detect(inventory(*things)) if finding.kind is FindingKind.ABNORMAL_PID_FILE]


@pytest.mark.parametrize("path", ["/run/haldd.pid", "/run/x.lock", "/var/run/x.pid"])
def test_an_empty_readable_file_that_nobody_holds_is_weakly_suspicious(path: str) -> None:
    """The bare shape is found, with little confidence; /var/run is /run."""
    (finding,) = found(pid_file(path))
    assert (finding.verdict, finding.confidence) == (Verdict.SUSPICIOUS, 0.4)
    assert finding.subject == f"file:/run/{path.rpartition('/')[2]}"
    assert finding.techniques == ("T1480.002",)


@pytest.mark.parametrize("content", ["x", "\\x00\\x01", "abc", "-", "12a", "0123456..9"])
def test_a_few_bytes_that_are_no_number_count_like_none(content: str) -> None:
    """At most ten bytes that no daemon would write as its process id are found."""
    assert found(pid_file(content=content, size=len(content)))


def test_an_empty_file_needs_no_reading() -> None:
    """Where the size is nothing, content that could not be read is no excuse."""
    assert found(pid_file(content=Unavailable(reason=Reason.REFUSED)))


@pytest.mark.parametrize("name", sorted(KNOWN_NAMES))
def test_a_known_name_adds_weight(name: str) -> None:
    """A name that BPFDoor is known to use raises the confidence, also where somebody has the file open."""
    (finding,) = found(pid_file(f"/run/{name}", open_by=(5,)))
    assert (finding.verdict, finding.confidence) == (Verdict.SUSPICIOUS, 0.6)


@pytest.mark.parametrize("modified_at", [1225394236.0, BOOTED - 100_000])
def test_a_time_set_back_adds_weight(modified_at: float) -> None:
    """A modification long before birth, or at BPFDoor's second, is named and raises the confidence."""
    (finding,) = found(pid_file(modified_at=modified_at))
    assert finding.confidence == 0.6
    assert finding.techniques == ("T1070.006", "T1480.002")


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(pid_file(content="812\n", size=4), id="a process id"),
        pytest.param(pid_file(content="       812", size=10), id="a padded process id"),
        pytest.param(pid_file(content="x" * 11, size=11), id="more than ten bytes"),
        pytest.param(pid_file(mode=0o600), id="not readable by all"),
        pytest.param(pid_file(mode=0o666), id="writable by all"),
        pytest.param(pid_file("/run/podman/x.lock"), id="in a directory of its own"),
        pytest.param(pid_file("/run/x.sock"), id="another suffix"),
        pytest.param(pid_file("/tmp/x.pid"), id="not in /run"),  # noqa: S108
        pytest.param(pid_file(locked_by=(5,)), id="flock"),
        pytest.param(pid_file(open_by=(5,)), id="held open"),
        pytest.param(pid_file("/run/mountpoints.lock"), id="podman"),
        pytest.param(pid_file("/run/docker.pid"), id="docker"),
        pytest.param(pid_file("/run/yum.pid"), id="yum"),
        pytest.param(pid_file("/run/atd.pid"), id="atd"),
        pytest.param(pid_file("/run/xtables.lock", mode=0o600), id="xtables"),
        pytest.param(pid_file(content=Unavailable(reason=Reason.REFUSED), size=4), id="content unreadable"),
    ],
)
def test_ordinary_files_are_quiet(seen: PidFile) -> None:
    """Near-misses, one for each condition, and the files that ordinary software leaves empty."""
    assert found(seen) == []


BAD: dict[str, tuple[Process | Socket, ...]] = {
    "captures packets": (process(5, "/opt/x"), socket(9, (5,))),
    "deleted": (process(5, "/opt/x", deleted=True),),
    "in shared memory": (process(5, "/dev/shm/x"),),  # noqa: S108
}


@pytest.mark.parametrize("things", BAD.values(), ids=BAD)
@pytest.mark.parametrize(
    "tie",
    [{"open_by": (5,)}, {"locked_by": (5,)}, {"born_at": BOOTED + 5}, {"born_at": BOOTED + 10}],
    ids=["open", "locked", "made at once", "made within five seconds"],
)
def test_a_bad_holder_or_maker_makes_it_malicious(things: tuple[Any, ...], tie: dict[str, Any]) -> None:
    """A file that is held by, or was made at the start of, a process out of order is malicious, and names it."""
    (finding,) = found(pid_file(**tie), *things)
    assert (finding.verdict, finding.confidence) == (Verdict.MALICIOUS, 0.9)
    assert finding.process is not None
    assert finding.process.pid == 5


@pytest.mark.parametrize(
    ("things", "tie"),
    [
        pytest.param((process(5, "/usr/sbin/x"),), {"born_at": BOOTED + 5}, id="nothing wrong with it"),
        pytest.param((process(5, "/usr/sbin/dhclient"), socket(9, (5,))), {"born_at": BOOTED + 5}, id="dhclient"),
        pytest.param((process(5, "/opt/x"), socket(9, (6,))), {"born_at": BOOTED + 5}, id="another's socket"),
        pytest.param((process(5, "/opt/x", deleted=True, replaced=True),), {"born_at": BOOTED + 5}, id="upgraded"),
        pytest.param(BAD["deleted"], {"born_at": BOOTED + 10.5}, id="made later"),
        pytest.param(BAD["deleted"], {"born_at": BOOTED + 4.5}, id="made before"),
        pytest.param(BAD["deleted"], {"born_at": Unavailable(reason=Reason.UNSUPPORTED)}, id="birth unknown"),
        pytest.param(
            (process(5, "/x", executable=Unavailable(reason=Reason.REFUSED)),),
            {"born_at": BOOTED + 5},
            id="unreadable process",
        ),
    ],
)
def test_no_tie_no_blame(things: tuple[Any, ...], tie: dict[str, Any]) -> None:
    """Near-misses of the strong finding: the file alone stays weak."""
    (finding,) = found(pid_file(**tie), *things)
    assert (finding.verdict, finding.confidence) == (Verdict.SUSPICIOUS, 0.4)


def test_a_lock_held_by_a_backdoor_is_no_excuse() -> None:
    """An ordinary name and a lock do not whiten a file whose holder is out of order."""
    assert found(pid_file("/run/atd.pid", locked_by=(5,)), *BAD["captures packets"])[0].verdict is Verdict.MALICIOUS


def test_the_known_names_are_those_of_the_rule() -> None:
    """Detector and rule name the same files; those that are neither *.pid nor *.lock are the rule's alone."""
    rule = tomllib.loads((RULES / "abnormal_pid_file.toml").read_text("utf-8"))["rule"]["query"]
    named = set(re.findall(r'"\*/([\w.-]+\.(?:pid|lock))"', rule))
    assert named == KNOWN_NAMES
