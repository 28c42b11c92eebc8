"""Evidence: kept whole, hashed, private, bounded; and what is missing is said."""

import hashlib
import json
import os
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Viewpoint
from beat_bridge.model.filters import FilterKind, SocketFilter
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.sockets import Holder, Socket
from responders.actions import capture_worker
from responders.actions.capture_evidence import capture_evidence
from responders.incidents import Incident, incident_of
from responders.outcomes import ActionFailedError
from responders.playbooks.model import CaptureEvidence
from responders.targets import OpenedProcess
from tests.responders.parts import HOST, alert_about


def incident_about(pid: int) -> Incident:
    """An incident with one alert about a process."""
    return incident_of(alert_about(pid))


def capture(pid: int, directory: Path, step: CaptureEvidence | None = None) -> tuple[Path, dict[str, Any]]:
    """Capture a process; the evidence directory and its manifest."""
    with OpenedProcess(pid) as process:
        outcome = capture_evidence(incident_about(pid), process, step or CaptureEvidence(), directory, None)
    manifest = Path(outcome.evidence[0])
    return manifest.parent, json.loads(manifest.read_bytes())


def test_a_deleted_executable_is_kept_byte_for_byte(deleted_victim: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    """The executable is copied although its file has no name any more, and equals the program it was started from."""
    place, _ = capture(deleted_victim.pid, tmp_path)
    original = Path(f"/proc/{deleted_victim.pid}/exe").read_bytes()
    assert (place / "executable").read_bytes() == original
    assert (place / "cmdline").read_bytes().endswith(b"kdmtmpflush\x00300\x00")


def test_the_manifest_holds_the_hash_of_every_file(victim: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    """Every file in the directory is in the manifest with its SHA-256, and only the owner can read any of it."""
    place, manifest = capture(victim.pid, tmp_path)
    hashes = {entry["name"]: entry["sha256"] for entry in manifest["files"]}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in place.iterdir()}
    del found["manifest.json"]
    assert found == hashes
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}
    assert place.stat().st_mode & 0o777 == 0o700
    assert not ({"status", "maps", "descriptors.jsonl", "threads.jsonl", "net_packet", "executable"} - set(hashes))


def test_descriptors_are_listed_as_they_lead(tmp_path: Path) -> None:
    """The list of open files names what the process really holds."""
    with (tmp_path / "opened").open("w") as opened:
        process = subprocess.Popen(["sleep", "300"], stdin=subprocess.PIPE, stdout=opened)
    try:
        place, _ = capture(process.pid, tmp_path / "evidence")
    finally:
        process.kill()
        process.communicate()
    entries = [json.loads(line) for line in (place / "descriptors.jsonl").read_bytes().splitlines()]
    leads_to = {entry["fd"]: entry["leads_to"] for entry in entries}
    assert leads_to[1] == str(tmp_path / "opened")
    assert leads_to[0].startswith("pipe:")


def test_the_environment_is_kept_only_when_asked_and_then_marked_secret(tmp_path: Path) -> None:
    """Without `environment: true` no file holds the variable's value; with it, the manifest warns of secrets."""
    process = subprocess.Popen(["sleep", "300"], env={"PATH": os.environ["PATH"], "TOKEN": "hunter2-hunter2"})
    try:
        without, _ = capture(process.pid, tmp_path / "a")
        with_it, manifest = capture(process.pid, tmp_path / "b", CaptureEvidence(environment=True))
    finally:
        process.kill()
        process.wait()
    assert not any(b"hunter2" in path.read_bytes() for path in without.iterdir())
    assert b"hunter2" in (with_it / "environ").read_bytes()
    assert "secrets" in manifest["notes"][0]


