"""The versions of a rule: which there were, what changed, and whether the newest is what the file says."""

from collections.abc import Mapping
from datetime import date
from hashlib import sha256
from pathlib import Path

import msgspec

from beat_bridge.errors import DoorwatchError
from detection_rules.file_sets import change_files
from detection_rules.kibana import rule_to_kibana
from detection_rules.rule_file import Release, Source, changelog_path

_NOT_CONTENT = ("version", "meta", "enabled")
LONGEST_CHANGE = 300


def digest(source: Source) -> str:
    """SHA-256 over what Kibana would be given, but for the version: dates and comments of the file do not count."""
    body = {key: value for key, value in rule_to_kibana(source).items() if key not in _NOT_CONTENT}
    return sha256(msgspec.json.encode(body, order="sorted")).hexdigest()


def is_current(source: Source) -> bool:
    """Whether the newest version is what the file says. A rule without a changelog has no versions to be behind."""
    return not source.releases or source.releases[0].sha256 == digest(source)


def bumped(source: Source, change: str, today: date) -> tuple[Release, ...]:
    """The versions with one more; newest first.

    Raises:
        DoorwatchError: Nothing changed since the last one, or the change is not said in one line.
    """
    change = change.strip()
    if not change or "\n" in change or len(change) > LONGEST_CHANGE:
        raise DoorwatchError(f"{source.path}: say in one line of at most {LONGEST_CHANGE} characters what changed")
    if source.releases and is_current(source):
        raise DoorwatchError(f"{source.path}: nothing changed since version {source.version}")
    version = source.version + 1 if source.releases else 1
    return (release_of(source, version, change, today), *source.releases)


def release_of(source: Source, version: int, change: str, today: date) -> Release:
    """What a rule is now, as one of its versions."""
    return Release(version=version, date=f"{today:%Y/%m/%d}", sha256=digest(source), change=change)


def releases_as_json(releases: tuple[Release, ...]) -> bytes:
    """The content of a changelog."""
    return msgspec.json.format(msgspec.json.encode(releases), indent=2) + b"\n"


def write_releases(releases: Mapping[Path, tuple[Release, ...]]) -> None:
    """Write the changelogs of some rules: those of one directory all or none.

    Args:
        releases: The versions of each, by the rule's own file.

    Raises:
        DoorwatchError: The disk refuses.
    """
    folders: dict[Path, dict[Path, bytes | None]] = {}
    for rule, versions in releases.items():
        folders.setdefault(rule.parent, {})[changelog_path(rule)] = releases_as_json(versions)
    for folder, files in folders.items():
        change_files(folder, files)
