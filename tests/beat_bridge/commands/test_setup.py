"""`doorwatch setup elasticsearch` against a real cluster."""

import json
import ssl
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from beat_bridge.commands import setup as command
from beat_bridge.errors import DoorwatchError
from beat_bridge.shipping import ElasticsearchOptions, Spool
from beat_bridge.shipping.setup import Wanted
from tests.lab.elasticsearch import Cluster
from tests.lab.mappings import SUBSTITUTES
from tests.lab.shipper import event, ship_all

pytestmark = pytest.mark.elasticsearch


def adapted(value: Any, prefix: str) -> Any:
    """A template with the mapper types the test server has, and with names of this test's own."""
    if isinstance(value, dict):
        kind = value.get("type")  # a mapper type, or the mapping of a field of that name
        if isinstance(kind, str) and kind in SUBSTITUTES:
            return {"type": SUBSTITUTES[kind]}
        return {adapted(key, prefix): adapted(inner, prefix) for key, inner in value.items()}
    if isinstance(value, list):
        return [adapted(inner, prefix) for inner in value]
    return value.replace("logs-doorwatch", prefix) if isinstance(value, str) else value


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """What stands in place of `logs-doorwatch`, so that each test finds a cluster without its templates."""
    return f"logs-doorwatch.{zlib.crc32(request.node.name.encode()):08x}"


@pytest.fixture(autouse=True)
def wanted(prefix: str, monkeypatch: pytest.MonkeyPatch) -> Wanted:
    """What the command wants, as the test server can have it."""
    real = command.wanted()
    changed = Wanted(
        lifecycle_policies=real.lifecycle_policies,
        component_templates=adapted(real.component_templates, prefix),
        index_templates=adapted(real.index_templates, prefix),
    )
    monkeypatch.setattr(command, "wanted", lambda: changed)
    return changed


def run(cluster: Cluster, *more: str, user: str = "admin") -> Result:
    """Run the command as one of the cluster's users."""
    return CliRunner().invoke(
        command.setup,
        [
            *("elasticsearch", "--url", cluster.nodes[0].url, "--ca", str(cluster.ca_file)),
            *("--user", user, "--password-file", str(cluster.secrets / user), *more),
        ],
        catch_exceptions=False,
    )


def actions(result: Result) -> dict[str, str]:
    """What the JSON form says of each object."""
    rows = [json.loads(line) for line in result.output.splitlines()]
    return {row["name"]: row["action"] for row in rows if "name" in row}


def test_a_dry_run_changes_nothing(elasticsearch: Cluster, wanted: Wanted) -> None:
    """A dry run names everything it would create, and the cluster has none of it."""
    said = actions(run(elasticsearch, "--dry-run", "--format", "json"))
    assert {name for name, action in said.items() if action == "create"} == {
        *wanted.component_templates,
        *wanted.index_templates,
    }
    for name in wanted.index_templates:
        assert not elasticsearch.admin.indices.exists_index_template(name=name)


def test_set_up_twice(elasticsearch: Cluster, prefix: str, tmp_path: Path) -> None:
    """The first run installs what documents need to be written, the second finds nothing to do."""
    assert "create" in actions(run(elasticsearch, "--format", "json")).values()
    assert set(actions(run(elasticsearch, "--format", "json")).values()) == {"keep", "skip"}
    stream = f"{prefix}.finding-default"
    with Spool(tmp_path) as spool:
        spool.append([event(stream, "a")])
        ship_all(spool, elasticsearch.options())
    assert elasticsearch.ids(stream) == ["a"]


def test_a_template_somebody_changed_is_put_right(elasticsearch: Cluster, prefix: str) -> None:
    """A template that differs is named with what differs, and is as it should be afterwards."""
    run(elasticsearch)
    elasticsearch.admin.indices.put_index_template(
        name=f"{prefix}.finding", index_patterns=[f"{prefix}.finding-*"], data_stream={}, priority=251
    )
    output = run(elasticsearch).output
    assert "update" in output
    assert "roll over" in output
    assert "update" not in actions(run(elasticsearch, "--format", "json")).values()


def test_a_server_without_lifecycle_is_said(elasticsearch: Cluster, prefix: str) -> None:
    """Where there is no lifecycle management it is skipped in so many words, and the rest is installed."""
    result = run(elasticsearch, "--format", "json")
    (policy,) = (json.loads(line) for line in result.output.splitlines() if "lifecycle policy" in line)
    assert (policy["action"], policy["detail"]) == ("skip", "lifecycle: not supported here, skipped")
    settings = elasticsearch.admin.cluster.get_component_template(name=f"{prefix}@settings")
    assert "lifecycle" not in json.dumps(settings.body)


def test_the_role_is_printed_and_is_enough(elasticsearch: Cluster) -> None:
    """The role that is printed is the one the tests' own writer has, with which everything else here is shipped."""
    output = run(elasticsearch).output
    assert "PUT _security/role/doorwatch_writer" in output
    role = json.loads(output.partition("doorwatch_writer\n")[2])
    assert role == {
        "cluster": [],
        "indices": [{"names": ["logs-doorwatch.*"], "privileges": ["auto_configure", "create_doc"]}],
    }


def test_a_missing_privilege_is_named(elasticsearch: Cluster) -> None:
    """A user who may not do this is told in one line which privilege would."""
    with pytest.raises(
        DoorwatchError, match=r"403.*\[writer\].*granted by the cluster privileges \[.*monitor"
    ) as error:
        run(elasticsearch, user="writer")
    assert "\n" not in str(error.value)


def test_a_fingerprint_in_place_of_the_ca(elasticsearch: Cluster) -> None:
    """The certificate's SHA-256 is enough to know the server by, and another one is refused."""
    host, port = elasticsearch.nodes[0].url.removeprefix("https://").split(":")
    pem = ssl.get_server_certificate((host, int(port)))
    fingerprint = sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    colons = ":".join(fingerprint[place : place + 2] for place in range(0, 64, 2))
    arguments = ["elasticsearch", "--url", elasticsearch.nodes[0].url, "--dry-run"]
    arguments += ["--user", "admin", "--password-file", str(elasticsearch.secrets / "admin")]
    result = CliRunner().invoke(command.setup, [*arguments, "--fingerprint", colons], catch_exceptions=False)
    assert "would change" in result.output
    with pytest.raises(DoorwatchError, match="TLS failed"):
        CliRunner().invoke(command.setup, [*arguments, "--fingerprint", "AB" * 32], catch_exceptions=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hosts": ("https://localhost:1",)}, "cannot be reached: .*Connection refused"),
        ({"ca_file": ""}, "TLS failed: .*check the CA file or the fingerprint"),
        ({"ca_file": "/nowhere/ca.pem"}, "/nowhere/ca.pem: no such CA file"),
        ({"ca_file": __file__}, "not a usable CA file"),
        ({"password_file": "/nowhere/password"}, "/nowhere/password: cannot read the secret: No such file"),
        ({"username": "reader"}, r"the credential is refused \(401\)"),
    ],
)
def test_what_goes_wrong_is_one_line(elasticsearch: Cluster, changes: dict[str, Any], message: str) -> None:
    """Unreachable, unknown CA, missing files and wrong passwords each have their own line."""
    options: ElasticsearchOptions = elasticsearch.options("admin", **changes)
    with pytest.raises(DoorwatchError, match=message) as error:
        CliRunner().invoke(
            command.setup,
            [
                *("elasticsearch", "--url", options.hosts[0], "--ca", options.ca_file),
                *("--user", options.username, "--password-file", options.password_file),
            ],
            catch_exceptions=False,
        )
    assert "\n" not in str(error.value)
