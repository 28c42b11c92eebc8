"""KQL held against Elastic's own server: the same documents, the same queries, the same answers."""

import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest

from detection_rules.language import compile_query, kql
from detection_rules.language.kql_dsl import query_dsl
from detection_rules.language.words import words
from tests.lab.elasticsearch import Cluster

pytestmark = pytest.mark.elasticsearch
INDEX: Final = "kql-agreement"
TYPES: Final = {
    "process.name": "keyword",
    "process.args": "keyword",
    "process.pid": "long",
    "process.parent.pid": "long",
    "ratio": "double",
    "ok": "boolean",
    "@timestamp": "date",
    "source.ip": "ip",
    "message": "text",
    "dll": "nested",
    "dll.name": "keyword",
    "dll.size": "long",
    "dll.hash.md5": "keyword",
}
DOCUMENTS: Final = 300
QUERIES: Final = 3_000
NAMES: Final = ["sh", "SH", "bash", "Bash", "curl -s", "a*b", "x?y", "/bin/sh", "12", "true", "", "naïve", "ÄÖ", "\\"]
ADDRESSES: Final = ["10.1.2.3", "10.200.0.1", "192.168.0.1", "::1", "fe80::1", "0:0:0:0:0:0:0:1", "FE80::1", "10.0.0.0"]
NETWORKS: Final = ["10.0.0.0/8", "10.1.0.0/16", "fe80::/10", "::/0", "0.0.0.0/0", "10.1.2.3/32"]
MOMENTS: Final = [
    "2026-01-15",
    "2026-01",
    "2026-01-15T10:00:00Z",
    "2026-01-15T10:00:00.123Z",
    "2026-01-15T10:00:00.1239Z",
    "2026-01-15T12:00:00+02:00",
    "2026-01-15T10:00",
    "2026-01-15T10",
    "2026-01-14T23:59:59.999Z",
    "2026-01-16T00:00:00Z",
    "1768471200000",
    1768471200000,
]
WORDS: Final = [
    "Accepted",
    "publickey",
    "for",
    "root",
    "from",
    "10.1.2.3",
    "port",
    "don't",
    "a_b",
    "x-y",
    "ROOT",
    "été",
]


def _some(chance: random.Random, values: Sequence[Any]) -> Any:
    """A value, several, none, or null."""
    kind = chance.random()
    if kind < 0.6:
        return chance.choice(values)
    if kind < 0.85:
        return [chance.choice([*values, None]) for _ in range(chance.randrange(4))]
    return None


def _document(chance: random.Random) -> dict[str, Any]:
    """A document in one of the shapes that Elasticsearch takes for the same."""
    numbers = [0, 1, 12, -5, 812, "12", "812", 2**40]
    flat = {
        "process.name": _some(chance, NAMES),
        "process.args": _some(chance, NAMES),
        "process.pid": _some(chance, numbers),
        "process.parent.pid": _some(chance, numbers),
        "ratio": _some(chance, [0.5, 1, "2.5", -0.5, 1e10]),
        "ok": _some(chance, [True, False, "true", "false"]),
        "@timestamp": _some(chance, MOMENTS),
        "source.ip": _some(chance, ADDRESSES),
        "message": _some(chance, [" ".join(chance.choices(WORDS, k=chance.randrange(6))) for _ in range(3)]),
    }
    kept = {name: value for name, value in flat.items() if chance.random() < 0.7}
    document: dict[str, Any] = {}
    for name, value in kept.items():
        head, _, tail = name.partition(".")
        if tail and chance.random() < 0.6:
            inner = document.setdefault(head, {})
            inner[tail] = value
        else:
            document[name] = value
    if chance.random() < 0.6:
        objects = [
            {
                "name": chance.choice(NAMES),
                "size": chance.choice(numbers),
                **({"hash": {"md5": chance.choice(NAMES)}} if chance.random() < 0.5 else {}),
            }
            for _ in range(chance.randrange(4))
        ]
        document["dll"] = objects[0] if len(objects) == 1 and chance.random() < 0.5 else objects
    return document


