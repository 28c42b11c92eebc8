"""The Elastic package: what is in it, that it is always the same, and that Elastic's own validator takes it."""

import hashlib
import json
import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from beat_bridge.ecs.fields import check
from beat_bridge.ecs.templates import DATASETS, component_templates
from beat_bridge.errors import DoorwatchError
from detection_rules.kibana.directory import shipped_sources
from kibana_dashboards import commands
from kibana_dashboards.package import Package, archive, contents, write_package
from kibana_dashboards.package.contents import package_version
from osquery_packs import load_packs
from tests.kibana_dashboards import go_validator

ROOT = Path(__file__).parents[2]
Files = dict[str, bytes]
Break = Callable[[Files], None]


@pytest.fixture(scope="module")
def built() -> Package:
    """The package as it is now."""
    return contents()


@pytest.fixture(scope="module")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Elastic's validator, ready to run."""
    if missing := go_validator.obstacle():
        pytest.skip(missing)
    return go_validator.build(tmp_path_factory.mktemp("validator"))


def test_elastic_accepts_the_package(built: Package, validator: Path, tmp_path: Path) -> None:
    """Elastic's validator finds nothing, warnings included, neither as in a source tree nor as in a built package."""
    verdict = go_validator.validate(validator, write_package(built, tmp_path))
    assert verdict.accepted, verdict.said
    assert "validation.yml" not in built.files  # which is where exceptions would stand


def _edit(path: str, change: Callable[[Any], None]) -> Break:
    """Break a YAML or JSON file: the first whose name begins like this."""

    def broken(files: Files) -> None:
        name = min(name for name in files if name.startswith(path))
        value = yaml.safe_load(files[name])
        change(value)
        files[name] = (json.dumps(value) if name.endswith(".json") else yaml.safe_dump(value)).encode()

    return broken


def _by_reference(dashboard: dict[str, Any]) -> None:
    dashboard["references"].append({"type": "lens", "id": "elsewhere", "name": "panel_0"})


def _renamed(files: Files) -> None:
    name = min(name for name in files if name.startswith("kibana/security_rule/"))
    files["kibana/security_rule/rule.json"] = files.pop(name)