def test_the_size_cap_holds_and_is_said(victim: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    """The worker's files together stay within the cap, and the cut ones are marked."""
    place, manifest = capture(victim.pid, tmp_path, CaptureEvidence(size_cap_bytes=8192))
    ours = {"manifest.json", "alerts.json"}
    assert sum(path.stat().st_size for path in place.iterdir() if path.name not in ours) <= 8192
    assert next(entry for entry in manifest["files"] if entry["name"] == "executable")["cut"]


def test_the_time_cap_ends_a_capture_that_hangs(victim: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    """A capture that gets no time keeps nothing, fails aloud, and its manifest gives every missing file a reason."""
    with pytest.raises(ActionFailedError, match="nothing of process"):
        capture(victim.pid, tmp_path, CaptureEvidence(time_cap_seconds=0.0001))
    (manifest,) = tmp_path.rglob("manifest.json")
    missing = {entry["name"]: entry["detail"] for entry in json.loads(manifest.read_bytes())["unavailable"]}
    assert "did not end within" in missing["executable"]


HANGS = """
import json, os, signal, sys
with open(os.open("status", os.O_WRONLY | os.O_CREAT, dir_fd=int(sys.argv[2])), "w") as kept:
    kept.write(str(os.getpid()))
print(json.dumps({"name": "status", "bytes": 1, "sha256": "", "cut": False}), flush=True)
sys.stdout.write('{"name": "half a li')
sys.stdout.flush()
signal.pause()
"""


def test_what_was_read_before_a_hang_is_kept(
    victim: "subprocess.Popen[bytes]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that hangs in the middle is ended at the cap, its finished files stay, the others get the reason."""
    script = tmp_path / "hangs.py"
    script.write_text(HANGS)
    monkeypatch.setattr(capture_worker, "__file__", str(script))
    place, manifest = capture(victim.pid, tmp_path / "evidence", CaptureEvidence(time_cap_seconds=1))
    reader = (place / "status").read_text()
    assert not Path(f"/proc/{reader}").exists()
    assert [entry["name"] for entry in manifest["files"]] == ["status", "alerts.json"]
    missing = {entry["name"]: entry["detail"] for entry in manifest["unavailable"]}
    assert missing["executable"] == "the capture did not end within 1 s"


def test_a_frozen_process_goes_on_afterwards(victim: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    """Its captured status says stopped; when the capture is over it is not, unless it was stopped before."""
    place, _ = capture(victim.pid, tmp_path, CaptureEvidence(freeze=True))
    assert b"State:\tT (stopped)" in (place / "status").read_bytes()
    with OpenedProcess(victim.pid) as process:
        assert process.state() == "S"
    victim.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, victim.pid, os.WSTOPPED | os.WNOWAIT)
    capture(victim.pid, tmp_path, CaptureEvidence(freeze=True))
    with OpenedProcess(victim.pid) as process:
        assert process.state() == "T"


def test_a_second_capture_leaves_the_first_untouched(victim: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    """Each capture has a directory of its own."""
    incident = incident_about(victim.pid)
    with OpenedProcess(victim.pid) as process:
        outcomes = [capture_evidence(incident, process, CaptureEvidence(), tmp_path, None) for _ in range(2)]
    first, second = (Path(outcome.evidence[0]).parent for outcome in outcomes)
    assert first != second
    assert first.parent == second.parent


def test_the_sockets_of_the_process_are_kept_and_a_blind_sensor_is_said(
    victim: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    """The inventory is reduced to the process; an inventory that fails is a gap in the manifest, not an empty file."""

    def held_by(pid: int) -> Socket:
        held = (Holder(pid=pid, fd=3),)
        return Socket(
            inode=pid, family=17, type=3, protocol=3, network_namespace=1,
            filter=SocketFilter(kind=FilterKind.NONE), holders=held,
        )  # fmt: skip

    def seen() -> Inventory:
        sockets = (held_by(victim.pid), held_by(1))
        return Inventory(host=HOST, viewpoint=Viewpoint.HOST, taken_at=datetime.now(UTC), sockets=sockets)

    def blind() -> Inventory:
        raise DoorwatchError("no sensor could look")

    with OpenedProcess(victim.pid) as process:
        incident = incident_about(victim.pid)
        kept = capture_evidence(incident, process, CaptureEvidence(), tmp_path, seen)
        gap = capture_evidence(incident, process, CaptureEvidence(), tmp_path, blind)
    inventory = json.loads(Path(next(path for path in kept.evidence if path.endswith("inventory.json"))).read_bytes())
    assert [socket["inode"] for socket in inventory["sockets"]] == [victim.pid]
    unavailable = json.loads(Path(gap.evidence[0]).read_bytes())["unavailable"]
    assert {"name": "inventory.json", "reason": "failed", "detail": "no sensor could look"} in unavailable
