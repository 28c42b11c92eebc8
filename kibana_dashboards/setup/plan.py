"""What is to be done about each object, and the doing of it."""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value

Body = dict[str, Any]


class Action(StrEnum):
    """What is to be done about one object."""

    CREATE = "create"
    UPDATE = "update"
    KEEP = "keep"
    DIFFERS = "differs"
    """Somebody changed it in Kibana; it stays as it is."""
    SKIP = "skip"


class Kind(StrEnum):
    """What an object is, in Kibana's words."""

    CONNECTOR = "connector"
    RULE = "rule"
    RULE_ACTION = "rule action"
    DASHBOARD = "dashboard"
    DATA_VIEW = "data view"
    PACK = "osquery pack"


class Change(Value, frozen=True, kw_only=True):
    """What is to be done about one object, and why."""

    action: Action
    kind: Kind
    name: str
    detail: str = ""

    @property
    def changes(self) -> bool:
        """Something is to be done."""
        return self.action in {Action.CREATE, Action.UPDATE}


class Step(msgspec.Struct, frozen=True):
    """A change with the way to make it."""

    change: Change
    make: Callable[[], None]


class Outcome(StrEnum):
    """What became of a change."""

    DONE = "done"
    NOTHING_TO_DO = "nothing to do"
    FAILED = "failed"
    REMAINS = "remains"


class Made(Value, frozen=True, kw_only=True):
    """A change and what became of it."""

    change: Change
    outcome: Outcome
    problem: str = ""


def install(steps: Iterable[Step], tell: Callable[[Change], None]) -> tuple[Made, ...]:
    """Make the changes in their order; the first that fails ends it, for what follows may stand on it.

    Args:
        steps: All of them, also those with nothing to do.
        tell: Called before each change is made.

    Returns:
        What became of each. Making the same plan again continues where this one ended.
    """
    made: list[Made] = []
    failed = False
    for step in steps:
        if not step.change.changes:
            made.append(Made(change=step.change, outcome=Outcome.NOTHING_TO_DO))
        elif failed:
            made.append(Made(change=step.change, outcome=Outcome.REMAINS))
        else:
            tell(step.change)
            try:
                step.make()
                made.append(Made(change=step.change, outcome=Outcome.DONE))
            except DoorwatchError as error:
                failed = True
                made.append(Made(change=step.change, outcome=Outcome.FAILED, problem=str(error)))
    return tuple(made)


def nothing() -> None:
    """Of a change that is none."""


def fingerprint(content: Mapping[str, Any]) -> str:
    """Names a content: 16 hexadecimal digits. Kibana fills in and drops what is empty or false: that is absent."""
    return sha256(msgspec.json.encode(_essence(content), order="deterministic")).hexdigest()[:16]


def differing(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The keys in which two contents differ, sorted, in words."""
    have, want = _essence(present), _essence(wanted)
    return ", ".join(key for key in sorted(have.keys() | want.keys()) if have.get(key) != want.get(key))


def _essence(value: Any) -> Any:
    """A value without what is empty in it."""
    if isinstance(value, Mapping):
        parts = {key: _essence(inner) for key, inner in value.items()}
        return {key: inner for key, inner in parts.items() if inner not in (None, False, "", [], {})}
    if isinstance(value, (list, tuple)):
        return [_essence(inner) for inner in value]
    return value
