"""What shipping survives, with a real Elasticsearch, TLS and a user that may only add documents.

After each: every document is in Elasticsearch exactly once or is a dead letter, and the counts say so. What is in
Elasticsearch is asked of Elasticsearch, by somebody else.
"""

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from beat_bridge.shipping import ElasticsearchOptions, Forwarder, ForwarderState, Letter, Limits, Spool
from beat_bridge.shipping.bulk import BulkTarget
from tests.lab.elasticsearch import Cluster, Node, running
from tests.lab.elasticsearch_files import USERS
from tests.lab.shipper import QUICK, event, killed_bridges, ship_all

pytestmark = pytest.mark.elasticsearch
DATASET = "doorwatch.survival"
OUTAGE_SECONDS = {"killed": 60, "frozen": 8}
"""How long a server is away, by what happened to it. Frozen, it outlasts several requests of 2 s."""


@pytest.fixture
def cluster(elasticsearch: Cluster) -> Cluster:
    """The shared cluster with the tests' template."""
    elasticsearch.prepare(DATASET)
    return elasticsearch


@pytest.fixture
def stream(request: pytest.FixtureRequest) -> str:
    """A data stream of this test's own."""
    return f"logs-{DATASET}-{request.node.originalname}"


class Shipping:
    """A forwarder on a thread, for tests that break something meanwhile."""

    def __init__(self, spool: Spool, options: ElasticsearchOptions, limits: Limits | None = None) -> None:
        self.target = BulkTarget(options)
        self.forwarder = Forwarder(spool, self.target, limits=limits or Limits(documents=50), pace=QUICK)
        self._spool = spool
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.forwarder.run, args=(self._stop,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        self.target.close()

    def wait_for(self, state: ForwarderState, seconds: float = 60) -> str:
        """Return the detail when the forwarder is in this state."""
        deadline = time.monotonic() + seconds
        while (status := self.forwarder.status()).state is not state:
            assert time.monotonic() < deadline, f"still {status}"
            time.sleep(0.005)
        return status.detail

    def wait_until_some_arrived(self, count: int, seconds: float = 120) -> None:
        """Return when so many documents were delivered: whoever answered them has been asked for the other nodes."""
        deadline = time.monotonic() + seconds
        while self._spool.status().delivered < count:
            assert time.monotonic() < deadline, f"{self._spool.status()} {self.forwarder.status()}"
            time.sleep(0.005)

    def wait_until_empty(self, seconds: float = 120) -> None:
        """Return when nothing is pending."""
        deadline = time.monotonic() + seconds
        while self._spool.status().pending_documents:
            assert time.monotonic() < deadline, f"{self._spool.status()} {self.forwarder.status()}"
            time.sleep(0.01)


def account(spool: Spool, cluster: Cluster, stream: str) -> tuple[set[str], set[str]]:
    """The ids in Elasticsearch and in dead letters, after holding the counts against both."""
    found = cluster.ids(stream)
    dead = [letter.id for letter in spool.letters.read() if isinstance(letter, Letter)]
    assert not [name for name, count in Counter(found + dead).items() if count != 1]
    status = spool.status()
    assert (status.delivered, status.dead_letters, status.pending_documents) == (len(found), len(dead), 0)
    assert status.appended == len(found) + len(dead)
    assert (status.torn_records, status.damaged_records) == (0, 0)
    return set(found), set(dead)


def test_fifty_kills(cluster: Cluster, stream: str, tmp_path: Path) -> None:
    """Killed with SIGKILL at 50 random moments while shipping, the bridge keeps every promise and doubles nothing."""
    chance = random.Random(20260101)  # noqa: S311 - repeatable moments
    delays = [chance.uniform(0, 0.4) for _ in range(50)]
    promised: set[str] = set()
    for names in killed_bridges(tmp_path / "spool", cluster.options(), stream, delays):
        promised.update(names)
    assert len(promised) > 1000
    with Spool(tmp_path / "spool") as spool:
        ship_all(spool, cluster.options())
        found, dead = account(spool, cluster, stream)
    assert promised <= found | dead
    assert all(name.endswith("bad") for name in dead)
    assert not [name for name in found if name.endswith("bad")]


def test_documents_the_mapping_refuses(cluster: Cluster, stream: str, tmp_path: Path) -> None:
    """What the mapping refuses is a dead letter with the server's reason; replayed after a repair it is delivered."""
    with Spool(tmp_path) as spool:
        spool.append(
            [
                event(stream, "good"),
                event(stream, "unknown field", colour="blue"),
                event(stream, "wrong type", number="many"),
                event(stream, "x" * 600),
                event(stream, "also good", number=3),
            ]
        )
        ship_all(spool, cluster.options())
        found, dead = account(spool, cluster, stream)
        assert found == {"good", "also good"}
        assert dead == {"unknown field", "wrong type", "x" * 600}
        reasons = {letter.id: letter.reason for letter in spool.letters.read() if isinstance(letter, Letter)}
        assert reasons["unknown field"].type == "strict_dynamic_mapping_exception"
        assert "[colour]" in reasons["unknown field"].reason
        assert reasons["wrong type"].status == 400
        assert "no longer than 512 bytes" in reasons["x" * 600].reason
        cluster.admin.indices.put_mapping(index=stream, properties={"colour": {"type": "keyword"}})
        assert spool.replay({"unknown field"}) == 1
        ship_all(spool, cluster.options())
        assert set(cluster.ids(stream)) == {"good", "also good", "unknown field"}
        status = spool.status()
        assert (status.appended, status.delivered, status.dead_letters, status.replayed) == (6, 3, 3, 1)


def test_a_password_that_changes(cluster: Cluster, stream: str, tmp_path: Path) -> None:
    """With a wrong password, and again when it changes, shipping waits, says so, and goes on once it is right."""
    secret = tmp_path / "password"
    secret.write_text("wrong")
    options = cluster.options(password_file=str(secret))
    with Spool(tmp_path / "spool") as spool, Shipping(spool, options) as shipping:
        spool.append(event(stream, f"first {number}") for number in range(20))
        detail = shipping.wait_for(ForwarderState.DENIED)
        assert "the credential is refused (401)" in detail
        assert "wrong" not in detail.replace("wrong, expired or revoked", "")
        assert spool.status().delivered == 0
        secret.write_text(USERS["writer"])
        shipping.wait_until_empty()
        cluster.set_password("writer", "a new password")
        try:
            number = 0
            while shipping.forwarder.status().state is not ForwarderState.DENIED:  # the server notices in its own time
                spool.append([event(stream, f"second {number}")])
                number += 1
                time.sleep(0.02)
                assert number < 2000
            secret.write_text("a new password")
            shipping.wait_until_empty()
        finally:
            cluster.set_password("writer", USERS["writer"])
            wait_for_user(cluster)
        found, dead = account(spool, cluster, stream)
        assert len(found) == 20 + number
        assert not dead


def wait_for_user(cluster: Cluster) -> None:
    """Return when the writer's usual password works again."""
    target = BulkTarget(cluster.options())
    deadline = time.monotonic() + 60
    while not target.understands():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    target.close()


def test_a_role_that_may_not_write(cluster: Cluster, stream: str, tmp_path: Path) -> None:
    """A user whose role does not allow writing makes no dead letters: the documents wait for a better role."""
    with Spool(tmp_path) as spool:
        spool.append([event(stream, "a"), event("logs-elsewhere-default", "b")])
        with Shipping(spool, cluster.options("reader")) as shipping:
            assert "role does not allow this (403)" in shipping.wait_for(ForwarderState.DENIED)
        with Shipping(spool, cluster.options("writer")) as shipping:
            assert "security_exception" in shipping.wait_for(ForwarderState.DENIED)
        status = spool.status()
        assert (status.pending_documents, status.dead_letters) == (2, 0)
        assert [letter.id for letter in spool.letters.read() if isinstance(letter, Letter)] == []


def test_a_missing_template(cluster: Cluster, tmp_path: Path) -> None:
    """Before `doorwatch setup` has run no index with a guessed mapping is made: documents wait for the template."""
    stream = "logs-doorwatch.late-default"
    with Spool(tmp_path) as spool, Shipping(spool, cluster.options()) as shipping:
        spool.append([event(stream, "early")])
        assert "index_not_found_exception" in shipping.wait_for(ForwarderState.DENIED)
        cluster.prepare("doorwatch.late")
        shipping.wait_until_empty()
        assert account(spool, cluster, stream) == ({"early"}, set())


@pytest.mark.parametrize("how", list(OUTAGE_SECONDS))
def test_a_server_that_is_away(cluster: Cluster, stream: str, tmp_path: Path, how: str) -> None:
    """A server that is gone, or answers nobody, for a while costs nothing but time, lost answers included."""
    stream = f"{stream}-{how}"
    (node,) = cluster.nodes
    names = [f"{number}" for number in range(3000)]
    with Spool(tmp_path) as spool, Shipping(spool, cluster.options(request_timeout=2.0)) as shipping:
        for start in range(0, 3000, 100):
            spool.append(event(stream, name) for name in names[start : start + 100])
            if start == 1000:
                node.kill() if how == "killed" else node.pause()
        shipping.wait_for(ForwarderState.RETRYING)
        time.sleep(OUTAGE_SECONDS[how])  # the outage itself
        assert spool.status().pending_documents
        node.start() if how == "killed" else node.resume()
        cluster.wait_ready()
        shipping.wait_until_empty()
        assert account(spool, cluster, stream) == (set(names), set())


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[Cluster]:
    """Three nodes, each document on two of them."""
    with running(3) as cluster:
        cluster.prepare(DATASET, replicas=1)
        yield cluster


@pytest.mark.parametrize("known", ["all nodes", "one node"])
def test_one_node_of_three_killed(three_nodes: Cluster, stream: str, tmp_path: Path, known: str) -> None:
    """With one of three nodes killed shipping goes on over the others, configured or found through the one."""
    stream = f"{stream}-{known[:3]}"
    with Spool(tmp_path) as spool:
        spool.append([event(stream, "first")])
        ship_all(spool, three_nodes.options())
        primary = holder_of_primary(three_nodes, stream)
        options = three_nodes.options(request_timeout=5.0)
        if known == "one node":
            options = three_nodes.options("sniffer", hosts=(primary.url,), sniff=True, request_timeout=5.0)
        names = [f"{number}" for number in range(5000)]
        with Shipping(spool, options) as shipping:
            for start in range(0, 5000, 100):
                spool.append(event(stream, name) for name in names[start : start + 100])
                if start == 1000:
                    shipping.wait_until_some_arrived(500)  # a node that dies before it was ever asked names no others
                    three_nodes.admin.cluster.health(index=stream, wait_for_status="green", timeout="60s")
                    primary.kill()
            shipping.wait_until_empty()
        three_nodes.wait_ready(nodes=2)
        assert account(spool, three_nodes, stream) == ({"first", *names}, set())
    primary.start()
    three_nodes.wait_ready()


def holder_of_primary(cluster: Cluster, stream: str) -> Node:
    """The node that has a data stream's one primary shard."""
    index = next(iter(cluster.admin.indices.get_mapping(index=stream)))
    shards = cluster.admin.cat.shards(index=index, format="json")
    primary = next(row["node"] for row in shards if row["prirep"] == "p")  # type: ignore[index] # rows
    return next(node for node in cluster.nodes if node.name == primary)


def test_a_server_that_is_too_busy(stream: str, tmp_path: Path) -> None:
    """Real 429s, from a server with one writing thread and a queue of one, are waited out item by item."""
    with running(settings={"thread_pool.write.size": 1, "thread_pool.write.queue_size": 1}) as cluster:
        cluster.prepare(DATASET)
        names = [f"{number}" for number in range(3000)]
        with Spool(tmp_path) as spool:
            spool.append(event(stream, name) for name in names)
            ship_all(spool, cluster.options(), Limits(documents=50, in_flight=12))
            assert account(spool, cluster, stream) == (set(names), set())
        pools = cluster.admin.nodes.stats(metric="thread_pool")["nodes"].values()
        assert sum(node["thread_pool"]["write"]["rejected"] for node in pools) > 0


FULL_DISK = """
import json, subprocess, sys, pathlib, msgspec
from beat_bridge.shipping import ElasticsearchOptions, Spool, SpoolFullError
from tests.lab.shipper import event, ship_all
directory, stream = pathlib.Path(sys.argv[1]), sys.argv[2]
options = msgspec.json.decode(sys.argv[3], type=ElasticsearchOptions)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", directory], check=True)
kept, refused, errors = [], 0, []

def append(name, **more):
    global refused
    names = [f"{name}-{place}" for place in range(20)]
    try:
        spool.append([*(event(stream, one, message="." * 300) for one in names), event(stream, name, **more)])
    except SpoolFullError as error:
        refused += 21
        errors.append(str(error))
    else:
        kept.extend([*names, name])

with Spool(directory / "spool", segment_bytes=50_000) as spool:
    for number in range(100):
        append(f"first-{number}", number="x")
    assert refused
    ship_all(spool, options)
    append("second")
    with (directory / "filler").open("wb", buffering=0) as filler:
        try:
            while filler.write(bytes(512)):
                pass
        except OSError:
            pass
    append("refused")
    ship_all(spool, options)
    (directory / "filler").unlink()
    append("third")
    ship_all(spool, options)
    letters = [letter.id for letter in spool.letters.read()]
    print(json.dumps([kept, refused, errors, letters, msgspec.to_builtins(spool.status())]))
"""


@pytest.mark.live
def test_a_full_disk(cluster: Cluster, stream: str, tmp_path: Path) -> None:
    """On a full disk, what is refused is said to be, and the rest is delivered, which frees the disk again."""
    options = json.dumps(
        {name: getattr(cluster.options(), name) for name in ("hosts", "ca_file", "username", "password_file")}
    )
    answer = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", FULL_DISK, tmp_path, stream, options],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    kept, refused, errors, letters, status = json.loads(answer.stdout)
    assert "21 documents were not taken: " in errors[0]
    assert ": 0 bytes are free on the disk" in errors[-1]
    assert {"second", "third", "first-0"} < set(kept)
    found = cluster.ids(stream)
    assert sorted(found + letters) == sorted(kept)
    assert (status["refused"], status["appended"]) == (refused, len(kept))
    assert (status["delivered"], status["dead_letters"]) == (len(found), len(letters))
