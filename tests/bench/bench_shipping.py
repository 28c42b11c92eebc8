"""Shipping to a real Elasticsearch beside `elasticsearch.helpers.streaming_bulk`, and memory over a million documents.

The peer has its defaults and gets dictionaries that are in memory already; ours come from the disk. Both write the same
documents through the product's own templates to the same server, in turn, each time to a new data stream; each
measurement is a process of its own, whose processor time is its own. The server shares the machine: its ceiling is what
a loop reaches that sends finished requests from memory and does nothing else; what ours could do without a server's
work is measured with a sink that answers at once.
"""

import asyncio
import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from elasticsearch import Elasticsearch
from elasticsearch.helpers import streaming_bulk

from beat_bridge.ecs import templates
from beat_bridge.ecs.findings import finding_document
from beat_bridge.model.documents import Document, SerialisedDocument, serialise
from beat_bridge.model.findings import FindingKind
from beat_bridge.shipping import ElasticsearchOptions, Forwarder, Limits, Spool
from beat_bridge.shipping.bulk import BulkTarget
from beat_bridge.shipping.target import Answered
from tests.bench.figures import Figure
from tests.inventories.samples import event, finding
from tests.lab.elasticsearch import Cluster, running
from tests.lab.mappings import degraded

DOCUMENTS = 40_000
ROUNDS = 3
WARM_UP = 3
"""Rounds that are not counted: a server's JVM compiles for some hundred thousand documents."""
MILLION = 1_000_000
CHUNK = 1000
IN_FLIGHT = Limits().in_flight
Work = Callable[[ElasticsearchOptions, str], tuple[float, float]]


@functools.cache
def _example() -> dict[str, Any]:
    told = finding(kind=FindingKind.MASQUERADE, parent=None, socket=None, judgement=None, pid_file=None, hook=None)
    return finding_document(event(told)).body


def body(number: int) -> dict[str, Any]:
    """A finding's document of about 1.7 KB, no two alike."""
    whole = _example()
    moment = f"2026-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}.000Z"
    return {
        **whole,
        "@timestamp": moment,
        "event": {**whole["event"], "id": uuid.uuid4().hex},
        "host": {**whole["host"], "id": uuid.uuid4().hex, "name": f"host-{number % 50}"},
        "process": {**whole["process"], "pid": number % 32768},
    }


def figures() -> Sequence[Figure]:
    """The table."""
    with running(java_options="") as cluster:
        rates = _rates(cluster)
    return [*rates, _memory()]


def _rates(cluster: Cluster) -> list[Figure]:
    for name, template in templates.component_templates().items():
        cluster.admin.cluster.put_component_template(name=name, body=degraded(template))
    for name, template in templates.index_templates().items():
        cluster.admin.indices.put_index_template(name=name, body=degraded(template))
    taken: dict[Work, list[tuple[float, float]]] = {ship: [], stream: [], post: []}
    for number in range(WARM_UP + ROUNDS):
        for work, results in taken.items():
            name = f"logs-doorwatch.finding-{work.__name__}{number}"
            measured = _alone(work, cluster.options(), name)
            cluster.admin.indices.refresh(index=name)
            assert cluster.admin.count(index=name)["count"] == DOCUMENTS
            if number >= WARM_UP:
                results.append(measured)
    with _null_sink() as url:
        sunk = _alone(ship, ElasticsearchOptions(hosts=(url,)), "logs-doorwatch.finding-sink")
    rate, peer_rate, ceiling = (
        statistics.median(DOCUMENTS / seconds for seconds, _ in taken[work]) for work in (ship, stream, post)
    )
    cpu, peer_cpu = (statistics.median(1e6 * used / DOCUMENTS for _, used in taken[work]) for work in (ship, stream))
    load = os.getloadavg()[0]
    return [
        Figure(
            "shipping to Elasticsearch",
            rate,
            "documents/s",
            ">= 3 x streaming_bulk",
            rate >= 3 * peer_rate,
            "streaming_bulk",
            peer_rate,
            f"median of {ROUNDS}; load {load:.1f} on {os.cpu_count()} processors",
        ),
        Figure(
            "the server's ceiling",
            ceiling,
            "documents/s",
            "",
            None,
            "streaming_bulk",
            peer_rate,
            f"finished requests from memory, {IN_FLIGHT} under way",
        ),
        Figure(
            "shipping to a sink", DOCUMENTS / sunk[0], "documents/s", "", None, "to Elasticsearch", rate, "without TLS"
        ),
        Figure(
            "client processor time",
            cpu,
            "us/document",
            "<= 1/8 of streaming_bulk",
            cpu <= peer_cpu / 8,
            "streaming_bulk",
            peer_cpu,
            "user and system, TLS included",
        ),
    ]