BROKEN: dict[str, tuple[Break, str]] = {
    # what is broken: how, and what the validator says of it
    "an unknown key of the manifest": (_edit("manifest.yml", lambda m: m.update(surprise=1)), "surprise"),
    "rules without the security app": (
        _edit("manifest.yml", lambda m: m["conditions"]["elastic"].pop("capabilities")),
        "capability",
    ),
    "a screenshot that is not there": (lambda files: files.__delitem__("img/overview.svg"), "target doesn't exist"),
    "a type of field that nobody knows": (
        _edit("data_stream/finding/fields/fields.yml", lambda f: f[0]["fields"][0].update(type="secret")),
        "type",
    ),
    "a field that is declared twice": (
        _edit("data_stream/finding/fields/ecs.yml", lambda f: f.append(dict(f[0]))),
        "defined multiple times",
    ),
    "a data stream without its data set": (
        _edit("data_stream/response/fields/base-fields.yml", lambda f: f.pop(1)),
        "data_stream.dataset",
    ),
    "a dashboard with a link to nowhere": (_edit("kibana/dashboard/", _by_reference), "dangling reference"),
    "a rule under another name": (_renamed, "non-matching ID"),
    "another version in the changelog": (_edit("changelog.yml", lambda c: c[0].update(version="9.9.9")), "changelog"),
    "no documentation": (lambda files: files.__delitem__("docs/README.md"), "docs"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_package_is_refused(built: Package, validator: Path, tmp_path: Path, what: str) -> None:
    """The validator sees each thing that is broken on purpose, so its silence about ours means something."""
    breaking, said = BROKEN[what]
    files = dict(built.files)
    breaking(files)
    verdict = go_validator.validate(validator, write_package(msgspec.structs.replace(built, files=files), tmp_path))
    assert not verdict.accepted
    assert said in verdict.said


@pytest.mark.parametrize(
    ("umask", "environment"),
    [
        (0o077, {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONHASHSEED": "1", "PYTHONUTF8": "0"}),
        (0o000, {"TZ": "America/Adak", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "2", "SOURCE_DATE_EPOCH": "1"}),
    ],
)
def test_the_package_is_the_same_everywhere(
    built: Package, tmp_path: Path, umask: int, environment: dict[str, str]
) -> None:
    """Another directory, umask, locale, time zone and hash seed: the same bytes, readable by all."""
    program = "from kibana_dashboards.commands import package; package()"
    done = subprocess.run(
        [sys.executable, "-c", program, "build", "--output", "."],
        cwd=tmp_path,
        umask=umask,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o644
    assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(archive.archive(built)).digest()


def test_the_archive_tells_nothing_of_its_maker(built: Package, tmp_path: Path) -> None:
    """One folder, sorted names, one moment, ordinary files, and small enough to be uploaded by hand."""
    path = write_package(built, tmp_path)
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        entries = file.infolist()
    assert path.name == f"doorwatch-{built.version}.zip"
    assert [entry.filename for entry in entries] == sorted(f"{path.stem}/{name}" for name in built.files)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {(entry.external_attr >> 16, entry.create_system) for entry in entries} == {(0o100644, 3)}
    assert path.stat().st_size < 2_000_000


def _flat(fields: list[dict[str, Any]], prefix: str = "") -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for field in fields:
        if "fields" in field:
            found |= _flat(field["fields"], f"{prefix}{field['name']}.")
        else:
            found[prefix + field["name"]] = field
    return found


def _mapped(properties: dict[str, Any], prefix: str = "") -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, body in properties.items():
        if "properties" in body:
            found |= _mapped(body["properties"], f"{prefix}{name}.")
        else:
            found[prefix + name] = body
    return found


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_package_maps_what_setup_maps(built: Package, dataset: str) -> None:
    """Each data stream's fields have the names, types and indexing of our own index templates, and are as strict."""
    folder = f"data_stream/{dataset}"
    ours: dict[str, dict[str, Any]] = {}
    for template in component_templates().values():
        ours |= _mapped(template["template"].get("mappings", {}).get("properties", {}))
    theirs: dict[str, dict[str, Any]] = {}
    for name in ("base-fields", "ecs", "fields"):
        theirs |= _flat(yaml.safe_load(built.files[f"{folder}/fields/{name}.yml"]))
    assert theirs.keys() == ours.keys()
    for name, field in theirs.items():
        if not name.startswith("data_stream."):  # the stack wants these to be constants
            assert field["type"] == ours[name]["type"], name
        assert field.get("index", True) == ours[name].get("index", True), name
        assert field["description"]
    (group,) = yaml.safe_load(built.files[f"{folder}/fields/fields.yml"])
    assert (group["name"], group["dynamic"]) == ("doorwatch", "strict")
    manifest = yaml.safe_load(built.files[f"{folder}/manifest.yml"])
    assert manifest["dataset"] == f"doorwatch.{dataset}"
    assert manifest["elasticsearch"]["index_template"]["mappings"]["dynamic"] is False


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_sample_is_a_real_document(built: Package, dataset: str) -> None:
    """It passes the check of every document, is of its data set, and every field is one the package maps."""
    sample = json.loads(built.files[f"data_stream/{dataset}/sample_event.json"])
    assert check(sample) == ()
    assert sample["data_stream"]["dataset"] == f"doorwatch.{dataset}"


def test_every_rule_and_pack_is_in_it(built: Package) -> None:
    """Each shipped rule under its id and version, each pack that Elastic's osquery can run, nothing else."""
    rules = [json.loads(data) for name, data in built.files.items() if name.startswith("kibana/security_rule/")]
    assert {rule["attributes"]["rule_id"] for rule in rules} == {
        source.file.rule.rule_id for source in shipped_sources()
    }
    assert all(rule["id"] == f"{rule['attributes']['rule_id']}_{rule['attributes']['version']}" for rule in rules)
    assert not any("enabled" in rule["attributes"] for rule in rules)
    packs = [json.loads(data) for name, data in built.files.items() if name.startswith("kibana/osquery_pack_asset/")]
    assert {pack["attributes"]["name"] for pack in packs} == {pack.name for pack in load_packs() if pack.kibana}


def test_the_documentation_names_what_is_in_it(built: Package) -> None:
    """The package's page lists every rule, pack, data stream and picture."""
    page = built.files["docs/README.md"].decode()
    for source in shipped_sources():
        assert source.file.rule.name in page
    for name in built.files:
        if name.startswith("img/") and name != "img/doorwatch.svg":
            assert f"(../{name})" in page
    assert all(f"logs-doorwatch.{dataset}-*" in page for dataset in DATASETS)


def test_pictures_are_of_the_size_that_the_manifest_says(built: Package) -> None:
    """Icon and screenshots are in the package, are SVG, and measure what is said of them."""
    manifest = yaml.safe_load(built.files["manifest.yml"])
    assert len(manifest["screenshots"]) == 4
    for image in (*manifest["icons"], *manifest["screenshots"]):
        drawn = ET.fromstring(built.files[image["src"].removeprefix("/")])  # noqa: S314 - our own
        assert f"{drawn.attrib['width']}x{drawn.attrib['height']}" == image["size"]
        assert image["type"] == "image/svg+xml"


@pytest.mark.parametrize("output", ["table", "json"])
def test_the_command_says_what_it_wrote(tmp_path: Path, output: str) -> None:
    """`package build` writes one file and tells what is in it."""
    done = CliRunner().invoke(commands.package, ["build", "--output", str(tmp_path), "--format", output])
    assert done.exit_code == 0, done.output
    (file,) = tmp_path.iterdir()
    if output == "json":
        told = json.loads(done.stdout)
        assert (told["file"], told["bytes"]) == (str(file), file.stat().st_size)
        assert (told["data streams"], told["dashboards"]) == (4, 4)
        assert told["rules"] == len(shipped_sources())
    else:
        assert "osquery packs" in done.stdout


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """One line, exit code 2, nothing made."""
    done = CliRunner().invoke(commands.package, ["build", "--output", str(tmp_path / "no")])
    assert done.exit_code == 2
    assert "does not exist" in done.output
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_half_written(built: Package, tmp_path: Path) -> None:
    """A disk that takes no more leaves the old file as it was and nothing beside it, and is told in one line."""
    path = write_package(msgspec.structs.replace(built, files={"old": b"old"}), tmp_path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(DoorwatchError, match="the package cannot be written: File too large"):
            write_package(built, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("installed", "version"),
    [("0.1.0", "0.1.0"), ("0.2.0rc1", "0.2.0"), ("1.2", "1.2.0"), ("1.2rc1", "1.2.0-rc1"), ("2.0.0b3", "2.0.0-beta3")],
)
def test_versions_are_the_formats(installed: str, version: str) -> None:
    """Python's versions become semantic ones, with the pre-release tags that the format knows."""
    assert package_version(installed) == version


def test_a_version_that_is_none_is_refused() -> None:
    """A version without a number is an error, not version zero."""
    with pytest.raises(DoorwatchError, match="no number"):
        package_version("unknown")