def _literal(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


VALUES: Final = {
    "long": ["0", "1", "12", "-5", "812", '"12"', '"812"', str(2**40)],
    "double": ["0.5", "1", "2.5", '"-0.5"', "1e10"],
    "boolean": ["true", "false", '"true"', '"false"'],
    "date": [_literal(str(moment)) for moment in MOMENTS],
    "ip": [_literal(address) for address in [*ADDRESSES, *NETWORKS]],
}


def _unquoted(text: str) -> str:
    return "".join("\\" + character if character in '\\():<>"*{}' else character for character in text)


def _value(chance: random.Random, name: str) -> str:
    """A value, or a list of values, that the type of the field can be asked for."""
    if chance.random() < 0.15:
        word = chance.choice(["or", "and"])
        both = f"{_value(chance, name)} {word} {_value(chance, name)}"
        return f"({both})" if chance.random() < 0.7 else f"(not {both})"
    if TYPES[name] == "keyword":
        return _keyword(chance)
    if TYPES[name] == "text":
        return _text(chance)
    return chance.choice(VALUES[TYPES[name]])


def _keyword(chance: random.Random) -> str:
    text = chance.choice([text for text in NAMES if text])
    if chance.random() < 0.35:
        at = chance.randrange(len(text) + 1)
        return f"{_unquoted(text[:at])}*{_unquoted(text[at + chance.randrange(2) :])}".strip()
    return _literal(chance.choice(NAMES)) if chance.random() < 0.5 else _unquoted(text)


def _text(chance: random.Random) -> str:
    if chance.random() < 0.3:
        return chance.choice(["publ*", "*oot", "ro*t", "PUBL*", "*", "publ* root", "don't a*", "*é"])
    words = " ".join(chance.choices(WORDS, k=chance.randrange(1, 4)))
    return _literal(words) if chance.random() < 0.5 else words


def _bound(chance: random.Random, name: str) -> str:
    """What a field of this type can be compared with."""
    match TYPES[name]:
        case "keyword":
            return _literal(chance.choice(NAMES))
        case "ip":
            return _literal(chance.choice(ADDRESSES))
        case "long":
            return chance.choice(["0", "12", "-5", '"812"', "13.5"])
        case "double":
            return chance.choice(["0.5", "1", '"2.5"', "-1"])
        case _:
            return _literal(str(chance.choice(MOMENTS)))


def _condition(chance: random.Random, names: Sequence[str], within: str = "") -> str:
    name = chance.choice(names)
    shown = name.removeprefix(within)
    kind = chance.random()
    if kind < 0.12:
        return f"{shown}: *"
    if kind < 0.35 and TYPES[name] not in ("boolean", "text"):
        return f"{shown} {chance.choice(['<', '<=', '>', '>='])} {_bound(chance, name)}"
    return f"{shown}: {_value(chance, name)}"


OUTER: Final = [name for name in TYPES if not name.startswith("dll")]
INNER: Final = [name for name in TYPES if name.startswith("dll.")]


def _query(chance: random.Random, depth: int = 0, within: str = "") -> str:
    kind = chance.random()
    if depth < 3 and kind < 0.25:
        word = chance.choice(["and", "or", "AND", "Or"])
        return f"({_query(chance, depth + 1, within)} {word} {_query(chance, depth + 1, within)})"
    if depth < 3 and kind < 0.4:
        return f"not ({_query(chance, depth + 1, within)})"
    if within:
        return _condition(chance, INNER, within)
    if kind < 0.5:
        return f"dll: {{ {_query(chance, depth + 1, 'dll.')} }}"
    if kind < 0.56:
        return chance.choice(
            ["process.*: 12", "*name: *", "process.*pid > 10", "*.pid: (12 or 812)", "proc*args: *", "*.ip: *"]
        )
    return _condition(chance, OUTER)


@pytest.fixture(scope="module")
def chance() -> random.Random:
    """The same documents and queries in every run."""
    return random.Random(20260115)  # noqa: S311 - test data


@pytest.fixture(scope="module")
def documents(elasticsearch: Cluster, chance: random.Random) -> Iterator[list[dict[str, Any]]]:
    """Documents, indexed under their numbers with their mapping."""
    properties: dict[str, Any] = {name: {"type": kind} for name, kind in TYPES.items() if not name.startswith("dll")}
    inner = {name.removeprefix("dll."): {"type": TYPES[name]} for name in INNER}
    properties["dll"] = {"type": "nested", "properties": inner}
    elasticsearch.admin.indices.create(
        index=INDEX, mappings={"dynamic": "strict", "properties": properties}, settings={"number_of_replicas": 0}
    )
    made = [_document(chance) for _ in range(DOCUMENTS)]
    operations: list[dict[str, Any]] = []
    for number, document in enumerate(made):
        operations += [{"index": {"_index": INDEX, "_id": str(number)}}, document]
    answer = elasticsearch.admin.bulk(operations=operations, refresh=True)
    refused = [item["index"] for item in answer["items"] if item["index"]["status"] >= 300]
    assert not refused, refused[:3]
    yield made
    elasticsearch.admin.indices.delete(index=INDEX)


def _asked(cluster: Cluster, queries: Sequence[str]) -> list[set[int] | str]:
    """The numbers of the documents that the server finds, or its complaint."""
    searches: list[dict[str, Any]] = []
    for text in queries:
        dsl = query_dsl(kql.parse(text), TYPES)
        searches += [{"index": INDEX}, {"query": dsl, "size": DOCUMENTS, "_source": False}]
    answers = cluster.admin.msearch(searches=searches)["responses"]
    return [
        str(answer["error"]) if "error" in answer else {int(hit["_id"]) for hit in answer["hits"]["hits"]}
        for answer in answers
    ]


def test_thousands_of_queries_find_the_same_documents(
    elasticsearch: Cluster, documents: list[dict[str, Any]], chance: random.Random
) -> None:
    """Random queries over random documents: our evaluator finds exactly what Elasticsearch finds."""
    queries = [_query(chance) for _ in range(QUERIES)]
    wrong: list[str] = []
    matched = 0
    for start in range(0, QUERIES, 200):
        batch = queries[start : start + 200]
        for text, theirs in zip(batch, _asked(elasticsearch, batch), strict=True):
            holds = compile_query(text)
            ours = {number for number, document in enumerate(documents) if holds(document)}
            if ours != theirs:
                extra = theirs if isinstance(theirs, str) else f"{_shown(theirs - ours, documents)} | theirs"
                wrong.append(f"{text}\n   only theirs {extra}\n   only ours {_shown(ours - set(theirs), documents)}")
            matched += 0 < len(ours) < len(documents)
    assert not wrong, f"{len(wrong)} of {QUERIES} differ:\n" + "\n".join(wrong[:20])
    assert matched > QUERIES / 2, "most queries tell documents apart"


TEXTS: Final = [
    "don't stop; it's o'neil's 1'2 a'1 a\u2019b",
    "10.1.2.3:80 a:b 1:2 a.b 1.5 1,000 a,b a;b 1;2 x.y. .x 12.a a.12 1.2.3.4.5 a1.b2 1a.2b",
    "/etc/passwd C:\\x user@example.com foo.bar.baz e-mail 100% --flag=value $HOME ~/x #1 [ok] <a> {b}",
    "a_b x__y _a a\u00b7b ab12cd 3rd \u00e9a e\u0301a \u65e5\u672c \uff11\uff12 \uff21 \u03a3\u0391\u03a3 \u0130",
    "",
]


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_those_of_the_standard_analyzer(elasticsearch: Cluster, text: str) -> None:
    """A text falls into the same words as on the server."""
    tokens = elasticsearch.admin.indices.analyze(analyzer="standard", text=text)["tokens"]
    assert words(text) == [token["token"] for token in tokens]


def _shown(numbers: set[Any], documents: list[dict[str, Any]]) -> str:
    return str([documents[number] for number in sorted(numbers)[:1]]) if numbers else ""
