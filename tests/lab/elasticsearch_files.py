"""What a test server is made of: the distribution, its configuration, certificates, users and roles.

The distribution comes from Maven Central through `mvn`, once, into the checkout's `.cache`. It has no `GET /`, no
lifecycle management and no ingest; everything a forwarder meets (bulk, data streams, mappings, security) is the real
thing.
"""

import base64
import contextlib
import fcntl
import hashlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import trustme

VERSION = "8.19.21"
ARTIFACT = f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{VERSION}:zip"
CACHE = Path(__file__).parents[2] / ".cache" / "elasticsearch"
NOBODY = 65534
"""The user servers run as where the tests are root's: Elasticsearch refuses to run as root."""

USERS = {name: f"{name} password" for name in ("admin", "writer", "sniffer", "reader")}
ROLES = """
admin:
  cluster: [all]
  indices: [{names: ['*'], privileges: [all], allow_restricted_indices: true}]
writer:
  indices: [{names: ['logs-doorwatch.*'], privileges: [create_doc, auto_configure]}]
sniffer:
  cluster: [monitor]
  indices: [{names: ['logs-doorwatch.*'], privileges: [create_doc, auto_configure]}]
reader:
  indices: [{names: ['logs-doorwatch.*'], privileges: [read]}]
"""


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


def write_users(config: Path, users: Mapping[str, str]) -> None:
    """Write the file realm's users; each has the role of the same name."""
    lines = [f"{user}:{_password_hash(password)}" for user, password in users.items()]
    _replace(config / "users", "\n".join(lines) + "\n")
    _replace(config / "users_roles", "".join(f"{user}:{user}\n" for user in users))


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback interface that nobody listens on.

    They lie below those that the kernel gives to outgoing connections: while a server is down, a client that tries to
    reach it could otherwise be given the server's own port, connect to itself, and keep the server from coming back.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    for port in random.sample(range(first - 12_000, first), 12_000):
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"no {count} free ports below {first}")


def unpack(directory: Path) -> Path:
    """Unpack the server below a directory that NOBODY can reach; where it then is."""
    subprocess.run(["unzip", "-q", distribution(), "-d", directory], check=True, timeout=120)
    return directory / f"elasticsearch-{VERSION}"


def configure(directory: Path, home: Path, count: int, settings: Mapping[str, object]) -> Sequence[tuple[Path, int]]:
    """Make a directory for each node, with configuration, certificates and users; and its HTTP port."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    ports = free_ports(2 * count)
    http_ports, transport_ports = ports[:count], ports[count:]
    names = [f"node-{number}" for number in range(count)]
    made = []
    for name, http_port, transport_port in zip(names, http_ports, transport_ports, strict=True):
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
            "http.port": http_port,
            "transport.port": transport_port,
            "discovery.seed_hosts": [f"127.0.0.1:{port}" for port in transport_ports],
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
        made.append((own, http_port))
    return made


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
