"""Prepares a cluster: compares what it has with what Doorwatch wants, and installs the difference."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value
from beat_bridge.shipping.connection import Cluster

Body = Mapping[str, Any]
OLDEST = (8, 13)
"""The first version that knows `require_data_stream`, which the forwarder sends."""
_LACKS_LIFECYCLE = {400, 404, 405, 410}
"""Answers to `GET _ilm/policy` where there is no such interface: serverless, or a server built without it."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a cluster is to have: bodies of the PUT requests, by name."""

    lifecycle_policies: Mapping[str, Body]
    component_templates: Mapping[str, Body]
    index_templates: Mapping[str, Body]


class Action(StrEnum):
    """What is to be done about one object."""

    CREATE = "create"
    UPDATE = "update"
    KEEP = "keep"
    SKIP = "skip"


class Kind(StrEnum):
    """What an object is, in Elastic's words."""

    LIFECYCLE_POLICY = "lifecycle policy"
    COMPONENT_TEMPLATE = "component template"
    INDEX_TEMPLATE = "index template"


class Change(Value, frozen=True, kw_only=True):
    """What is to be done about one object, and why."""

    action: Action
    kind: Kind
    name: str
    detail: str = ""


class Plan(msgspec.Struct, frozen=True):
    """The changes in the order they are to be made, each with its body."""

    steps: tuple[tuple[Change, Body], ...]

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes without their bodies."""
        return tuple(change for change, _ in self.steps)


def plan(cluster: Cluster, wanted: Wanted) -> Plan:
    """Find out what has to change; changes nothing.

    Raises:
        DoorwatchError: The cluster cannot be reached, is too old, or does not let us look.
    """
    client = cluster.client()
    try:
        _check_version(cluster, client)
        with_lifecycle = _has_lifecycle(client)
        steps = [*_plan_policies(client, wanted.lifecycle_policies, with_lifecycle)]
        for kind, bodies, look in (
            (Kind.COMPONENT_TEMPLATE, wanted.component_templates, _component_template),
            (Kind.INDEX_TEMPLATE, wanted.index_templates, _index_template),
        ):
            for name, body in bodies.items():
                target = body if with_lifecycle else _without_lifecycle(body)
                steps.append((_compare(kind, name, look(client, name), target), target))
    except (ApiError, TransportError) as error:
        raise DoorwatchError(cluster.explain(error)) from error
    except (AttributeError, IndexError, KeyError, TypeError) as error:  # JSON, but not in the shape of these answers
        raise DoorwatchError(f"{cluster.name}: the answer cannot be understood: is this Elasticsearch?") from error
    return Plan(tuple(steps))


def install(cluster: Cluster, steps: Plan) -> None:
    """Make a plan's changes. Doing it again changes nothing.

    Raises:
        DoorwatchError: One was refused; those before it are made.
    """
    client = cluster.client()
    put: dict[Kind, Callable[[str, dict[str, Any]], object]] = {
        Kind.LIFECYCLE_POLICY: lambda name, body: client.ilm.put_lifecycle(name=name, **body),
        Kind.COMPONENT_TEMPLATE: lambda name, body: client.cluster.put_component_template(name=name, body=body),
        Kind.INDEX_TEMPLATE: lambda name, body: client.indices.put_index_template(name=name, body=body),
    }
    for change, body in steps.steps:
        if change.action not in {Action.CREATE, Action.UPDATE}:
            continue
        try:
            put[change.kind](change.name, dict(body))
        except (ApiError, TransportError) as error:
            raise DoorwatchError(f"{change.kind} {change.name}: {cluster.explain(error)}") from error


def _check_version(cluster: Cluster, client: Elasticsearch) -> None:
    """Refuse what is older than the interfaces we use.

    Raises:
        DoorwatchError: It is too old.
    """
    answer = client.options(ignore_status=405).info().body
    number = str(answer.get("version", {}).get("number", ""))  # none where a server has no `GET /`
    digits = number.partition("-")[0].split(".")[:2]
    if all(part.isdigit() for part in digits) and tuple(map(int, digits)) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise DoorwatchError(f"{cluster.name}: Elasticsearch {number} is too old: Doorwatch needs {oldest} or newer")


def _has_lifecycle(client: Elasticsearch) -> bool:
    answer = client.options(ignore_status=list(_LACKS_LIFECYCLE)).ilm.get_lifecycle()
    return answer.meta.status not in _LACKS_LIFECYCLE


def _plan_policies(
    client: Elasticsearch, policies: Mapping[str, Body], supported: bool
) -> Sequence[tuple[Change, Body]]:
    if not supported:
        detail = "lifecycle: not supported here, skipped"
        return [
            (Change(action=Action.SKIP, kind=Kind.LIFECYCLE_POLICY, name=name, detail=detail), body)
            for name, body in policies.items()
        ]
    present = client.ilm.get_lifecycle().body
    return [(_compare(Kind.LIFECYCLE_POLICY, name, present.get(name), body), body) for name, body in policies.items()]


def _component_template(client: Elasticsearch, name: str) -> Body | None:
    answer = client.options(ignore_status=404).cluster.get_component_template(name=name)
    found = answer.body.get("component_templates", [])
    return found[0]["component_template"] if found else None


def _index_template(client: Elasticsearch, name: str) -> Body | None:
    answer = client.options(ignore_status=404).indices.get_index_template(name=name)
    found = answer.body.get("index_templates", [])
    return found[0]["index_template"] if found else None


def _compare(kind: Kind, name: str, present: Body | None, wanted: Body) -> Change:
    if present is None:
        return Change(action=Action.CREATE, kind=kind, name=name)
    differing = [key for key, value in wanted.items() if not _same(key, present.get(key), value)]
    if not differing:
        return Change(action=Action.KEEP, kind=kind, name=name)
    return Change(action=Action.UPDATE, kind=kind, name=name, detail=f"differs in {', '.join(sorted(differing))}")


def _same(key: str, present: Any, wanted: Any) -> bool:
    """Whether a part of a body is as wanted. Elasticsearch fills in defaults, except in a template's own content."""
    have, want = _flat(present), _flat(wanted)
    if key == "template":
        have, want = _settings_named_in_full(have), _settings_named_in_full(want)
        return have == want
    return want.items() <= have.items()


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """A nested value by dotted path, scalars as text: Elasticsearch gives `1` and `true` back as "1" and "true"."""
    if isinstance(value, Mapping):
        pairs = [_flat(inner, f"{path}.{key}" if path else str(key)) for key, inner in value.items()]
        return {key: text for part in pairs for key, text in part.items()}
    if isinstance(value, bool):
        return {path: str(value).lower()}
    if isinstance(value, (list, tuple)):
        return {path: ",".join(map(str, value))}
    return {path: str(value)}


def _settings_named_in_full(flat: Mapping[str, str]) -> dict[str, str]:
    """Settings may be written with or without `index.`; Elasticsearch answers with it."""
    prefix = "settings."
    return {
        f"{prefix}index.{key.removeprefix(prefix)}"
        if key.startswith(prefix) and not key.startswith(f"{prefix}index.")
        else key: value
        for key, value in flat.items()
    }


def _without_lifecycle(body: Body) -> Body:
    """A template without the setting that names a lifecycle policy, which a server without them refuses."""
    settings = body.get("template", {}).get("settings", {})
    index = settings.get("index", {})
    if "lifecycle" not in index:
        return body
    rest = {key: value for key, value in index.items() if key != "lifecycle"}
    return {**body, "template": {**body["template"], "settings": {**settings, "index": rest}}}
