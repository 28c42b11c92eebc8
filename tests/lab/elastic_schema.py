"""Holds requests against Elastic's own machine-readable description of its interfaces.

The description is `dist/schema.json` of the npm package `@elastic/request-converter`, fetched through `npm` once, into
the checkout's `.cache`.
"""

import fcntl
import io
import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

PACKAGE = "@elastic/request-converter@9.5.0"
CACHE = Path(__file__).parents[2] / ".cache" / "elastic-schema"
EVERYWHERE = {"filter_path", "pretty", "human", "error_trace", "format"}
"""Parameters that every interface takes and none lists."""
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_NUMBERS = {"integer", "long", "short", "byte", "float", "double", "uint", "ulong"}
_DEEPEST = 64

Name = tuple[str, str]
Type = Mapping[str, Any]


def description() -> dict[str, Any]:
    """The description, downloaded where the cache does not have it."""
    path = CACHE / f"{PACKAGE.rpartition('@')[2]}.json"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=scratch, check=True, timeout=300)
                (archive,) = Path(scratch).glob("*.tgz")
                with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as package:
                    member = package.extractfile("package/dist/schema.json")
                    assert member
                    (Path(scratch) / "schema").write_bytes(member.read())
                (Path(scratch) / "schema").rename(path)
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


class Schema:
    """Elastic's description."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        self._types: dict[Name, Type] = {_name(entry): entry for entry in described["types"]}
        self._routes = sorted(
            (
                (url["path"].count("{"), _pattern(url["path"]), url["methods"], endpoint)
                for endpoint in described["endpoints"]
                for url in endpoint["urls"]
            ),
            key=lambda route: route[0],  # a name written out goes before a parameter
        )

    def problems(self, method: str, target: str, body: bytes | None) -> list[str]:
        """What is wrong with a request: each problem with its place; empty for one that is as described."""
        path, _, query = target.partition("?")
        for _, pattern, methods, endpoint in self._routes:
            if method in methods and pattern.fullmatch(unquote(path)):
                return [f"{endpoint['name']}: {problem}" for problem in self._against(endpoint, query, body)]
        return [f"no such interface: {method} {path}"]

    def _against(self, endpoint: Type, query: str, body: bytes | None) -> Iterator[str]:
        request = self._types[_name({"name": endpoint["request"]})]
        lineage = list(self._lineage(request))
        parameters = _properties(entry for ancestor in lineage for entry in ancestor.get("query", []))
        for key, value in parse_qsl(query, keep_blank_values=True):
            if key in parameters:
                yield from self._text_value(value, parameters[key]["type"], f"?{key}")
            elif key not in EVERYWHERE:
                yield f"?{key}: unknown parameter"
        if not body:
            if endpoint.get("requestBodyRequired"):
                yield "a body is required"
            return
        content = request["body"]
        try:
            if endpoint["name"] == "bulk":
                lines = body.decode().split("\n")
                yield from self._operations([json.loads(line) for line in lines[:-1]], ends=not lines[-1])
                return
            value = json.loads(body)
        except ValueError as error:
            yield f"not JSON: {error}"
            return
        if content["kind"] == "properties":
            own = [entry for ancestor in lineage for entry in ancestor.get("body", {}).get("properties", [])]
            yield from self._object(value, _properties(own), None, "body")
        elif content["kind"] == "value":
            yield from self._value(value, content["value"], "body", 0)
        else:
            yield "takes no body"

    def _operations(self, lines: list[Any], ends: bool) -> Iterator[str]:
        """The lines of a `_bulk` body that creates documents."""
        if len(lines) % 2 or not ends:
            yield "body: not pairs of lines that each end with a line break"
        container = {"kind": "instance_of", "type": {"namespace": "_global.bulk", "name": "OperationContainer"}}
        for number, (action, document) in enumerate(zip(lines[::2], lines[1::2], strict=False)):
            yield from self._value(action, container, f"operation[{number}]", 0)
            if not isinstance(document, dict):
                yield f"document[{number}]: not an object"

    def _text_value(self, text: str, kind: Type, place: str) -> Iterator[str]:
        """A parameter of the query: a value, or several with commas between them."""
        problems = list(self._value(text, kind, place, 0))
        if problems and list(self._value(text.split(","), kind, place, 0)):
            yield problems[0]

    def _value(self, value: Any, kind: Type, place: str, depth: int) -> Iterator[str]:
        """Problems of a value that should be of a kind."""
        if depth > _DEEPEST:
            return
        match kind["kind"]:
            case "literal_value":
                if value != kind["value"]:
                    yield f"{place}: not {kind['value']!r}"
            case "array_of" | "dictionary_of" as container:
                members = _members(value, container)
                if members is None:
                    yield f"{place}: no {'list' if container == 'array_of' else 'object'}"
                    return
                for key, entry in members:
                    yield from self._value(entry, kind["value"], f"{place}{key}", depth + 1)
            case "union_of":
                attempts = [list(self._value(value, item, place, depth + 1)) for item in kind["items"]]
                if all(attempts):
                    # the alternative that was meant is the one that fails deepest
                    yield from max(attempts, key=lambda problems: len(problems[0].partition(":")[0]))
            case "instance_of":
                yield from self._instance(value, kind, place, depth + 1)

    def _instance(self, value: Any, kind: Type, place: str, depth: int) -> Iterator[str]:
        namespace, name = _name({"name": kind["type"]})
        found = self._types.get((namespace, name))
        if namespace == "_builtins":
            yield from _builtin(value, name, place)
        elif found is None:
            return  # a type's parameter, which stands for the user's own data
        elif found["kind"] == "enum":
            names = {entry for member in found["members"] for entry in (member["name"], *member.get("aliases", []))}
            if not found.get("isOpen") and str(value).lower() not in {entry.lower() for entry in names}:
                yield f"{place}: {value!r} is none of {name}"
        elif found["kind"] == "type_alias":
            if namespace == "_types" and name in _NUMBERS:
                yield from _builtin(value, "number", place)
            elif found.get("variants", {}).get("kind") == "internal_tag" and isinstance(value, dict):
                yield from self._tagged(value, found, place, depth)
            else:
                yield from self._value(value, found["type"], place, depth)
        elif found["kind"] == "interface":
            yield from self._interface(value, found, place, depth)

    def _tagged(self, value: dict[str, Any], alias: Type, place: str, depth: int) -> Iterator[str]:
        """One of several objects, told apart by one of their properties."""
        tag = alias["variants"]["tag"]
        wanted = value.get(tag, alias["variants"].get("defaultTag"))
        for item in alias["type"]["items"]:
            candidate = self._types[_name({"name": item["type"]})]
            told = self._own_properties(candidate).get(tag, {}).get("type", {})
            if told.get("value") == wanted:
                yield from self._interface(value, candidate, place, depth)
                return
        yield f"{place}.{tag}: {wanted!r} is no {alias['name']['name']}"

    def _interface(self, value: Any, interface: Type, place: str, depth: int) -> Iterator[str]:
        properties = self._own_properties(interface)
        if not isinstance(value, dict):
            shortcut = interface.get("shortcutProperty")
            if shortcut:
                yield from self._value(value, properties[shortcut]["type"], place, depth)
            else:
                yield f"{place}: not an object"
            return
        variants = [key for key in value if key in properties and not properties[key].get("containerProperty")]
        if interface.get("variants", {}).get("kind") == "container" and len(variants) != 1:
            yield f"{place}: one of its variants is needed, not {variants}"
        yield from self._object(value, properties, self._open(interface), place, depth)

    def _object(
        self, value: Any, properties: Mapping[str, Type], others: Type | None, place: str, depth: int = 0
    ) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{place}: not an object"
            return
        for key, entry in value.items():
            kind = properties[key]["type"] if key in properties else others
            if kind is None:
                yield f"{place}.{key}: unknown"
            else:
                yield from self._value(entry, kind, f"{place}.{key}", depth + 1)
        for name, described in properties.items():
            names = {described["name"], *described.get("aliases", [])}
            if described["required"] and name == described["name"] and not names & value.keys():
                yield f"{place}.{name}: missing"

    def _lineage(self, described: Type) -> Iterator[Type]:
        """A type and what it inherits from."""
        current: Type | None = described
        while current is not None:
            yield current
            parent = current.get("inherits")
            current = self._types.get(_name({"name": parent["type"]})) if parent else None

    def _own_properties(self, interface: Type) -> dict[str, Type]:
        return _properties(
            entry for ancestor in reversed(list(self._lineage(interface))) for entry in ancestor.get("properties", [])
        )

    def _open(self, interface: Type) -> Type | None:
        """The kind of properties that have no description; None where there must be none."""
        for ancestor in self._lineage(interface):
            for behaviour in ancestor.get("behaviors", []):
                if behaviour["type"]["name"] in {"AdditionalProperties", "AdditionalProperty"}:
                    kind: Type = behaviour["generics"][1]
                    return kind
        return None


def _members(value: Any, container: str) -> list[tuple[str, Any]] | None:
    """What is in a list or an object, by place; None where it is not what it should be."""
    if container == "array_of":
        return [(f"[{number}]", entry) for number, entry in enumerate(value)] if isinstance(value, list) else None
    return [(f".{key}", entry) for key, entry in value.items()] if isinstance(value, dict) else None


def _builtin(value: Any, name: str, place: str) -> Iterator[str]:
    """JSON's own types; in text, as in a query or where Elasticsearch is lenient, numbers and truth values too."""
    suits = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool) or value in ("true", "false"),
        "number": (isinstance(value, (int, float)) and not isinstance(value, bool))
        or (isinstance(value, str) and _NUMBER.fullmatch(value) is not None),
        "null": value is None,
    }
    if not suits.get(name, True):
        yield f"{place}: {value!r} is no {name}"


def _name(entry: Type) -> Name:
    return entry["name"]["namespace"], entry["name"]["name"]


def _properties(entries: Iterator[Type] | list[Type]) -> dict[str, Type]:
    """Properties by each of their names."""
    return {name: entry for entry in entries for name in (entry["name"], *entry.get("aliases", []))}


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(re.escape(part) for part in re.split(r"\{[^}]+\}", path)))
