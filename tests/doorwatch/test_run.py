"""`doorwatch run` on this host: documents arrive in the local store, and it stops when told to."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 30.0


def _doorwatch(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "doorwatch", *arguments]


def _configuration(directory: Path, more: str = "") -> Path:
    path = directory / "doorwatch.yml"
    path.write_text(f"state: {directory}/state\nhost:\n  interval: 0.5\n{more}")
    return path


def _search(directory: Path, query: str) -> list[dict[str, object]]:
    """What the store holds; nothing while the bridge has not made it yet."""
    answer = subprocess.run(
        _doorwatch("documents", "search", query, "--state", str(directory / "state"), "--format", "json"),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE,
        check=False,
    )
    return [json.loads(line) for line in answer.stdout.splitlines()]


@pytest.mark.live
def test_documents_of_a_live_host_reach_the_local_store(tmp_path: Path) -> None:
    """From one configuration file, the sensors' coverage and a heartbeat arrive, and SIGTERM ends it in order."""
    process = subprocess.Popen(
        _doorwatch("run", "--config", str(_configuration(tmp_path))), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + PATIENCE
        wanted = {"coverage-reported", "heartbeat"}
        seen: set[object] = set()
        while not wanted <= seen and time.monotonic() < deadline:
            assert process.poll() is None
            seen = {d["event"]["action"] for d in _search(tmp_path, "event.module: doorwatch")}  # type: ignore[index] # decoded JSON
        assert wanted <= seen
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, log
    assert "Traceback" not in log
    assert log.splitlines()[-1].endswith("stopped")


@pytest.mark.parametrize(
    ("more", "line", "word"),
    [
        ("elasticsearch:\n  hosts: ['https://127.0.0.1:9']\n", 5, "reached"),
        ("alerts:\n  url: https://127.0.0.1:9/v1/alerts\n", 5, "127.0.0.1:9"),
    ],
)
def test_an_unreachable_target_is_one_line_with_its_place(tmp_path: Path, more: str, line: int, word: str) -> None:
    """`--check` names the file's line of a target that does not answer, and exits with 2."""
    path = _configuration(tmp_path, more)
    answer = subprocess.run(
        _doorwatch("run", "--check", "--config", str(path)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE,
        check=False,
    )
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"doorwatch: {path}:{line}: "), answer.stderr
    assert word in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_sound_configuration_is_said_to_be(tmp_path: Path) -> None:
    """`--check` on a file without targets says that all is well, and starts nothing."""
    path = _configuration(tmp_path)
    answer = subprocess.run(
        _doorwatch("run", "--check", "--config", str(path)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE,
        check=False,
    )
    assert answer.returncode == 0
    assert not (tmp_path / "state").exists()
