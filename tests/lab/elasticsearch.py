"""Elastic's own server, started for tests: TLS, users and roles from files, as many nodes as asked for."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch

from beat_bridge.shipping import ElasticsearchOptions
from tests.lab.elasticsearch_files import NOBODY, USERS, configure, unpack, write_users
from tests.lab.java import java_home

START_SECONDS = 180.0
QUICK_START = "-XX:TieredStopAtLevel=1"
"""Ready in half the time, and slower afterwards: right for tests, not for measuring."""


class Node:
    """One server process, which may be killed, paused and started again; it ends when the tests end, however."""

    def __init__(self, home: Path, directory: Path, http_port: int, lifeline: int, java_options: str) -> None:
        """Prepare.

        Args:
            home: Where the server is unpacked.
            directory: Its own: configuration, data, logs. The node is called like it.
            http_port: Where it listens.
            lifeline: A descriptor that is to stay open for as long as the server may be running.
            java_options: Of its JVM.
        """
        self.name = directory.name
        self.url = f"https://localhost:{http_port}"
        self.directory = directory
        self._home = home
        self._lifeline = lifeline
        self._java_options = java_options
        self._guard: subprocess.Popen[bytes] | None = None
        self._group = 0

    def start(self) -> None:
        """Start the process; it is not ready yet."""
        java = java_home()
        assert java
        with (self.directory / "output").open("ab") as output:
            self._guard = _guard(
                *("run", str(NOBODY if os.geteuid() == 0 else -1), str(self._home / "bin" / "elasticsearch")),
                stdout=subprocess.PIPE,
                stderr=output,
                pass_fds=(self._lifeline,),
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.directory),
                    "ES_JAVA_HOME": str(java),
                    "CLI_JAVA_OPTS": "-XX:-UsePerfData",
                    "ES_JAVA_OPTS": f"-Xms512m -Xmx512m -XX:-UsePerfData {self._java_options}",
                    "ES_PATH_CONF": str(self.directory / "config"),
                    "ES_TMPDIR": str(self.directory / "tmp"),
                },
            )
        assert self._guard.stdout
        self._group = int(self._guard.stdout.readline())

    def kill(self) -> None:
        """SIGKILL, as by the kernel out of memory; returns when the processes are gone."""
        if self._guard is not None:
            self._guard.communicate(timeout=60)
            self._guard = None

    def pause(self) -> None:
        """SIGSTOP: connections are accepted by the kernel, and nobody answers."""
        os.killpg(self._group, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.killpg(self._group, signal.SIGCONT)

    def died(self) -> str:
        """The end of what the process said, where it has ended; empty while it runs."""
        if self._guard is None or self._guard.poll() is None:
            return ""
        return (self.directory / "output").read_text(errors="replace")[-3000:]


class Cluster:
    """Nodes that know each other."""

    def __init__(self, nodes: list[Node], directory: Path) -> None:
        self.nodes = nodes
        self.ca_file = directory / "ca.pem"
        self.secrets = directory / "secrets"
        self.admin = Elasticsearch(
            [node.url for node in nodes],
            ca_certs=str(self.ca_file),
            basic_auth=("admin", USERS["admin"]),
            max_retries=len(nodes),
            request_timeout=60,
        )

    def options(self, user: str = "writer", **changes: Any) -> ElasticsearchOptions:
        """How the product reaches this cluster as one of USERS."""
        chosen: dict[str, Any] = {
            "hosts": tuple(node.url for node in self.nodes),
            "ca_file": str(self.ca_file),
            "username": user,
            "password_file": str(self.secrets / user),
            "request_timeout": 20.0,
        }
        return ElasticsearchOptions(**(chosen | changes))

    def wait_ready(self, nodes: int | None = None) -> None:
        """Return when that many nodes (default: all) have joined and the cluster's primaries are there."""
        deadline = time.monotonic() + START_SECONDS
        expected = str(nodes or len(self.nodes))
        while True:
            for node in self.nodes:
                assert not node.died(), f"{node.name} ended: {node.died()}"
            try:
                health = self.admin.cluster.health(
                    wait_for_status="yellow", wait_for_nodes=f">={expected}", timeout="5s"
                )
            except (TransportError, ApiError) as error:
                last: object = error
            else:
                if not health["timed_out"]:
                    return
                last = health
            assert time.monotonic() < deadline, f"not ready within {START_SECONDS} s: {last}"
            time.sleep(0.2)

    def prepare(self, dataset: str, replicas: int = 0) -> None:
        """Install a strict template for `logs-DATASET-*`, so that there are documents which its mapping refuses."""
        self.admin.indices.put_index_template(
            name=dataset,
            index_patterns=[f"logs-{dataset}-*"],
            data_stream={},
            priority=500,
            template={
                "settings": {"number_of_replicas": replicas},
                "mappings": {
                    "dynamic": "strict",
                    "properties": {
                        "@timestamp": {"type": "date"},
                        "message": {"type": "keyword"},
                        "number": {"type": "long"},
                    },
                },
            },
        )

    def ids(self, data_stream: str) -> list[str]:
        """The `_id` of every document of a data stream, as the cluster itself lists them."""
        self.admin.indices.refresh(index=data_stream)
        found: list[str] = []
        after: list[Any] | None = None
        pit = self.admin.open_point_in_time(index=data_stream, keep_alive="1m")["id"]
        while True:
            page = self.admin.search(
                pit={"id": pit, "keep_alive": "1m"},
                size=10_000,
                source=False,
                sort=[{"_shard_doc": "asc"}],
                search_after=after,
                track_total_hits=False,
            )["hits"]["hits"]
            if not page:
                self.admin.close_point_in_time(id=pit)
                return found
            found += [hit["_id"] for hit in page]
            after = page[-1]["sort"]

    def set_password(self, user: str, password: str) -> None:
        """Change a user's password on every node; they notice within a second or two."""
        for node in self.nodes:
            write_users(node.directory / "config", USERS | {user: password})


@contextlib.contextmanager
def running(
    count: int = 1, settings: Mapping[str, object] | None = None, java_options: str = QUICK_START
) -> Iterator[Cluster]:
    """A cluster of its own, ready for requests; gone afterwards, with everything it wrote.

    Args:
        count: Nodes.
        settings: More lines for every node's `elasticsearch.yml`.
        java_options: Of each server's JVM.
    """
    directory = Path(tempfile.mkdtemp(prefix="doorwatch-elasticsearch-"))
    remover = _guard("remove", str(directory))
    assert remover.stdin
    nodes: list[Node] = []
    try:
        directory.chmod(0o755)
        home = unpack(directory)
        for own, port in configure(directory, home, count, settings or {}):
            nodes.append(Node(home, own, port, remover.stdin.fileno(), java_options))
        (directory / "secrets").mkdir()
        for user, password in USERS.items():
            (directory / "secrets" / user).write_text(password + "\n")
        for node in nodes:
            node.start()
        cluster = Cluster(nodes, directory)
        cluster.wait_ready()
        yield cluster
        cluster.admin.close()
    finally:
        for node in nodes:
            node.kill()
        remover.communicate(timeout=60)


def _guard(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start `guard.py`, which lasts until its standard input ends."""
    program = Path(__file__).with_name("guard.py")
    return subprocess.Popen(
        [sys.executable, "-I", program, *arguments], stdin=subprocess.PIPE, start_new_session=True, **options
    )
