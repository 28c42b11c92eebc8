"""How fast the shipped rules read documents, on one core.

There is no fair peer to import: the only public EQL engine in Python (PyPI `eql`, 3,700 documents a second for fourteen
rules, and no arrays) is AGPL. The peer is therefore the floor under any engine in Python: decoding the same lines and
reading the same fields, without deciding anything.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from detection_rules import Rule, RuleSet, compile_query, load_rules
from detection_rules.language.fields import reader
from detection_rules.language.terms import demanded_terms
from detection_rules.lint import queried_fields
from detection_rules.proof import read_proof
from tests.bench.figures import Figure

DOCUMENTS = 4_000
BYTES = 1_500


def figures() -> Sequence[Figure]:
    """Documents for each second of CPU, decode included and alone."""
    rules = load_rules()
    lines = _lines(rules)
    decoder = msgspec.json.Decoder()
    readers = [reader(name) for name in sorted({name for rule in rules for name in queried_fields(rule)})]

    def ours() -> None:
        for line in lines:
            rules.match(decoder.decode(line))

    def floor() -> None:
        for line in lines:
            document = decoder.decode(line)
            for read in readers:
                read(document)

    bodies: list[Any] = [decoder.decode(line) for line in lines]
    rounds = [(_cpu_seconds(ours), _cpu_seconds(floor)) for _ in range(5)]  # in turn, fair to both
    with_decoding, reading = (statistics.median(column) for column in zip(*rounds, strict=True))
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
            note=f"{len(rules)} rules, {sum(map(len, lines)) // len(lines)} bytes a document, one core",
        ),
        Figure(
            name="rules: documents through all shipped rules, already decoded",
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
    ]


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
                terms=demanded_terms(query, language),
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
        document = kind[number % len(kind)]
        size = len(msgspec.json.encode(document))
        filler = {"labels": {"filler": "x" * max(0, BYTES - size - 25)}}
        lines.append(msgspec.json.encode({**document, **filler}))
    return lines
