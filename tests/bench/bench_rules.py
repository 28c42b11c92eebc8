"""How fast the shipped rules read documents, on one core, and how much a sequence remembers.

There is no fair peer to import: the only public EQL engine in Python (PyPI `eql`, 3,700 documents a second for fourteen
rules, and no arrays) is AGPL. The peer is therefore the floor under any engine in Python: decoding the same lines and
reading the same fields, without deciding anything.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from detection_rules import Rule, RuleSet, Watch, compile_query, load_rules
from detection_rules.language.branches import branches
from detection_rules.language.fields import reader
from detection_rules.lint import queried_fields
from detection_rules.proof import read_proof
from tests.bench.figures import Figure

DOCUMENTS = 4_000
BYTES = 1_500
KEYS = 100_000


def figures() -> Sequence[Figure]:
    """Documents for each second of CPU, decode included and alone."""
    rules = load_rules()
    lines = _lines(rules)
    decoder = msgspec.json.Decoder()
    readers = [reader(name) for name in sorted({name for rule in rules for name in queried_fields(rule)})]

    def ours() -> None:
        watch = Watch(rules)
        for number, line in enumerate(lines):
            document = decoder.decode(line)
            watch.consider(document, number)

    def floor() -> None:
        for line in lines:
            document = decoder.decode(line)
            for read in readers:
                read(document)

    def decoding() -> None:
        for line in lines:
            decoder.decode(line)

    bodies: list[Any] = [decoder.decode(line) for line in lines]
    plans = [rule.plan for rule in rules if rule.plan]
    fitting = sum(any(plan.holds(body) for plan in plans) for body in bodies) / len(bodies)
    firing = sum(bool(rules.match(body)) for body in bodies) / len(bodies)
    # in turn, fair to all
    rounds = [(_cpu_seconds(ours), _cpu_seconds(floor), _cpu_seconds(decoding)) for _ in range(5)]
    with_decoding, reading, decoded = (statistics.median(column) for column in zip(*rounds, strict=True))
    many = RuleSet([*rules, *_unrelated(rules, 9 * len(rules))])
    alone, with_many = (
        statistics.median(column)
        for column in zip(
            *(
                (
                    _cpu_seconds(lambda: [rules.match(body) for body in bodies]),
                    _cpu_seconds(lambda: [many.match(body) for body in bodies]),
                )
                for _ in range(5)
            ),
            strict=True,
        )
    )
    return [
        Figure(
            name="rules: documents through all shipped rules, decode included",
            value=len(lines) / with_decoding,
            unit="docs/CPU s",
            target=">= 30,000",
            met=len(lines) / with_decoding >= 30_000,
            peer="decode and read the rules' fields, decide nothing",
            peer_value=len(lines) / reading,
            note=(
                f"{len(rules)} rules, {sum(rule.plan is not None for rule in rules)} of them sequences, "
                f"{sum(map(len, lines)) // len(lines)} bytes a document, one core; "
                f"the documents beside the rules, mostly near misses: {fitting:.0%} fit an item of a sequence, "
                f"{firing:.0%} fire a rule by themselves; "
                f"decoding alone {len(lines) / decoded:,.0f} docs/CPU s in the same rounds"
            ),
        ),
        Figure(
            name="rules: documents through the shipped rules about one document, already decoded",
            value=len(lines) / alone,
            unit="docs/CPU s",
            target="",
            met=None,
        ),
        Figure(
            name="rules: cost of ten times as many rules, the others unrelated, already decoded",
            value=with_many / alone,
            unit="times",
            target="< 2",
            met=with_many / alone < 2,
            note=f"{len(many)} rules in place of {len(rules)}, shaped as Elastic's own for the same events",
        ),
        Figure(
            name="rules: load and compile the shipped rules",
            value=1000 * min(_cpu_seconds(load_rules) for _ in range(3)),
            unit="CPU ms",
            target="",
            met=None,
        ),
        _open_keys(),
    ]


def _open_keys() -> Figure:
    """Memory of a process of its own in which a sequence has begun for very many keys."""
    child = subprocess.run(
        [sys.executable, "-c", _CHILD], capture_output=True, text=True, check=True, timeout=600, cwd=ROOT
    )
    before, after, keys, counted, each = map(float, child.stdout.split())
    return Figure(
        name=f"rules: memory of a process with a sequence over {KEYS:,} open keys",
        value=after / 1024,
        unit="MB",
        target="< 200",
        met=keys == KEYS and after / 1024 < 200,
        note=(
            f"the whole process; {KEYS:,} documents of {BYTES} bytes that share little; "
            f"{(after - before) / 1024:.0f} MB above the process before; "
            f"the matcher's own books say {counted / 1e6:.0f} MB; {each:.0f} us of CPU a document, decoding included"
        ),
    )


ROOT = Path(__file__).parents[2]
_CHILD = f"""
import random, resource, time, msgspec
from detection_rules.language import Matcher, compile_sequence
plan = compile_sequence("sequence by host.id, process.pid with maxspan=1h"
    ' [process where event.type == "start"] [file where event.type == "creation"]')
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
chance, matcher, decoder = random.Random(1), Matcher(plan), msgspec.json.Decoder()
words = [chance.randbytes(chance.randrange(2, 9)).hex() for _ in range(5000)]
def line(number):
    text = " ".join(chance.choices(words, k=100))[:{BYTES} - 300]
    return msgspec.json.encode({{"@timestamp": "2026-01-15T10:00:00.123Z", "event": {{"category": ["process"],
        "type": ["start"], "id": chance.randbytes(8).hex()}}, "host": {{"id": chance.randbytes(16).hex(), "name": "h"}},
        "process": {{"pid": number, "command_line": text}}, "data_stream": {{"type": "logs"}}}})
