"""The whole way on real parts: a live emulator, `doorwatch run`, and Elastic's own server behind TLS and a role."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from beat_bridge.ecs import templates
from beat_bridge.ecs.fields import check
from doorwatch.demo.lab import open_lab
from tests.lab.elasticsearch import Cluster
from tests.lab.mappings import degraded

pytestmark = pytest.mark.elasticsearch

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60.0
FINDINGS = "logs-doorwatch.finding-endtoend"


@pytest.fixture
def installed(elasticsearch: Cluster) -> Cluster:
    """The product's own templates, as the test server can have them."""
    for name, body in templates.component_templates().items():
        elasticsearch.admin.cluster.put_component_template(name=name, **degraded(body))
    for name, body in templates.index_templates().items():
        elasticsearch.admin.indices.put_index_template(name=name, **degraded(body))
    return elasticsearch


def _configuration(cluster: Cluster, directory: Path) -> Path:
    options = cluster.options()
    path = directory / "doorwatch.yml"
    path.write_text(
        f"state: {directory}/state\n"
        "namespace: endtoend\n"
        "host: {interval: 1}\n"
        "elasticsearch:\n"
        f"  hosts: ['{options.hosts[0]}']\n"
        f"  ca_file: {options.ca_file}\n"
        f"  username: {options.username}\n"
        f"  password_file: {options.password_file}\n"
    )
    return path


@contextmanager
def _running(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "doorwatch", "run", "--config", str(path)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, log
    assert "Traceback" not in log


def _about(cluster: Cluster, pid: int, action: str) -> list[dict[str, Any]]:
    """The finding documents about a process, as the cluster has them."""
    if not cluster.admin.indices.exists(index=FINDINGS):
        return []
    cluster.admin.indices.refresh(index=FINDINGS)
    query = {"bool": {"filter": [{"term": {"process.pid": pid}}, {"term": {"event.action": action}}]}}
    return [hit["_source"] for hit in cluster.admin.search(index=FINDINGS, query=query, size=100)["hits"]["hits"]]


def _await(cluster: Cluster, pid: int, action: str, kinds: set[str]) -> list[dict[str, Any]]:
    deadline = time.monotonic() + PATIENCE
    while True:
        found = _about(cluster, pid, action)
        if kinds <= {document["doorwatch"]["finding"]["kind"] for document in found}:
            return found
        assert time.monotonic() < deadline, f"only {found} came"
        time.sleep(0.2)


def test_an_emulator_is_told_to_elasticsearch_and_told_gone(installed: Cluster, tmp_path: Path) -> None:
    """What the sensors find on this kernel is in the cluster, searchable by the fields analysts use, once each."""
    kinds = {"socket_filter", "masquerade", "shared_memory_execution", "backdoor_process"}
    with _running(_configuration(installed, tmp_path)):
        with open_lab() as lab:
            opened = _await(installed, lab.emulator_pid, "finding-opened", kinds)
        _await(installed, lab.emulator_pid, "finding-gone", kinds)
    assert len(opened) == len(kinds)
    for document in opened:
        assert not check(document)
        assert document["host"]["os"]["type"] == "linux"
        assert "entity_id" not in document["process"]
    (filtered,) = (d for d in opened if d["doorwatch"]["finding"]["kind"] == "socket_filter")
    assert "udp[8:2] = 0x7255" in filtered["doorwatch"]["filter"]["magic"]


def test_check_names_a_wrong_credential(installed: Cluster, tmp_path: Path) -> None:
    """`run --check` against a cluster that refuses the password says so in one line with its place in the file."""
    path = _configuration(installed, tmp_path)
    wrong = tmp_path / "wrong"
    wrong.write_text("not-the-password")
    path.write_text(path.read_text().replace(str(installed.options().password_file), str(wrong)))
    answer = subprocess.run(
        [sys.executable, "-m", "doorwatch", "run", "--check", "--config", str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE,
        check=False,
    )
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"doorwatch: {path}:5: ")
    assert "(401)" in answer.stderr
