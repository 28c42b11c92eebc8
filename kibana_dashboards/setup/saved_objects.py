"""Dashboards and the data view they read.

Kibana brings saved objects into the form of its own version, so their content cannot be held against ours. What was
installed is remembered in the dashboard's description instead. One that was installed by another version of Doorwatch
may have been edited since: it is replaced only where that is asked for.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from beat_bridge.errors import DoorwatchError
from kibana_dashboards.setup.kibana import Kibana
from kibana_dashboards.setup.plan import Action, Body, Change, Kind, Step, fingerprint

NEEDS: Final = "the Kibana privileges Analytics > Dashboard: All and Management > Saved Objects Management: All"
_KINDS: Final = {"dashboard": Kind.DASHBOARD, "index-pattern": Kind.DATA_VIEW}


def plan(kibana: Kibana, objects: Sequence[Body], *, overwrite: bool) -> Iterator[Step]:
    """What is to be done about each object, those that others stand on first.

    Raises:
        DoorwatchError: Kibana does not let us look.
    """
    ours = {each["id"] for each in objects}
    for each in objects:
        yield _step(kibana, _remembering(_in_space(each, ours, kibana.options.space)), overwrite=overwrite)


def _step(kibana: Kibana, wanted: Body, *, overwrite: bool) -> Step:
    present = _read(kibana, wanted)
    kind, name = _KINDS[wanted["type"]], _title(wanted)
    if present is None:
        action, detail = Action.CREATE, ""
    elif _same(present, wanted):
        action, detail = Action.KEEP, ""
    elif overwrite:
        action, detail = Action.UPDATE, "overwrites another version of it, and what was changed in Kibana"
    else:
        action, detail = Action.DIFFERS, "another version of Doorwatch installed it, or it was changed in Kibana"
    return Step(
        Change(action=action, kind=kind, name=name, detail=detail),
        lambda: _import(kibana, wanted, overwrite=present is not None),
    )


def _read(kibana: Kibana, wanted: Body) -> Body | None:
    """The object as Kibana has it; None where it has none."""
    answer = kibana.ask(
        "POST",
        "/api/saved_objects/_export",
        needs=NEEDS,
        accept=(200, 400),
        body={
            "objects": [{"type": wanted["type"], "id": wanted["id"]}],
            "includeReferencesDeep": False,
            "excludeExportDetails": True,
        },
    )
    if answer.status == 200:
        found = answer.body[0] if isinstance(answer.body, list) and answer.body else answer.body
        if isinstance(found, dict) and found.get("id") == wanted["id"]:
            return found
        raise DoorwatchError(f"{kibana.name}: the {_KINDS[wanted['type']]} {_title(wanted)!r} cannot be understood")
    attributes = answer.body.get("attributes") if isinstance(answer.body, dict) else None
    listed = attributes.get("objects") if isinstance(attributes, dict) else None
    first = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    error = first.get("error")
    status = error.get("statusCode") if isinstance(error, dict) else None
    if status == 404:
        return None
    if status == 403:
        raise DoorwatchError(f"{kibana.name}: not allowed (403): the user needs {NEEDS}")
    message = answer.body.get("message", "") if isinstance(answer.body, dict) else ""
    raise DoorwatchError(f"{kibana.name}: the {_KINDS[wanted['type']]} {_title(wanted)!r} cannot be read: {message}")


def _import(kibana: Kibana, wanted: Body, *, overwrite: bool) -> None:
    """Import one object. The answer is 200 whatever became of it; what failed stands inside."""
    answer = kibana.ask(
        "POST",
        "/api/saved_objects/_import",
        needs=NEEDS,
        query={"overwrite": str(overwrite).lower()},
        upload=msgspec.json.encode(wanted) + b"\n",
    ).body
    if isinstance(answer, dict) and answer.get("success") is True and answer.get("successCount") == 1:
        return
    errors = answer.get("errors") if isinstance(answer, dict) else None
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    error = first.get("error")
    raise DoorwatchError(f"{kibana.name}: {_title(wanted)!r} was not imported: {_reason(error)}")


def _reason(error: Any) -> str:
    if not isinstance(error, dict):
        return "no reason given"
    match error.get("type"):
        case "conflict":
            return "an object of another space stands in its place"
        case "missing_references":
            missing = error.get("references")
            listed = (
                [str(each.get("id")) for each in missing if isinstance(each, dict)] if isinstance(missing, list) else []
            )
            return f"what it stands on is not there: {', '.join(listed)}"
        case kind:
            return " ".join(str(error.get("message") or kind or "no reason given").split())[:500]


def _in_space(each: Body, ours: set[str], space: str) -> Body:
    """The object with ids of its space: Kibana's ids are one namespace over all spaces."""
    if space == "default":
        return each
    text = msgspec.json.encode(each).decode()
    for name in ours:
        # ids stand also in the JSON inside `attributes`, its quotes escaped once or twice
        for quote in ('"', '\\"', '\\\\\\"'):
            text = text.replace(f"{quote}{name}{quote}", f"{quote}{name}-{space}{quote}")
    renamed: Body = msgspec.json.decode(text)
    return renamed


def _remembering(wanted: Body) -> Body:
    """With the memory of what was installed, at the end of its description."""
    if wanted["type"] != "dashboard":
        return wanted
    mark = fingerprint({key: wanted[key] for key in ("attributes", "references")})
    attributes = wanted["attributes"]
    described = f"{attributes.get('description', '')} [doorwatch {mark}]".strip()
    return {**wanted, "attributes": {**attributes, "description": described}}


def _same(present: Body, wanted: Body) -> bool:
    have, want = present.get("attributes"), wanted["attributes"]
    if not isinstance(have, dict):
        return False
    if wanted["type"] == "dashboard":
        return bool(have.get("description") == want["description"])
    return all(have.get(key) == value for key, value in want.items())


def _title(wanted: Body) -> str:
    attributes = wanted["attributes"]
    return str(attributes.get("name") or attributes.get("title"))
