"""The documents beside a rule: those it must fire on, and those it must not, each with its reason.

`NAME.documents.json` lies beside `NAME.toml`:

    {"must_match": [{"why": "one line", "document": {...}}], "must_not_match": [...]}
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from beat_bridge.errors import DoorwatchError
from detection_rules.json_text import NotJsonError, decode
from detection_rules.rule_set import Rule

MAX_BYTES = 8 << 20
Why = Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[^\n]+$")]


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One document, and why the rule must treat it so."""

    why: Why
    document: dict[str, Any]


class Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a rule is held to."""

    must_match: tuple[Case, ...]
    must_not_match: tuple[Case, ...]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A document that the rule treats otherwise than it must."""

    rule: str
    expected: str
    """`match` or `no match`."""
    index: int
    """Position in its list, from 0."""
    why: str


def documents_path(rule: Rule) -> Path:
    """Where the rule's documents lie."""
    return rule.path.with_suffix(".documents.json")


def read_proof(rule: Rule) -> Proof:
    """The documents beside a rule.

    Raises:
        DoorwatchError: They are missing or malformed; the line says where.
    """
    path = documents_path(rule)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise DoorwatchError(f"{path}: missing: a rule is proven by documents that must and must not match") from error
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise DoorwatchError(f"{path}: larger than {MAX_BYTES} bytes")
    try:
        return msgspec.convert(decode(data), Proof)
    except NotJsonError as error:
        raise DoorwatchError(f"{path}:{error.line}: {error.problem}") from error
    except msgspec.ValidationError as error:
        raise DoorwatchError(f"{path}: {error}") from error


def prove(rule: Rule, proof: Proof) -> tuple[Failure, ...]:
    """Ask the rule about its documents; empty where it treats all as it must."""
    lists = (("match", proof.must_match, True), ("no match", proof.must_not_match, False))
    return tuple(
        Failure(rule=rule.stem, expected=expected, index=index, why=case.why)
        for expected, cases, wanted in lists
        for index, case in enumerate(cases)
        if rule.matches(case.document) is not wanted
    )
