"""Keep what an analyst will need, before anything changes it."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import ensure_private_directory, write_atomically
from beat_bridge.model.base import Reason
from beat_bridge.model.inventory import Inventory
from responders.actions import capture_worker
from responders.incidents import Incident
from responders.outcomes import ActionFailedError, GoneError, Outcome
from responders.playbooks.model import CaptureEvidence
from responders.targets import OpenedProcess

_MAXIMUM_ATTEMPTS = 1000
_FREEZE_SECONDS = 1.0
_REAP_SECONDS = 1.0
_SECRETS = "environ holds the process's environment, which may contain secrets: handle it like a password file"


def capture_evidence(
    incident: Incident,
    process: OpenedProcess | None,
    step: CaptureEvidence,
    directory: Path,
    inventory: Callable[[], Inventory] | None,
) -> Outcome:
    """Copy a process's traces into a private directory, with a manifest.

    Args:
        incident: What this is about.
        process: The confirmed process; None for an incident that has none, where the inventory is all there is.
        step: Caps and choices.
        directory: Where evidence of all incidents lies; this capture gets a directory of its own below it.
        inventory: A look at this host, for the sockets and their filters.

    Raises:
        GoneError: The process ended before anything could be kept.
        ActionFailedError: Nothing could be kept.
    """
    try:
        target = _new_directory(directory / incident.id)
        reports: list[dict[str, Any]] = []
        if process is not None:
            with _frozen(process, step.freeze) as note:
                reports = _run_worker(process, target, step)
            if note:
                reports.append({"name": "freeze", "reason": Reason.FAILED, "detail": note})
        _keep_json(target, "alerts.json", [msgspec.to_builtins(alert) for alert in incident.alerts], reports)
        _keep_inventory(target, process, inventory, reports)
        manifest = _write_manifest(incident, process, target, reports, step)
    except OSError as error:
        raise ActionFailedError(f"evidence cannot be kept in {directory}: {error.strerror}") from error
    files, gaps = manifest["files"], manifest["unavailable"]
    besides = {"alerts.json", "inventory.json"}
    if process is not None and not any(file["name"] not in besides for file in files):
        if process.ended(0):
            raise GoneError(f"process {process.pid} ended before anything of it could be kept")
        raise ActionFailedError(f"nothing of process {process.pid} could be kept: {target}/manifest.json says why")
    missing = f"; {len(gaps)} could not be had, the manifest says why" if gaps else ""
    return Outcome(
        explanation=f"{len(files)} files kept in {target}{missing}",
        evidence=tuple(str(target / name) for name in ("manifest.json", *(file["name"] for file in files))),
    )


def _new_directory(parent: Path) -> Path:
    """A fresh private directory; a capture that was interrupted leaves its own behind."""
    ensure_private_directory(parent.parent)
    ensure_private_directory(parent)
    for attempt in range(1, _MAXIMUM_ATTEMPTS):
        path = parent / str(attempt)
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return path
    raise ActionFailedError(f"{parent}: holds {_MAXIMUM_ATTEMPTS} captures already")


@contextmanager
def _frozen(process: OpenedProcess, wanted: bool) -> Iterator[str]:
    """Stop a process for the time of the block, unless it was stopped already; yields why not, if not."""
    if not wanted or process.state() in "Tt":
        yield ""
        return
    try:
        process.send_signal(signal.SIGSTOP)
    except OSError as error:
        yield f"the process could not be frozen: {error.strerror}"
        return
    try:
        deadline = time.monotonic() + _FREEZE_SECONDS
        while (stopped := process.state() in "TtZX") is False and time.monotonic() < deadline:
            time.sleep(0.001)  # the kernel offers no event for another's child having stopped
        yield "" if stopped else f"the process had not stopped after {_FREEZE_SECONDS:g} s"
    finally:
        with suppress(ProcessLookupError):  # it has ended: there is nothing left to thaw
            process.send_signal(signal.SIGCONT)


def _run_worker(process: OpenedProcess, target: Path, step: CaptureEvidence) -> list[dict[str, Any]]:
    """Let the worker read, for as long as the cap allows, and return what it reported."""
    deadline = time.monotonic() + step.time_cap_seconds
    directory = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    script = capture_worker.__file__
    numbers = [process.directory, directory, step.size_cap_bytes, int(step.environment)]
    try:
        worker = subprocess.Popen(
            [sys.executable, "-I", "-S", script, *(str(number) for number in numbers)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(process.directory, directory),
            env={},
        )
    finally:
        os.close(directory)
    output = _read_until(worker, deadline)
    worker.kill()
    with suppress(subprocess.TimeoutExpired):  # stuck in the kernel: it dies when that lets it go
        worker.wait(_REAP_SECONDS)
    lines = output.splitlines(keepends=True)
    reports = [json.loads(line) for line in lines if line.endswith(b"\n")]
    if not any("complete" in entry for entry in reports):
        done = {entry["name"] for entry in reports}
        wanted = [*capture_worker.PLAIN, "descriptors.jsonl", "threads.jsonl"]
        wanted += [f"net_{name}" for name in capture_worker.NETWORK]
        wanted += [*capture_worker.MEMORY, *(["environ"] if step.environment else []), "executable"]
        detail = f"the capture did not end within {step.time_cap_seconds:g} s"
        reports += [{"name": name, "reason": "failed", "detail": detail} for name in wanted if name not in done]
    return [entry for entry in reports if "name" in entry]


def _read_until(worker: "subprocess.Popen[bytes]", deadline: float) -> bytes:
    """Its standard output up to its end or the deadline; each report is one short line, so this stays small."""
    if worker.stdout is None:
        raise AssertionError("the worker was started with a pipe")
    parts = []
    with worker.stdout as stream:
        poller = select.poll()
        poller.register(stream, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0 and poller.poll(left * 1000):
            part = os.read(stream.fileno(), 65536)
            if not part:
                break
            parts.append(part)
    return b"".join(parts)


def _keep_inventory(
    target: Path,
    process: OpenedProcess | None,
    inventory: Callable[[], Inventory] | None,
    reports: list[dict[str, Any]],
) -> None:
    """The process as the sensors see it, its sockets with their filters, and what they could not see."""
    if inventory is None:
        return
    try:
        seen = inventory()
    except DoorwatchError as error:
        reports.append({"name": "inventory.json", "reason": Reason.FAILED, "detail": str(error)})
        return
    if process is not None:
        pid = process.pid
        seen = msgspec.structs.replace(
            seen,
            processes=tuple(found for found in seen.processes if found.pid == pid),
            sockets=tuple(found for found in seen.sockets if any(holder.pid == pid for holder in found.holders)),
            pid_files=tuple(found for found in seen.pid_files if pid in (*found.open_by, *found.locked_by)),
        )
    _keep_json(target, "inventory.json", msgspec.to_builtins(seen), reports)


def _keep_json(target: Path, name: str, value: Any, reports: list[dict[str, Any]]) -> None:
    data = msgspec.json.encode(value)
    write_atomically(target / name, data)
    reports.append({"name": name, "bytes": len(data), "sha256": sha256(data).hexdigest(), "cut": False})


def _write_manifest(
    incident: Incident,
    process: OpenedProcess | None,
    target: Path,
    reports: list[dict[str, Any]],
    step: CaptureEvidence,
) -> Mapping[str, Any]:
    """What was kept, under which hash, and what could not be had and why."""
    files = [entry for entry in reports if "sha256" in entry]
    manifest = {
        "incident": incident.id,
        "taken_at": datetime.now(UTC).isoformat(),
        "process": None if process is None else msgspec.to_builtins(process.identity),
        "files": files,
        "unavailable": [entry for entry in reports if "reason" in entry],
        "notes": [_SECRETS] if step.environment and any(file["name"] == "environ" for file in files) else [],
    }
    write_atomically(target / "manifest.json", msgspec.json.format(msgspec.json.encode(manifest), indent=2))
    return manifest
