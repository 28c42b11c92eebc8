"""Every file of the package, as bytes by path. Nothing is read but what is installed, and nothing is asked."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from importlib.metadata import distribution, version
from typing import Any

import yaml

from beat_bridge.ecs.templates import DATASETS
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value
from detection_rules.kibana import rule_to_kibana
from detection_rules.kibana.directory import shipped_sources
from detection_rules.rule_file import Source
from kibana_dashboards.dashboards import dashboards
from kibana_dashboards.dashboards.saved_objects import FLEET_DATA_VIEW
from kibana_dashboards.package import field_files, manifests, readme
from kibana_dashboards.pictures import pictures
from kibana_dashboards.pictures.recorded import recorded_documents
from osquery_packs import Pack, load_packs
from osquery_packs.kibana import saved_object as pack_object

PACKAGE = "doorwatch"
_TAGS = [{"text": "Security Solution", "asset_types": ["dashboard"]}]
"""By this tag the Security app lists dashboards as its own."""
_NOT_OF_A_RULE_ASSET = ("enabled", "exceptions_list", "immutable", "id")
"""Kibana decides these itself when somebody installs the rule."""


class Package(Value, frozen=True, kw_only=True):
    """A package before it is an archive."""

    name: str
    version: str
    files: dict[str, bytes]
    """By path within the package."""

    def count(self, folder: str) -> int:
        """How many files lie in a folder."""
        return sum(path.startswith(f"{folder}/") for path in self.files)


def contents() -> Package:
    """The package of the installed Doorwatch.

    Raises:
        DoorwatchError: A rule or a pack cannot be read.
        MissingExtraError: jinja2 is not installed.
    """
    release = package_version(version("doorwatch"))
    shots = pictures()
    # Elastic's own osquery cannot run the others
    rules, packs = shipped_sources(), tuple(pack for pack in load_packs() if pack.kibana)
    files = {
        "manifest.yml": _yaml(manifests.manifest(PACKAGE, release, shots)),
        "changelog.yml": _yaml(manifests.changelog(release)),
        "LICENSE.txt": _licence(),
        "docs/README.md": readme.render_readme([source.file.rule for source in rules], packs, shots).encode(),
        "img/doorwatch.svg": resources.files("kibana_dashboards.package").joinpath("img/doorwatch.svg").read_bytes(),
        "kibana/tags.yml": _yaml(_TAGS),
        **dict(_data_streams()),
        **dict(_kibana(rules, packs)),
        **{f"img/{shot.file_name}": shot.svg.encode() for shot in shots},
    }
    return Package(name=PACKAGE, version=release, files=files)


def package_version(installed: str) -> str:
    """A Python version as the package's: `1.2rc1` is `1.2.0-rc1`.

    Below 1.0.0 the format takes every version for a preview, and a pre-release tag for a mistake.

    Raises:
        DoorwatchError: It does not begin with a number.
    """
    parts = re.match(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:(a|b|rc)(\d+))?", installed)
    if parts is None:
        raise DoorwatchError(f"the installed Doorwatch has the version {installed!r:.40}, which is no number")
    major, minor, patch, stage, number = parts.groups("0")
    tag = f"-{'rc' if stage == 'rc' else 'beta'}{number}" if stage != "0" and major != "0" else ""
    return f"{major}.{minor}.{patch}{tag}"


def _data_streams() -> Iterator[tuple[str, bytes]]:
    for dataset in DATASETS:
        folder = f"data_stream/{dataset}"
        yield f"{folder}/manifest.yml", _yaml(manifests.data_stream_manifest(dataset))
        yield f"{folder}/fields/base-fields.yml", _yaml(field_files.base_fields(f"doorwatch.{dataset}"))
        yield f"{folder}/fields/ecs.yml", _yaml(field_files.ecs_definitions())
        yield f"{folder}/fields/fields.yml", _yaml(field_files.own_definitions())
        yield f"{folder}/sample_event.json", _json(sample_event(dataset))


def sample_event(dataset: str) -> Mapping[str, Any]:
    """A real document of a data set, from the lab: of all that were recorded, the one that says most."""
    recorded = [d for d in recorded_documents() if d["data_stream"]["dataset"] == f"doorwatch.{dataset}"]
    return max(recorded, key=lambda document: len(json.dumps(document)))


def _kibana(rules: Iterable[Source], packs: Iterable[Pack]) -> Iterator[tuple[str, bytes]]:
    for dashboard in dashboards(FLEET_DATA_VIEW):
        yield f"kibana/dashboard/{dashboard['id']}.json", _json(dashboard)
    for rule in rules:
        body = rule_to_kibana(rule)
        identifier = f"{body['rule_id']}_{body['version']}"
        attributes = {key: value for key, value in body.items() if key not in _NOT_OF_A_RULE_ASSET}
        asset = {"id": identifier, "type": "security-rule", "attributes": attributes, "references": []}
        yield f"kibana/security_rule/{identifier}.json", _json(asset)
    for pack in packs:
        asset = pack_object(pack)
        yield f"kibana/osquery_pack_asset/{asset['id']}.json", _json(asset)


def _licence() -> bytes:
    """Apache-2.0, as this distribution carries it.

    Raises:
        DoorwatchError: It was installed without.
    """
    text = distribution("doorwatch").read_text("licenses/LICENSE")
    if text is None:
        raise DoorwatchError("this installation of Doorwatch lacks its LICENSE: install it again with pip")
    return text.encode()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110).encode()
