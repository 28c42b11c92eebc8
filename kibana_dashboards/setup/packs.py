"""osquery packs: created, and brought up to date where nobody touched them.

What was installed is remembered at the end of the pack's description: a fingerprint of its queries. A pack that has
other queries than its own fingerprint says was edited in Kibana. The policies it runs on, and whether it is enabled,
are the users' own: a new pack runs nowhere until somebody gives it a policy.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from beat_bridge.errors import DoorwatchError
from kibana_dashboards.setup.kibana import Kibana
from kibana_dashboards.setup.plan import Action, Body, Change, Kind, Step, differing, fingerprint, nothing

NEEDS: Final = "the Kibana privilege Management > Osquery: All"
_PATH: Final = "/api/osquery/packs"
_PAGE: Final = 100
_MOST_PAGES: Final = 100
_MARK: Final = re.compile(r"\[doorwatch ([0-9a-f]{16})\]$")
_OF_A_QUERY: Final = ("query", "interval", "platform", "version", "snapshot", "removed", "ecs_mapping")


def plan(kibana: Kibana, bodies: Sequence[Body], *, overwrite: bool) -> Iterator[Step]:
    """What is to be done about each pack.

    Args:
        kibana: Where.
        bodies: As `osquery_packs.kibana.api_body` makes them.
        overwrite: Replace also what somebody changed in Kibana.

    Raises:
        DoorwatchError: Kibana does not let us look.
    """
    present = _ids(kibana) if bodies else {}
    for body in bodies:
        if present is None:
            detail = "this Kibana has no Osquery"
            yield Step(Change(action=Action.SKIP, kind=Kind.PACK, name=body["name"], detail=detail), nothing)
        else:
            yield _step(kibana, body, present.get(body["name"]), overwrite=overwrite)


def _step(kibana: Kibana, body: Body, identifier: str | None, *, overwrite: bool) -> Step:
    mark = fingerprint(_queries(body["queries"]))
    wanted = {**body, "description": f"{body['description']} [doorwatch {mark}]"}
    if identifier is None:
        detail = "runs nowhere until it is given a policy"
        return Step(
            Change(action=Action.CREATE, kind=Kind.PACK, name=body["name"], detail=detail),
            lambda: _send(kibana, "POST", _PATH, wanted),
        )
    pack = _one(kibana, identifier, body["name"])
    have, want = _queries(pack.get("queries")), _queries(body["queries"])
    found = _MARK.search(str(pack.get("description", "")))
    if fingerprint(have) == mark:
        action, detail = Action.KEEP, ""
    elif pack.get("read_only"):
        action, detail = Action.DIFFERS, "a prebuilt pack has this name"
    elif found is not None and found[1] == fingerprint(have):
        action, detail = Action.UPDATE, f"another version of it: {differing(have, want)}"
    elif overwrite:
        action, detail = Action.UPDATE, f"overwrites what was changed in Kibana: {differing(have, want)}"
    else:
        action, detail = Action.DIFFERS, f"changed in Kibana: {differing(have, want)}"
    # older Kibanas take a pack off its policies where an update does not name them
    kept = {key: pack[key] for key in ("enabled", "policy_ids", "shards") if pack.get(key) is not None}
    return Step(
        Change(action=action, kind=Kind.PACK, name=body["name"], detail=detail),
        lambda: _send(kibana, "PUT", f"{_PATH}/{identifier}", {**wanted, **kept}),
    )


def _ids(kibana: Kibana) -> dict[str, str] | None:
    """Ids of all packs by name; None where Kibana has no Osquery."""
    ids: dict[str, str] = {}
    for page in range(1, _MOST_PAGES + 1):
        answer = kibana.ask(
            "GET", _PATH, needs=NEEDS, accept=(200, 404), query={"page": str(page), "pageSize": str(_PAGE)}
        )
        if answer.status == 404:
            return None
        data = answer.body.get("data") if isinstance(answer.body, dict) else None
        if not isinstance(data, list):
            raise DoorwatchError(f"{kibana.name}: its list of osquery packs cannot be understood")
        packs = [pack for pack in data if isinstance(pack, dict)]
        ids |= {str(pack.get("name")): str(pack["saved_object_id"]) for pack in packs if pack.get("saved_object_id")}
        if len(data) < _PAGE:
            return ids
    raise DoorwatchError(f"{kibana.name}: has more than {_PAGE * _MOST_PAGES} osquery packs")


def _one(kibana: Kibana, identifier: str, name: str) -> Body:
    body = kibana.ask("GET", f"{_PATH}/{identifier}", needs=NEEDS).body
    pack = body.get("data") if isinstance(body, dict) else None
    if not isinstance(pack, dict):
        raise DoorwatchError(f"{kibana.name}: the osquery pack {name!r} cannot be understood")
    return pack


def _queries(queries: Any) -> dict[str, Any]:
    """Queries by name with what we say of them, whichever of Kibana's two forms they come in."""
    if isinstance(queries, list):
        queries = {str(query.get("id")): query for query in queries if isinstance(query, dict)}
    if not isinstance(queries, dict):
        return {}
    return {
        name: {key: _plain(key, query[key]) for key in _OF_A_QUERY if key in query}
        for name, query in queries.items()
        if isinstance(query, dict)
    }


def _plain(key: str, value: Any) -> Any:
    if key == "ecs_mapping" and isinstance(value, list):
        return {str(each.get("key")): each.get("value") for each in value if isinstance(each, dict)}
    if key == "query":
        return " ".join(str(value).split())
    return value


def _send(kibana: Kibana, method: str, path: str, body: Body) -> None:
    kibana.ask(method, path, needs=NEEDS, body=body)
