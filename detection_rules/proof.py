"""The documents beside a rule: those it must fire on, and those it must not, each with its reason.

`NAME.documents.json` lies beside `NAME.toml`:

    {"like": {"a finding": {...}},
     "must_match": [{"why": "one line", "like": "a finding", "document": {...}}],
     "must_not_match": [{"why": "one line", "documents": [{"like": "a finding", "document": {...}}, ...]}]}

A document that is `like` another says only what differs (a JSON merge patch, RFC 7396: null takes a field away). A rule
over sequences is proven by `documents`, which are asked about together, in the order of their time stamps.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from beat_bridge.errors import DoorwatchError
from detection_rules.bounded_files import read_bounded
from detection_rules.json_text import NotJsonError, decode
from detection_rules.rule_set import Rule

MAX_BYTES: Final = 8 << 20
MAX_DEPTH: Final = 60
Why = Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[^\n]+$")]


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One document, or several that belong together, and why the rule must treat them so."""

    why: Why
    documents: tuple[dict[str, Any], ...]

    @property
    def document(self) -> dict[str, Any]:
        """The only document, or the first."""
        return self.documents[0]


class Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a rule is held to."""

    must_match: tuple[Case, ...]
    must_not_match: tuple[Case, ...]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A case that the rule treats otherwise than it must."""

    rule: str
    expected: str
    """`match` or `no match`."""
    index: int
    """Position in its list, from 0."""
    why: str


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    document: dict[str, Any]
    like: str = ""


class _Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    why: Why
    document: dict[str, Any] | None = None
    like: str = ""
    documents: tuple[_Document, ...] = ()


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    must_match: tuple[_Case, ...]
    must_not_match: tuple[_Case, ...]
    like: dict[str, dict[str, Any]] = {}


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
        data = read_bounded(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise DoorwatchError(f"{path}: missing: a rule is proven by documents that must and must not match") from error
    try:
        file = msgspec.convert(decode(data), _File)
    except NotJsonError as error:
        raise DoorwatchError(f"{path}:{error.line}: {error.problem}") from error
    except msgspec.ValidationError as error:
        raise DoorwatchError(f"{path}: {error}") from error
    return Proof(
        must_match=tuple(_whole(case, file.like, f"{path}: must_match[{n}]") for n, case in enumerate(file.must_match)),
        must_not_match=tuple(
            _whole(case, file.like, f"{path}: must_not_match[{n}]") for n, case in enumerate(file.must_not_match)
        ),
    )


def _whole(case: _Case, bases: Mapping[str, dict[str, Any]], place: str) -> Case:
    """A case with its documents spelled out."""
    if (case.document is None) != bool(case.documents) or (case.like and case.documents):
        raise DoorwatchError(f"{place}: give either `document` or `documents`")
    parts = case.documents if case.document is None else (_Document(document=case.document, like=case.like),)
    for part in parts:
        if part.like and part.like not in bases:
            raise DoorwatchError(f"{place}: `like` names {part.like!r:.60}, which the file does not have")
    return Case(
        why=case.why,
        documents=tuple(
            _patched(bases[part.like], part.document, place) if part.like else part.document for part in parts
        ),
    )


def _patched(base: Any, patch: Mapping[str, Any], place: str, depth: int = 0) -> dict[str, Any]:
    """A JSON merge patch (RFC 7396) applied."""
    if depth > MAX_DEPTH:
        raise DoorwatchError(f"{place}: nested more than {MAX_DEPTH} deep")
    result = dict(base) if isinstance(base, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = _patched(result.get(key), value, place, depth + 1)
        else:
            result[key] = value
    return result


def prove(rule: Rule, proof: Proof) -> tuple[Failure, ...]:
    """Ask the rule about its documents; empty where it treats all as it must."""
    lists = (("match", proof.must_match, True), ("no match", proof.must_not_match, False))
    return tuple(
        Failure(rule=rule.stem, expected=expected, index=index, why=case.why)
        for expected, cases, wanted in lists
        for index, case in enumerate(cases)
        if fires(rule, case) is not wanted
    )


def fires(rule: Rule, case: Case) -> bool:
    """Whether the rule fires on the documents of a case."""
    return bool(rule.match_all(case.documents))
