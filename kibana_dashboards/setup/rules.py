"""Detection rules: imported, brought up to date where nobody touched them, and given the webhook action.

What Doorwatch installed is remembered in the rule's own `meta`: a fingerprint of the content. Where the rule still has
that content, nobody edited it, and a newer version may replace it. Kibana's editor writes `meta` anew, so that an
edited rule has no fingerprint or another one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from beat_bridge.errors import DoorwatchError
from kibana_dashboards.setup.connector import Connector
from kibana_dashboards.setup.kibana import Kibana
from kibana_dashboards.setup.plan import Action, Body, Change, Kind, Step, differing, fingerprint, nothing

NEEDS: Final = "the Kibana privilege Security > Security: All, and Actions and Connectors: Read"
CONTENT: Final = frozenset(
    """
    alert_suppression anomaly_threshold author building_block_type data_view_id description event_category_override
    false_positives filters from index interval investigation_fields language license machine_learning_job_id
    max_signals name note query references risk_score risk_score_mapping rule_name_override saved_id setup severity
    severity_mapping tags threat threshold tiebreaker_field timeline_id timeline_title timestamp_field
    timestamp_override timestamp_override_fallback_disabled to type
    """.split()  # noqa: SIM905 - a list of forty lines says no more
)
"""What makes a rule what it is. Not: whether it is enabled, its actions and exceptions, which are the users' own; and
what Kibana adds to by itself (required fields, related integrations)."""
_PATH: Final = "/api/detection_engine/rules"


def plan(
    kibana: Kibana, bodies: Sequence[Body], connector: Connector | None, *, overwrite: bool, enable: bool
) -> Iterator[Step]:
    """What is to be done about each rule.

    Args:
        kibana: Where.
        bodies: The rules as the detection engine's API takes them.
        connector: Whose action each rule gets; None for no action.
        overwrite: Replace also what somebody changed in Kibana.
        enable: Rules that are created start at once.

    Raises:
        DoorwatchError: Kibana does not let us look.
    """
    for body in bodies:
        answer = kibana.ask("GET", _PATH, needs=NEEDS, accept=(200, 404), query={"rule_id": body["rule_id"]})
        if answer.status == 404:
            _check_engine(kibana, answer.body)
            yield _creation(kibana, body, connector, enable=enable)
            continue
        if not isinstance(answer.body, dict):
            raise DoorwatchError(f"{kibana.name}: the rule {body['name']!r} cannot be understood: is this Kibana?")
        content = _comparison(kibana, answer.body, body, connector, overwrite=overwrite)
        yield content
        if connector is not None and not content.change.changes and not _has_action(answer.body, connector):
            yield _action(kibana, answer.body, body, connector)


def _check_engine(kibana: Kibana, body: Any) -> None:
    """Tell a rule that is not there from a detection engine that is not there: only the engine names the rule."""
    if not isinstance(body, dict) or "rule_id" not in str(body.get("message")):
        raise DoorwatchError(
            f"{kibana.name}: has no detection engine: is Security switched on in the space {kibana.options.space!r}?"
        )


def _creation(kibana: Kibana, body: Body, connector: Connector | None, *, enable: bool) -> Step:
    wanted = {**_marked(body), "enabled": enable, "actions": [connector.action] if connector else []}
    detail = "with the webhook action" if connector else "without an action"
    return Step(
        Change(action=Action.CREATE, kind=Kind.RULE, name=body["name"], detail=detail),
        lambda: _import(kibana, wanted, overwrite=False),
    )


def _comparison(
    kibana: Kibana, present: Mapping[str, Any], body: Body, connector: Connector | None, *, overwrite: bool
) -> Step:
    have, want = _content(present), _content(body)
    action, detail = Action.KEEP, ""
    if fingerprint(have) != fingerprint(want):
        if present.get("immutable"):
            action, detail = Action.DIFFERS, "a prebuilt rule of Elastic's has this id"
        elif _remembered(present) == fingerprint(have):
            action, detail = Action.UPDATE, f"version {present.get('version')} to {body.get('version')}"
        else:
            action, detail = Action.DIFFERS, f"changed in Kibana: {differing(have, want)}"
            if overwrite:
                action, detail = Action.UPDATE, f"overwrites what was changed in Kibana: {differing(have, want)}"
    change = Change(action=action, kind=Kind.RULE, name=body["name"], detail=detail)
    if not change.changes:
        return Step(change, nothing)
    # an import replaces the whole rule: what belongs to the users is carried over
    kept = {key: present[key] for key in ("enabled", "exceptions_list") if key in present}
    wanted = {**_marked(body), **kept, "actions": _with_action(present, connector)}
    return Step(change, lambda: _import(kibana, wanted, overwrite=True))


def _action(kibana: Kibana, present: Mapping[str, Any], body: Body, connector: Connector) -> Step:
    wanted = {"rule_id": body["rule_id"], "actions": _with_action(present, connector)}
    detail = "adds the webhook; all else stays"
    return Step(
        Change(action=Action.UPDATE, kind=Kind.RULE_ACTION, name=body["name"], detail=detail),
        lambda: _patch(kibana, wanted),
    )


def _patch(kibana: Kibana, body: Body) -> None:
    kibana.ask("PATCH", _PATH, needs=NEEDS, body=body)


def _import(kibana: Kibana, body: Body, *, overwrite: bool) -> None:
    """Import one rule. The answer is 200 whatever became of it; what failed stands inside."""
    answer = kibana.ask(
        "POST",
        f"{_PATH}/_import",
        needs=NEEDS,
        query={"overwrite": str(overwrite).lower()},
        upload=msgspec.json.encode(body) + b"\n",
    ).body
    if not isinstance(answer, dict) or answer.get("success_count") != 1:
        errors = answer.get("errors") if isinstance(answer, dict) else None
        first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
        error = first.get("error")
        reason = error.get("message", "") if isinstance(error, dict) else ""
        words = " ".join(str(reason).split())[:500] or "no reason given"
        raise DoorwatchError(f"{kibana.name}: the rule {body['name']!r} was not imported: {words}")


def _marked(body: Body) -> Body:
    """With the memory of what was installed."""
    meta = body.get("meta")
    return {
        **body,
        "meta": {**(meta if isinstance(meta, dict) else {}), "doorwatch": {"fingerprint": fingerprint(_content(body))}},
    }


def _remembered(present: Mapping[str, Any]) -> str:
    meta = present.get("meta")
    mark = meta.get("doorwatch") if isinstance(meta, dict) else None
    return str(mark.get("fingerprint", "")) if isinstance(mark, dict) else ""


def _content(rule: Mapping[str, Any]) -> Body:
    return {key: value for key, value in rule.items() if key in CONTENT}


def _actions(present: Mapping[str, Any]) -> list[Body]:
    actions = present.get("actions")
    return [action for action in actions if isinstance(action, dict)] if isinstance(actions, list) else []


def _has_action(present: Mapping[str, Any], connector: Connector) -> bool:
    wanted = connector.action
    return any(
        action.get("id") == connector.id and action.get("params") == wanted["params"] for action in _actions(present)
    )


def _with_action(present: Mapping[str, Any], connector: Connector | None) -> list[Body]:
    """The rule's own actions, and ours in place of an earlier form of it."""
    actions = _actions(present)
    if connector is None or _has_action(present, connector):
        return actions  # as somebody may have set it: at another frequency, say
    return [*(action for action in actions if action.get("id") != connector.id), connector.action]
