"""Elastic's own server, started for tests: TLS, users and roles from files, as many nodes as asked for.

The distribution comes from Maven Central through `mvn`, once, into the checkout's `.cache`. It has no `GET /`, no
lifecycle management and no ingest; everything a forwarder meets (bulk, data streams, mappings, security) is the real
thing.
"""

import base64
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch

from beat_bridge.shipping import ElasticsearchOptions

VERSION = "8.19.21"
ARTIFACT = f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{VERSION}:zip"
CACHE = Path(__file__).parents[2] / ".cache" / "elasticsearch"
NOBODY = 65534
START_SECONDS = 180.0

USERS = {"admin": "admin password", "writer": "writer password", "reader": "reader password"}
ROLES = """
admin:
  cluster: [all]
  indices: [{names: ['*'], privileges: [all], allow_restricted_indices: true}]
writer:
  indices: [{names: ['logs-doorwatch.*'], privileges: [create_doc, auto_configure]}]
reader:
  indices: [{names: ['logs-doorwatch.*'], privileges: [read]}]
"""


class Node:
    """One server process, which may be killed, paused and started again."""

    def __init__(self, name: str, home: Path, directory: Path, http_port: int) -> None:
        self.name = name
        self.url = f"https://localhost:{http_port}"
        self.directory = directory
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; it is not ready yet."""
        with (self.directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [self._home / "bin" / "elasticsearch", "-p", self.directory / "pid"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.directory),
                    "ES_JAVA_HOME": str(java_home()),
                    "ES_JAVA_OPTS": "-Xms512m -Xmx512m",
                    "ES_PATH_CONF": str(self.directory / "config"),
                    "ES_TMPDIR": str(self.directory / "tmp"),
                },
                start_new_session=True,
                **_somebody(),
            )

    def kill(self) -> None:
        """SIGKILL, as by the kernel out of memory; returns when the processes are gone."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
            self._process = None
            (self.directory / "pid").unlink(missing_ok=True)

    def pause(self) -> None:
        """SIGSTOP: connections are accepted by the kernel, and nobody answers."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGCONT)

    def died(self) -> str:
        """The end of what the process said, where it has ended; empty while it runs."""
        if self._process is None or self._process.poll() is None:
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
def running(count: int = 1, settings: Mapping[str, object] | None = None) -> Iterator[Cluster]:
    """A cluster of its own, ready for requests; gone afterwards, with everything it wrote.

    Args:
        count: Nodes.
        settings: More lines for every node's `elasticsearch.yml`.
    """
    directory = Path(tempfile.mkdtemp(prefix="doorwatch-elasticsearch-"))
    nodes: list[Node] = []
    try:
        directory.chmod(0o755)
        home = _unpack(directory)
        nodes = _prepare(directory, home, count, settings or {})
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
        shutil.rmtree(directory)


_SHARED: pytest.StashKey[Cluster] = pytest.StashKey()


@pytest.fixture(scope="session")
def elasticsearch(pytestconfig: pytest.Config) -> Cluster:
    """One node, shared by all tests of a session, into however many modules this fixture is imported."""
    if _SHARED not in pytestconfig.stash:
        stack = contextlib.ExitStack()
        pytestconfig.stash[_SHARED] = stack.enter_context(running())
        pytestconfig.add_cleanup(stack.close)
    return pytestconfig.stash[_SHARED]


def distribution() -> Path:
    """The server's archive, downloaded where the cache does not have it."""
    archive = CACHE / f"elasticsearch-{VERSION}.zip"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                subprocess.run(
                    ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={scratch}"],
                    check=True,
                    timeout=900,
                )
                (Path(scratch) / archive.name).rename(archive)
    return archive


def java_home() -> Path:
    """The directory of the Java on the path."""
    java = shutil.which("java")
    assert java
    return Path(java).resolve().parents[1]


def write_users(config: Path, users: Mapping[str, str]) -> None:
    """Write the file realm's users; each has the role of the same name."""
    lines = [f"{user}:{_password_hash(password)}" for user, password in users.items()]
    _replace(config / "users", "\n".join(lines) + "\n")
    _replace(config / "users_roles", "".join(f"{user}:{user}\n" for user in users))


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback interface that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in sockets]


def _unpack(directory: Path) -> Path:
    """Unpack the server where a user that is not root can reach it: Elasticsearch refuses to run as root."""
    subprocess.run(["unzip", "-q", distribution(), "-d", directory], check=True, timeout=120)
    return directory / f"elasticsearch-{VERSION}"


def _prepare(directory: Path, home: Path, count: int, settings: Mapping[str, object]) -> list[Node]:
    """Configuration, certificates and users of every node."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    ports = free_ports(2 * count)
    names = [f"node-{number}" for number in range(count)]
    nodes = []
    for number, name in enumerate(names):
        own = directory / name
        config = own / "config"
        for part in ("config", "data", "logs", "tmp"):
            (own / part).mkdir(parents=True)
        for file in ("jvm.options", "log4j2.properties"):
            shutil.copy(home / "config" / file, config / file)
        authority.cert_pem.write_to_path(config / "ca.pem")
        certificate.private_key_pem.write_to_path(config / "key.pem")
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(config / "certificate.pem", append=True)
        (config / "roles.yml").write_text(ROLES)
        write_users(config, USERS)
        lines: dict[str, object] = {
            "cluster.name": "doorwatch-tests",
            "node.name": name,
            "path.data": own / "data",
            "path.logs": own / "logs",
            "network.host": "127.0.0.1",
            "http.port": ports[2 * number],
            "transport.port": ports[2 * number + 1],
            "discovery.seed_hosts": [f"127.0.0.1:{port}" for port in ports[1::2]],
            "cluster.initial_master_nodes": names,
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            "resource.reload.interval.high": "1s",
            "xpack.security.enabled": "true",
            "xpack.security.authc.password_hashing.algorithm": "pbkdf2_1000",
        }
        for layer in ("http", "transport"):
            lines |= {
                f"xpack.security.{layer}.ssl.enabled": "true",
                f"xpack.security.{layer}.ssl.key": "key.pem",
                f"xpack.security.{layer}.ssl.certificate": "certificate.pem",
                f"xpack.security.{layer}.ssl.certificate_authorities": "ca.pem",
            }
        lines |= settings
        (config / "elasticsearch.yml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
        _give_away(own)
        nodes.append(Node(name, home, own, ports[2 * number]))
    return nodes


def _password_hash(password: str) -> str:
    """A password in the file realm's PBKDF2 form."""
    salt = os.urandom(32)
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 1000, 32)
    return f"{{PBKDF2}}1000${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"


def _replace(path: Path, text: str) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(text)
    scratch.replace(path)
    _give_away(path)


def _give_away(path: Path) -> None:
    """Give files to the user the server runs as."""
    if os.geteuid() == 0:
        for entry in [path, *path.rglob("*")]:
            os.chown(entry, NOBODY, NOBODY)


def _somebody() -> dict[str, Any]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
