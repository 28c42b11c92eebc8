"""Directories of rule files on their way to Kibana and back."""

import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any, Final

import msgspec

from beat_bridge.errors import DoorwatchError
from detection_rules.bounded_files import read_bounded
from detection_rules.file_sets import change_files, finish
from detection_rules.json_text import NotJsonError, decode
from detection_rules.kibana.body import Body, rule_to_kibana
from detection_rules.kibana.ndjson import MAX_BYTES, Imported, ImportedRule
from detection_rules.rule_file import Metadata, RuleFile, Source, beside_path, changelog_path, content_of, read_source
from detection_rules.rule_set import SHIPPED
from detection_rules.toml_writer import write as write_toml
from detection_rules.versions import release_of, releases_as_json

KIBANA_ONLY: Final = Path(__file__).parent.parent / "kibana_rules"
"""Shipped rules of types that only Kibana can run: they ask for what is missing."""
OTHERS: Final = "kibana_objects.ndjson"
"""Exception lists, their items and connectors that came with rules, word for word."""
IMPORTED: Final = "As it was imported from Kibana."
"""The line in the changelog of a rule that comes with a version and without what led to it."""
_NOT_A_NAME: Final = re.compile(r"[^a-z0-9]+")


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did, or would do, to one file."""

    rule: str
    """The name of the rule's file without `.toml`."""
    state: str
    """`new`, `changed` or `unchanged`."""
    keys: tuple[str, ...] = ()
    """Keys of Kibana's that differ from what stood there."""
    beside: tuple[str, ...] = ()
    """Keys that the TOML has no place for, kept in `NAME.kibana.json`."""


def read_sources(directories: Iterable[Path]) -> list[Source]:
    """Every rule file of some directories, whatever its type, by name.

    Raises:
        DoorwatchError: A directory holds none, or one cannot be read.
    """
    sources = []
    for directory in directories:
        paths = sorted(directory.glob("*.toml"))
        if not paths:
            problem = "holds no rule (*.toml)" if directory.is_dir() else "is no directory of rules"
            raise DoorwatchError(f"{directory}: {problem}")
        sources += [read_source(path) for path in paths]
    seen: dict[str, Path] = {}
    for source in sources:
        first = seen.setdefault(source.file.rule.rule_id, source.path)
        if first != source.path:
            raise DoorwatchError(f"{source.path}: its rule_id {source.file.rule.rule_id} is also that of {first}")
    return sources


def shipped_sources() -> list[Source]:
    """Every rule that comes with Doorwatch, with those that only Kibana can run."""
    return read_sources((SHIPPED, KIBANA_ONLY))


def read_others(directories: Iterable[Path]) -> list[Body]:
    """What came with the rules of earlier imports.

    Raises:
        DoorwatchError: A file cannot be read.
    """
    return [other for directory in directories for other in _read_others(directory / OTHERS)]


def _read_others(path: Path) -> list[Body]:
    try:
        data = read_bounded(path, MAX_BYTES)
    except FileNotFoundError:
        return []
    found = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            other = decode(line)
        except NotJsonError as error:
            raise DoorwatchError(f"{path}:{number}: {error.problem}") from error
        if not isinstance(other, dict):
            raise DoorwatchError(f"{path}:{number}: no JSON object")
        found.append(other)
    return found


def settle(imported: Imported, directory: Path, *, today: date, write: bool) -> list[Change]:
    """Bring the rules of an export into a directory.

    Args:
        imported: The export.
        directory: Where the files are to lie; made where it is not there.
        today: For `updated_date` of what changed.
        write: False to say only what would change.

    Raises:
        DoorwatchError: A file that stands there cannot be read, or the disk refuses: nothing is changed.
    """
    if write:
        finish(directory)
    standing = {s.file.rule.rule_id: s for s in read_sources([directory])} if any(directory.glob("*.toml")) else {}
    taken = {path.stem for path in directory.glob("*.toml")}
    changes: list[Change] = []
    files: dict[Path, bytes | None] = {}
    for rule in imported.rules:
        known = standing.get(rule.file.rule.rule_id)
        path = directory / f"{_free_name(rule, taken)}.toml" if known is None else known.path
        taken.add(path.stem)
        changes.append(_change(path, rule, known))
        if changes[-1].state != "unchanged":
            files |= _files(path, rule, known, today)
    if imported.others:
        kept = {_identity(other): other for other in (*_read_others(directory / OTHERS), *imported.others)}
        files[directory / OTHERS] = b"".join(msgspec.json.encode(other) + b"\n" for other in kept.values())
    if write:
        change_files(directory, files)
    return changes


def _change(path: Path, rule: ImportedRule, known: Source | None) -> Change:
    beside = tuple(sorted(rule.beside))
    if known is None:
        return Change(rule=path.stem, state="new", beside=beside)
    before, after = rule_to_kibana(known), rule_to_kibana(_as_source(path, rule, known))
    keys = tuple(sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key)))
    return Change(rule=path.stem, state="changed" if keys else "unchanged", keys=keys, beside=beside)


def _as_source(path: Path, rule: ImportedRule, known: Source | None) -> Source:
    # the version is the keeper's, told by the changelog; Kibana counts its own edits
    return Source(path=path, file=rule.file, text="", releases=known.releases if known else (), beside=rule.beside)


def _files(path: Path, rule: ImportedRule, known: Source | None, today: date) -> dict[Path, bytes | None]:
    """What is to stand in each file; None for one that is to go."""
    file = rule.file
    if known is not None:  # Kibana keeps no dates and no integrations of ours
        metadata = msgspec.structs.replace(known.file.metadata, updated_date=f"{today:%Y/%m/%d}")
        file = _with_metadata(file, metadata)
    beside = msgspec.json.format(msgspec.json.encode(rule.beside), indent=2) + b"\n" if rule.beside else None
    files = {path: write_toml(content_of(file)).encode(), beside_path(path): beside}
    if known is None and rule.version > 1:  # else the next export would be older than what Kibana has
        release = release_of(_as_source(path, rule, None), rule.version, IMPORTED, today)
        files[changelog_path(path)] = releases_as_json((release,))
    return files


def _with_metadata(file: RuleFile, metadata: Metadata) -> RuleFile:
    return msgspec.structs.replace(file, metadata=metadata)


def _free_name(rule: ImportedRule, taken: set[str]) -> str:
    """A file name made from the rule's."""
    name = _NOT_A_NAME.sub("_", rule.file.rule.name.lower()).strip("_")[:60] or "rule"
    return name if name not in taken else f"{name}_{rule.file.rule.rule_id[:8]}"


def _identity(other: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(other.get(key, "")) for key in ("list_id", "item_id", "namespace_type", "type", "id"))


__all__ = ["KIBANA_ONLY", "OTHERS", "Change", "read_others", "read_sources", "settle", "shipped_sources"]
