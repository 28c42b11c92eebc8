"""A bridge reduced to its spool and forwarder, in a process of its own that may be killed."""

import itertools
import json
import multiprocessing
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from beat_bridge.model.documents import SerialisedDocument
from beat_bridge.shipping import ElasticsearchOptions, Forwarder, Limits, Pace, Spool
from beat_bridge.shipping.bulk import BulkTarget

QUICK = Pace(first=0.02, longest=0.5, denied=0.2)


def event(stream: str, name: str, **fields: object) -> SerialisedDocument:
    """A document for the mapping that `tests.lab.elasticsearch.Cluster.prepare` makes."""
    source = {"@timestamp": "2026-01-01T00:00:00Z", "message": name} | fields
    return SerialisedDocument(data_stream=stream, id=name, source=json.dumps(source).encode())


def bridge(directory: Path, options: ElasticsearchOptions, stream: str, cycle: int, promises: Connection) -> None:
    """Append and ship for as long as the process lives.

    Args:
        directory: The spool.
        options: The cluster.
        stream: Data stream of all documents.
        cycle: Makes this process's ids its own: `CYCLE-NUMBER`, with `bad` behind those the mapping refuses.
        promises: Is sent the ids of each append after it returned.
    """
    spool = Spool(directory, segment_bytes=50_000)
    forwarder = Forwarder(spool, BulkTarget(options), limits=Limits(documents=100), pace=QUICK)
    threading.Thread(target=forwarder.run, args=(threading.Event(),), daemon=True).start()
    for number in itertools.count():
        names = [f"{cycle}-{number}-{place}{'-bad' if place == 7 else ''}" for place in range(25)]
        spool.append(
            event(stream, name, number="not a number") if name.endswith("bad") else event(stream, name)
            for name in names
        )
        promises.send(names)


def ship_all(spool: Spool, options: ElasticsearchOptions, limits: Limits | None = None) -> None:
    """Ship until the spool is empty."""
    target = BulkTarget(options)
    Forwarder(spool, target, limits=limits, pace=QUICK).run(threading.Event(), until_empty=True)
    target.close()


def killed_bridges(
    directory: Path, options: ElasticsearchOptions, stream: str, delays: list[float]
) -> Iterator[list[str]]:
    """Run one bridge after another, kill each some seconds after its first append; the ids it promised to keep."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    for cycle, delay in enumerate(delays):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=bridge, args=(directory, options, stream, cycle, sender))
        process.start()
        sender.close()
        assert receiver.poll(60), "the bridge did not start"
        promised: list[str] = receiver.recv()
        reading = threading.Thread(target=_receive, args=(receiver, promised))
        reading.start()
        process.join(delay)
        assert process.exitcode is None, "the bridge ended by itself"
        process.kill()
        process.join(30)
        reading.join(30)
        receiver.close()
        yield promised


def _receive(receiver: Connection, promised: list[str]) -> None:
    try:
        while True:
            promised += receiver.recv()
    except (EOFError, OSError):
        return