def _alone(work: Callable[..., tuple[float, float]], *arguments: Any) -> tuple[float, float]:
    """Run some work in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result(600)


def ship(options: ElasticsearchOptions, name: str) -> tuple[float, float]:
    """Seconds, and processor seconds, to ship what lies in a spool."""
    with tempfile.TemporaryDirectory() as directory, Spool(Path(directory) / "spool") as spool:
        for start in range(0, DOCUMENTS, CHUNK):
            spool.append(
                serialise(Document(data_stream=name, id=str(number), body=body(number)))
                for number in range(start, start + CHUNK)
            )
        target = BulkTarget(options)
        began, used = time.perf_counter(), time.process_time()
        Forwarder(spool, target).run(threading.Event(), until_empty=True)
        result = time.perf_counter() - began, time.process_time() - used
        assert spool.status().delivered == DOCUMENTS
        target.close()
    return result


def stream(options: ElasticsearchOptions, name: str) -> tuple[float, float]:
    """The same with the official helper, from dictionaries in memory."""
    client = Elasticsearch(
        list(options.hosts),
        ca_certs=options.ca_file,
        basic_auth=(options.username, Path(options.password_file).read_text().strip()),
    )
    bodies = [body(number) for number in range(DOCUMENTS)]
    began, used = time.perf_counter(), time.process_time()
    actions = (
        {"_op_type": "create", "_index": name, "_id": str(number), "_source": source}
        for number, source in enumerate(bodies)
    )
    count = sum(ok for ok, _ in streaming_bulk(client, actions))
    result = time.perf_counter() - began, time.process_time() - used
    assert count == DOCUMENTS
    client.close()
    return result


def post(options: ElasticsearchOptions, name: str) -> tuple[float, float]:
    """The same from requests that are finished before the clock starts: what the server can take."""
    size = Limits().documents
    lines = [
        b'{"create":{"_index":"%b","_id":"%d"}}\n%b\n' % (name.encode(), number, msgspec.json.encode(body(number)))
        for number in range(DOCUMENTS)
    ]
    requests = [lines[start : start + size] for start in range(0, DOCUMENTS, size)]
    target = BulkTarget(options)
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        began, used = time.perf_counter(), time.process_time()
        outcomes = list(pool.map(target.send, requests))
        result = time.perf_counter() - began, time.process_time() - used
    assert outcomes == [Answered((None,) * len(request)) for request in requests]
    target.close()
    return result


def _memory() -> Figure:
    with tempfile.TemporaryDirectory() as directory, _null_sink() as url:
        early, late = _alone(_append_and_ship, url, directory)
    growth = late / early
    return Figure(
        "memory over a million documents",
        late,
        "MiB",
        "flat: last tenth within 5 % of the second",
        growth <= 1.05,
        "second tenth",
        early,
        "append, fsync and ship at once, to a null sink",
    )


def _append_and_ship(url: str, directory: str) -> tuple[float, float]:
    """Resident MiB while the second tenth of a million documents goes through, and while the last does: medians."""
    stop = threading.Event()
    target = BulkTarget(ElasticsearchOptions(hosts=(url,)))
    with Spool(Path(directory) / "spool", budget_bytes=256 << 20) as spool:
        forwarder = threading.Thread(target=Forwarder(spool, target).run, args=(stop,))
        forwarder.start()
        source = msgspec.json.encode(body(0))
        resident: list[float] = []
        for start in range(0, MILLION, CHUNK):
            documents = [
                SerialisedDocument(data_stream="logs-doorwatch.finding-sink", id=str(number), source=source)
                for number in range(start, start + CHUNK)
            ]
            while spool.status().pending_documents > 20 * CHUNK:
                time.sleep(0.005)
            spool.append(documents)
            resident.append(_resident())
        while spool.status().pending_documents:
            time.sleep(0.01)
        stop.set()
        forwarder.join()
    target.close()
    tenth = len(resident) // 10
    return statistics.median(resident[tenth : 2 * tenth]), statistics.median(resident[-tenth:])


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@contextlib.contextmanager
def _null_sink() -> Iterator[str]:
    """A process that answers every request with success at once."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{receiver.recv()}"
    finally:
        process.kill()
        process.join()


def _serve(port: "multiprocessing.connection.Connection") -> None:
    answer = b'{"errors":false}'
    head = (
        b"HTTP/1.1 200 OK\r\nX-Elastic-Product: Elasticsearch\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
    )

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                length = int(request.lower().partition(b"content-length:")[2].partition(b"\r")[0])
                await reader.readexactly(length)
                writer.write(head + answer)

    async def serve() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=1 << 26)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())