matcher.feed(decoder.decode(line(0)), "first")
before, spent = peak(), 0.0
for number in range(1, {KEYS}):
    text = line(number)
    begin = time.process_time()
    matcher.feed(decoder.decode(text), f"id-{{number}}")
    spent += time.process_time() - begin
status = matcher.status()
print(before, peak(), status.keys, status.bytes, spent / {KEYS} * 1e6)
"""


def _cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one core: what else the machine does is not counted."""
    start = time.process_time()
    work()
    return time.process_time() - start


def _unrelated(rules: RuleSet, count: int) -> list[Rule]:
    """Rules over the same kinds of event, in the shapes that Elastic's own have, about other programs and files."""
    shapes = (
        ("eql", 'process where host.os.type == "linux" and event.type == "start" and process.name : "tool{0}"'),
        ("eql", 'process where event.action in ("exec", "exec_event") and process.name in ("a{0}", "b{0}", "c{0}")'),
        ("eql", 'file where host.os.type == "linux" and event.type != "deletion" and file.name == "name{0}"'),
        ("eql", 'network where event.type == "start" and process.executable == "/opt/p{0}" and destination.port > 9'),
        ("kuery", 'event.category: process and event.type: start and process.name: (x{0} or y{0}) and user.id: "0"'),
        ("kuery", 'event.dataset: "okta{0}.system" and event.action: "user.lock"'),
    )
    made = []
    for number in range(count):
        language, shape = shapes[number % len(shapes)]
        query = shape.format(number)
        made.append(
            replace(
                rules.rules[0],
                stem=f"unrelated_{number}",
                query=query,
                holds=compile_query(query, language),
                reads=lambda _stream: True,
                branches=branches(query, language),
            )
        )
    return made


def _lines(rules: Any) -> list[bytes]:
    """The documents beside the rules, filled up to an ordinary size, those that must not match in the majority."""
    quiet, loud = [], []
    for rule in rules:
        proof = read_proof(rule)
        quiet += [case.document for case in proof.must_not_match]
        loud += [case.document for case in proof.must_match]
    lines = []
    for number in range(DOCUMENTS):
        kind = loud if number % 50 == 0 else quiet
        moment = (datetime(2026, 1, 15, tzinfo=UTC) + timedelta(milliseconds=number)).isoformat()
        document = kind[number % len(kind)] | {"@timestamp": moment}  # a stream goes on
        size = len(msgspec.json.encode(document))
        filler = {"labels": {"filler": "x" * max(0, BYTES - size - 25)}}
        lines.append(msgspec.json.encode({**document, **filler}))
    return lines
