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


def _check(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _doorwatch("run", "--check", "--config", str(path)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE,
        check=False,
    )


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
    answer = _check(path)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"doorwatch: {path}:{line}: "), answer.stderr
    assert word in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_sound_configuration_is_said_to_be(tmp_path: Path) -> None:
    """`--check` on a file without targets says that all is well, and starts nothing."""
    path = _configuration(tmp_path)
    answer = _check(path)
    assert answer.returncode == 0
    assert not (tmp_path / "state").exists()


OWN_RESPONDER = """\
alerts:
  token_file: {token}
responder:
  port: 0
  allow_plaintext: true
  token_file: {token}
  playbooks: [{playbook}]
"""


def _with_responder(directory: Path) -> Path:
    token, playbook = directory / "token", directory / "playbook.yml"
    token.write_text("a-token-of-this-test-alone")
    token.chmod(0o600)
    playbook.write_text("name: look\nsteps: [{action: verify_cure}]\n")
    return _configuration(directory, OWN_RESPONDER.format(token=token, playbook=playbook))


def test_a_responder_of_ones_own_needs_no_address(tmp_path: Path) -> None:
    """Alerts without a url go to the responder of the same file, and that configuration is sound."""
    answer = _check(_with_responder(tmp_path))
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize(("name", "content"), [("playbook.yml", "name: look\nstep: []\n"), ("token", "short")])
def test_a_file_the_responder_cannot_start_with_is_named(tmp_path: Path, name: str, content: str) -> None:
    """`--check` finds a broken playbook and a token too short before the service does."""
    path = _with_responder(tmp_path)
    (tmp_path / name).write_text(content)
    answer = _check(path)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"doorwatch: {path}:6: ")
    assert name in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_missing_certificate_is_named_with_its_line(tmp_path: Path) -> None:
    """`--check` says which key of the file leads to no certificate."""
    path = _with_responder(tmp_path)
    text = path.read_text().replace(
        "  allow_plaintext: true\n", "  tls_certificate: /nonexistent\n  tls_key: /dev/null\n"
    )
    path.write_text(text)
    answer = _check(path)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"doorwatch: {path}:8: /nonexistent: there is no such file")
