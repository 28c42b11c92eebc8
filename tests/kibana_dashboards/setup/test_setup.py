"""`doorwatch setup kibana` against a loopback server that holds Kibana's documented contract."""

import copy
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner

import detection_rules
from beat_bridge.errors import DoorwatchError
from detection_rules.kibana.directory import shipped_sources
from kibana_dashboards.setup import kibana as asking
from kibana_dashboards.setup.commands import kibana as command
from kibana_dashboards.setup.options import KibanaOptions
from responders.journal import Journal
from responders.options import ResponderOptions
from responders.webhook.application import create_app
from responders.webhook.bodies import parse
from responders.webhook.credentials import load_credentials
from responders.webhook.server import WebhookServer
from tests.lab.kibana import USER, Kibana, Space, running

SHIPPED = Path(detection_rules.__file__).parent / "rules"
RESPONDER = "https://responder.example:8443/v1/alerts"
Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the secrets lie."""
    (tmp_path / "responder").write_text("the responder's own password\n")
    (tmp_path / "rules").mkdir()
    for stem in SOME:
        shutil.copy(SHIPPED / f"{stem}.toml", tmp_path / "rules")
    return tmp_path


@pytest.fixture
def kibana(directory: Path) -> Iterator[Kibana]:
    """A Kibana that is empty."""
    with running(directory) as lab:
        yield lab


@pytest.fixture
def run(kibana: Kibana, directory: Path) -> Run:
    """The command with a credential, the authority, and a responder; gives its JSON lines back."""

    def invoke(*more: str, responder: bool = True, every_rule: bool = False) -> list[dict[str, Any]]:
        arguments = ["--url", kibana.url, "--ca", f"{directory}/ca.pem", "--api-key-file", f"{directory}/api-key"]
        if responder:
            arguments += ["--responder-url", RESPONDER, "--responder-user", "kibana"]
            arguments += ["--responder-password-file", f"{directory}/responder"]
        if not every_rule:
            arguments += ["--rules", f"{directory}/rules"]
        result = CliRunner().invoke(command, [*arguments, "--format", "json", *more])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return [json.loads(line) for line in result.stdout.splitlines()]

    return invoke


SOME = ("abnormal_pid_file", "kernel_hook_drift", "shared_memory_execution")
"""Shipped rules that stand for all of them where it does not matter which."""


def _first_rule() -> tuple[str, str]:
    body = tomllib.loads((SHIPPED / f"{SOME[0]}.toml").read_text())["rule"]
    return body["rule_id"], body["name"]


def _outcomes(made: list[dict[str, Any]]) -> set[str]:
    return {each["outcome"] for each in made}


def _rows(made: list[dict[str, Any]], **wanted: str) -> list[dict[str, Any]]:
    rows = [{**each["change"], **each} for each in made]
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def test_the_first_run_installs_everything_and_the_second_nothing(kibana: Kibana, run: Run) -> None:
    """Connector, rules, dashboards and packs arrive once; the same command again changes nothing."""
    first = run(every_rule=True)
    assert _outcomes(first) == {"done"}
    space = kibana.spaces["default"]
    assert (len(space.connectors), len(space.rules)) == (1, len(shipped_sources()))
    assert {kind for kind, _ in space.objects} == {"dashboard", "index-pattern"}
    assert {pack["name"] for pack in space.packs.values()} == {
        "doorwatch-files", "doorwatch-kernel", "doorwatch-processes", "doorwatch-sockets",
    }  # fmt: skip
    kibana.requests.clear()
    assert {(row["action"], row["outcome"]) for row in _rows(run(every_rule=True))} == {("keep", "nothing to do")}
    assert kibana.changes == []


def test_the_connector_comes_before_the_rules_that_name_it(kibana: Kibana, run: Run) -> None:
    """Kibana refuses a rule whose connector is not there: the connector is made first, and each rule has its action."""
    run()
    first_import = next(i for i, request in enumerate(kibana.changes) if request.endswith("rules/_import"))
    assert "connector" in "".join(kibana.changes[:first_import])
    (connector,) = kibana.spaces["default"].connectors
    for rule in kibana.spaces["default"].rules.values():
        assert [action["id"] for action in rule["actions"]] == [connector]
        assert rule["enabled"] is False


def test_a_dry_run_shows_the_plan_and_changes_nothing(kibana: Kibana, run: Run) -> None:
    """--dry-run lists every change in order and sends nothing that changes anything."""
    shown = run("--dry-run")
    assert [row["action"] for row in shown] == ["create"] * len(shown)
    assert [row["kind"] for row in shown][:2] == ["connector", "rule"]
    assert kibana.changes == []


def test_the_password_reaches_kibana_and_nothing_else(kibana: Kibana, run: Run, directory: Path) -> None:
    """The webhook's password goes into the connector's secrets and is in no line of output."""
    out = json.dumps(run())
    (connector,) = kibana.spaces["default"].connectors.values()
    assert connector["secrets"] == {"user": "kibana", "password": "the responder's own password"}
    assert "own password" not in out
    assert "own password" not in json.dumps(connector["config"])
    (directory / "responder").write_text("another password, much longer\n")
    assert _outcomes(run("--only", "connector")) == {"nothing to do"}
    assert [row["detail"] for row in _rows(run("--only", "connector", "--renew-password"))] == [
        "the password is renewed"
    ]
    assert connector["secrets"]["password"] == "another password, much longer"


def test_a_connector_that_was_changed_or_lost_its_password_is_mended(kibana: Kibana, run: Run) -> None:
    """Another address, another name, a lost password: each is said, and set right."""
    run("--only", "connector")
    (connector,) = kibana.spaces["default"].connectors.values()
    connector["config"]["url"] = "https://elsewhere/"
    connector["name"] = "mine"
    connector["is_missing_secrets"] = True
    (row,) = _rows(run("--only", "connector"))
    assert row["detail"] == "differs in url, is called 'mine', has lost its password"
    assert connector["config"]["url"] == RESPONDER


def test_a_rule_edited_in_kibana_is_shown_and_kept(kibana: Kibana, run: Run) -> None:
    """What somebody changed in Kibana is listed with the keys that differ, and replaced only with --overwrite."""
    run()
    rule_id, name = _first_rule()
    kibana.edit_rule(rule_id, severity="low", query="process where true")
    (row,) = _rows(run(), action="differs")
    assert (row["name"], row["detail"]) == (name, "changed in Kibana: query, severity")
    assert kibana.spaces["default"].rules[rule_id]["query"] == "process where true"
    exception = {"id": "e", "list_id": "l", "type": "detection", "namespace_type": "single"}
    kibana.spaces["default"].rules[rule_id].update(exceptions_list=[exception], enabled=True)
    actions = copy.deepcopy(kibana.spaces["default"].rules[rule_id]["actions"])
    (row,) = _rows(run("--overwrite"), outcome="done")
    assert row["name"] == name
    rule = kibana.spaces["default"].rules[rule_id]
    assert rule["query"] != "process where true"
    assert rule["exceptions_list"] == [exception], "what belongs to the users survives"
    assert rule["enabled"] is True
    assert rule["actions"] == actions
    assert len(actions) == 1
    assert _rows(run(), action="differs") == []


def test_a_rule_edited_through_the_api_is_kept_too(kibana: Kibana, run: Run) -> None:
    """An edit that leaves `meta` alone is still an edit: the content is not what `meta` remembers."""
    run("--only", "rules", responder=False)
    rule_id, _ = _first_rule()
    kibana.spaces["default"].rules[rule_id]["severity"] = "low"
    (row,) = _rows(run("--only", "rules", responder=False), action="differs")
    assert row["detail"] == "changed in Kibana: severity"


def test_a_rule_nobody_touched_follows_a_new_version(kibana: Kibana, run: Run) -> None:
    """A rule that still is what an earlier Doorwatch installed is updated without being asked."""
    run()
    rule_id, name = _first_rule()
    rule = kibana.spaces["default"].rules[rule_id]
    from kibana_dashboards.setup.plan import fingerprint  # noqa: PLC0415
    from kibana_dashboards.setup.rules import CONTENT  # noqa: PLC0415

    rule["description"] = "As an earlier version said it."
    rule["meta"]["doorwatch"]["fingerprint"] = fingerprint({key: rule[key] for key in CONTENT if key in rule})
    (row,) = _rows(run(), outcome="done")
    assert (row["name"], row["action"]) == (name, "update")
    assert kibana.spaces["default"].rules[rule_id]["description"] != "As an earlier version said it."


def test_an_action_is_added_to_rules_that_were_there_before(kibana: Kibana, run: Run) -> None:
    """Rules set up without a responder get the webhook later, edited ones too, and keep their own actions."""
    run(responder=False)
    assert kibana.spaces["default"].connectors == {}
    rule_id, _ = _first_rule()
    kibana.edit_rule(rule_id, name="renamed")
    own = {"id": "mine", "action_type_id": ".index", "group": "default", "params": {"documents": []}, "uuid": "u"}
    kibana.spaces["default"].connectors["mine"] = {"id": "mine"}
    kibana.spaces["default"].rules[rule_id]["actions"] = [own]
    made = run()
    assert len(_rows(made, kind="rule action", outcome="done")) == len(SOME)
    rule = kibana.spaces["default"].rules[rule_id]
    assert rule["name"] == "renamed"
    assert rule["actions"][0] == own
    assert len(rule["actions"]) == 2
    assert _outcomes(run()) == {"nothing to do"}


def test_dashboards_of_another_version_are_replaced_only_on_request(kibana: Kibana, run: Run) -> None:
    """A dashboard that another version installed, or that was edited, differs until --overwrite."""
    run()
    board = next(each for (kind, _), each in kibana.spaces["default"].objects.items() if kind == "dashboard")
    board["attributes"]["description"] = "mine"
    (row,) = _rows(run(), action="differs")
    assert (row["kind"], row["outcome"]) == ("dashboard", "nothing to do")
    assert len(_rows(run("--overwrite"), outcome="done")) == 1
    assert _outcomes(run()) == {"nothing to do"}


def test_packs_keep_their_policies(kibana: Kibana, run: Run) -> None:
    """An edited pack differs; replaced on request, it stays on its policies, shards and switch."""
    run()
    pack = next(pack for pack in kibana.spaces["default"].packs.values() if pack["name"] == "doorwatch-kernel")
    pack.update(policy_ids=["policy-1"], shards={"policy-1": 50}, enabled=False)
    assert _outcomes(run()) == {"nothing to do"}
    pack["queries"]["kernel_modules"]["interval"] = 7200
    (row,) = _rows(run(), action="differs")
    assert row["detail"] == "changed in Kibana: kernel_modules"
    run("--overwrite")
    assert (pack["policy_ids"], pack["shards"], pack["enabled"]) == (["policy-1"], {"policy-1": 50}, False)
    assert pack["queries"]["kernel_modules"]["interval"] == 600


def test_a_pack_nobody_touched_follows_a_new_version(kibana: Kibana, run: Run) -> None:
    """A pack whose queries are those its description remembers is updated without being asked."""
    run("--only", "packs")
    from kibana_dashboards.setup.packs import _queries  # noqa: PLC0415
    from kibana_dashboards.setup.plan import fingerprint  # noqa: PLC0415

    pack = next(iter(kibana.spaces["default"].packs.values()))
    pack["queries"].popitem()
    assert len(_rows(run("--only", "packs"), action="differs")) == 1
    pack["description"] = re.sub(r"[0-9a-f]{16}\]$", f"{fingerprint(_queries(pack['queries']))}]", pack["description"])
    assert len(_rows(run("--only", "packs"), action="update", outcome="done")) == 1


def test_an_edit_of_another_version_is_an_edit(kibana: Kibana, run: Run) -> None:
    """What an earlier Doorwatch installed and somebody changed since is kept, rule and pack alike."""
    run("--only", "packs", "--only", "rules", responder=False)
    rule_id, name = _first_rule()
    rule = kibana.spaces["default"].rules[rule_id]
    rule["severity"] = "low"
    rule["meta"]["doorwatch"]["fingerprint"] = "0" * 16
    pack = next(iter(kibana.spaces["default"].packs.values()))
    pack["queries"].popitem()
    pack["description"] = re.sub(r"[0-9a-f]{16}\]$", "0" * 16 + "]", pack["description"])
    rows = _rows(run("--only", "packs", "--only", "rules", responder=False), action="differs")
    assert [row["name"] for row in rows] == [name, pack["name"]]


def test_more_packs_than_a_page_are_all_looked_at(kibana: Kibana, run: Run) -> None:
    """Ours are found behind hundreds of others."""
    for number in range(250):
        kibana.spaces["default"].packs[f"p{number}"] = {
            "saved_object_id": f"p{number}", "name": f"other-{number}", "queries": {}, "shards": {},
        }  # fmt: skip
    run("--only", "packs")
    assert _outcomes(run("--only", "packs")) == {"nothing to do"}


def test_a_kibana_without_osquery_gets_the_rest(kibana: Kibana, run: Run) -> None:
    """Where Osquery is not there the packs are skipped, and that is said."""
    kibana.has_osquery = False
    made = run()
    assert {row["detail"] for row in _rows(made, action="skip")} == {"this Kibana has no Osquery"}
    assert len(_rows(made, outcome="done")) == len(made) - 4


def test_two_spaces_stand_side_by_side(kibana: Kibana, run: Run) -> None:
    """Kibana's ids are one namespace over all spaces: each space has a connector and dashboards of its own."""
    kibana.spaces["soc"] = Space()
    run()
    assert _outcomes(run("--space", "soc")) == {"done"}
    assert _outcomes(run("--space", "soc")) == _outcomes(run()) == {"nothing to do"}
    soc = kibana.spaces["soc"]
    assert soc.connectors.keys().isdisjoint(kibana.spaces["default"].connectors)
    for (kind, identifier), each in soc.objects.items():
        assert identifier.endswith("-soc"), kind
        assert 'doorwatch-logs"' not in json.dumps(each).replace("\\", "")


def test_a_failure_in_the_middle_says_what_was_done_and_is_continued(kibana: Kibana, run: Run) -> None:
    """What was made stays, the error names the rest, and the next run makes exactly that."""
    refusal = {"success": False, "success_count": 0, "rules_count": 1, "errors": [
        {"rule_id": "x", "error": {"status_code": 400, "message": "Failed to parse the query"}}]}  # fmt: skip
    kibana.faults += [("rules/_import", lambda: (200, refusal))]
    with pytest.raises(
        DoorwatchError, match=r"was not imported: Failed to parse the query; 1 changes were made, \d+ more"
    ):
        run()
    assert len(kibana.spaces["default"].connectors) == 1
    made = run()
    assert len(_rows(made, action="keep")) == 1
    assert _outcomes(_rows(made, action="create")) == {"done"}


@pytest.mark.parametrize(
    ("spoil", "arguments", "problem"),
    [
        (lambda k: setattr(k, "version", "8.12.2"), [], r"Kibana 8\.12\.2 is too old: .* need 8\.19 or newer"),
        (lambda _: None, ["--space", "nowhere"], "there is no space 'nowhere'"),
        (lambda _: None, ["--space", "No Where"], "small letters"),
        (lambda k: setattr(k, "licence", "basic"), [], "licence does not include webhook connectors, they need gold"),
        (lambda k: k.privileges.discard("actions.read"), [], r"not allowed \(403\): .* Actions and Connectors: All"),
        (lambda k: k.privileges.discard("actions.all"), [], r"Actions and Connectors: All"),
        (lambda k: k.privileges.discard("siem.read"), [], r"not allowed \(403\): .* Security: All"),
        (lambda k: k.privileges.discard("saved_objects.all"), [], r"not allowed \(403\): .* Saved Objects Management"),
        (lambda k: k.privileges.discard("osquery.read"), [], r"not allowed \(403\): .* Osquery: All"),
        (lambda k: k.privileges.discard("osquery.all"), [], r"Osquery: All.*; \d+ changes were made, 3 more remain"),
        (lambda k: k.faults.append(("status", lambda: (302, {"location": "/x"}))), [], "answers with a redirect"),
        (lambda k: k.faults.append(("status", lambda: (200, b"<html>login</html>"))), [], "is this Kibana"),
        (lambda k: k.faults.append(("status", lambda: (200, {"version": "?"}))), [], "is this Kibana"),
        (lambda k: k.faults.append(("status", lambda: (200, []))), [], "is this Kibana"),
        (lambda k: k.faults.append(("status", lambda: (200, b"["*100_000))), [], "is this Kibana"),
        (lambda k: k.faults.append(("status", lambda: (503, {"message": "not ready"}))), [], r"no time now \(503\)"),
        (lambda k: k.faults.append(("connector_types", lambda: (200, {}))), [], "has no webhook connectors"),
        (lambda k: k.faults.append(("GET .*rules", lambda: (200, []))), [], "cannot be understood"),
        (lambda k: k.faults.append(("GET .*rules", lambda: (404, {"message": "Not Found"}))), [], "detection engine"),
        (lambda k: k.faults.append(("_export", lambda: (200, {"id": "other"}))), [], "cannot be understood"),
        (lambda k: k.faults.append(("_export", lambda: (400, {"message": "no"}))), [], "cannot be read: no"),
        (lambda k: k.faults.append(("GET .*packs", lambda: (200, {"data": 7}))), [], "cannot be understood"),
        (lambda k: k.faults.append(("POST .*packs", lambda: (409, {"message": "there"}))), [], r"\(409\): there"),
    ],
)  # fmt: skip
def test_each_obstacle_is_one_clear_line(
    kibana: Kibana, run: Run, spoil: Callable[[Kibana], None], arguments: list[str], problem: str
) -> None:
    """Wrong version, wrong space, missing privilege, missing licence, an answer that is not Kibana's: one line each."""
    spoil(kibana)
    with pytest.raises(DoorwatchError, match=problem) as caught:
        run(*arguments)
    assert "\n" not in str(caught.value)


def test_without_a_licence_for_webhooks_the_rest_can_be_set_up(kibana: Kibana, run: Run) -> None:
    """Leaving the responder out is all it takes on a basic licence."""
    kibana.licence = "basic"
    assert _outcomes(run(responder=False)) == {"done", "nothing to do"}


def test_only_the_right_server_is_spoken_to(kibana: Kibana, directory: Path) -> None:
    """A certificate of another authority and another fingerprint are refused before any credential is sent."""
    arguments = ["--url", kibana.url, "--api-key-file", f"{directory}/api-key", "--dry-run", "--only", "connector"]
    for wrong in ([], ["--fingerprint", "00" * 32]):
        result = CliRunner().invoke(command, [*arguments, *wrong])
        assert isinstance(result.exception, DoorwatchError)
        assert "TLS failed" in str(result.exception)
    assert kibana.requests == []
    colons = ":".join(kibana.fingerprint[i : i + 2] for i in range(0, 64, 2))
    assert CliRunner().invoke(command, [*arguments, "--fingerprint", colons]).exception is None


def test_a_password_works_as_well_as_a_key_and_a_wrong_one_is_said(kibana: Kibana, directory: Path) -> None:
    """Basic authentication with a file; a refused credential names 401 and never the secret."""
    arguments = ["--url", kibana.url, "--ca", f"{directory}/ca.pem", "--dry-run", "--only", "connector"]
    arguments += ["--user", USER, "--password-file"]
    assert CliRunner().invoke(command, [*arguments, f"{directory}/password"]).exception is None
    (directory / "wrong").write_text("not the password\n")
    result = CliRunner().invoke(command, [*arguments, f"{directory}/wrong"])
    assert re.search(r"credential is refused \(401\)", str(result.exception))
    assert "not the password" not in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--url", "kibana:5601"], "not an address of Kibana"),
        (["--url", "https://u:p@kibana"], "holds credentials"),
        (["--url", "http://kibana:5601"], "in the clear"),
        (["--url", "https://kibana/s/soc/app/home"], "--space"),
        (["--api-key-file", ""], "who are we"),
        (["--user", "me"], "who are we"),
        (["--api-key-file", "", "--user", "me"], "belong together"),
        (["--api-key-file", "/nowhere"], "/nowhere: cannot read the secret"),
        (["--ca", "/nowhere"], "/nowhere: cannot read the certificates"),
        (["--ca", os.devnull], "no certificate in PEM form"),
        (["--ca", os.devnull, "--fingerprint", "00"], "exclude each other"),
        (["--fingerprint", "zz"], "not a SHA-256 fingerprint"),
        (["--responder-user", "x"], "need --responder-url"),
        (["--responder-url", "http://responder/v1/alerts"], "in the clear"),
        (["--responder-url", "https://responder/"], "/v1/alerts"),
        (["--responder-url", "responder"], "not an address of the responder"),
        (["--responder-url", "https://r/v1/alerts"], "--responder-user and --responder-password-file"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    kibana: Kibana, directory: Path, arguments: list[str], problem: str
) -> None:
    """Each mistake on the command line is one line, whatever is wrong."""
    base = ["--url", kibana.url, "--api-key-file", f"{directory}/api-key", "--dry-run", "--only", "connector"]
    if not {"--fingerprint", "--ca"} & set(arguments):
        base += ["--ca", f"{directory}/ca.pem"]
    result = CliRunner().invoke(command, [*base, *arguments])
    assert isinstance(result.exception, DoorwatchError), result.output
    assert problem in str(result.exception)


def test_an_answer_without_end_is_given_up(kibana: Kibana, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """More bytes than any answer of Kibana's has are not read."""
    monkeypatch.setattr(asking, "LONGEST_ANSWER", 1 << 20)
    kibana.faults.append(("status", lambda: (200, b" " * (2 << 20))))
    with pytest.raises(DoorwatchError, match="an answer of more than 1 MiB"):
        run()


def test_the_ca_of_the_responder_travels_with_the_connector(kibana: Kibana, run: Run, directory: Path) -> None:
    """Kibana is told whom to trust where the responder's authority is not a public one."""
    run("--only", "connector", "--responder-ca", f"{directory}/ca.pem")
    (connector,) = kibana.spaces["default"].connectors.values()
    assert connector["config"]["verificationMode"] == "full"
    assert _outcomes(run("--only", "connector", "--responder-ca", f"{directory}/ca.pem")) == {"nothing to do"}


@pytest.fixture
def responder(directory: Path) -> Iterator[tuple[str, Journal]]:
    """The responder's own webhook over HTTPS, with a journal behind it: its address and the journal."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(directory / "responder-ca.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(directory / "responder.pem"))
    for name in ("responder", "responder.pem"):
        (directory / name).chmod(0o600)
    options = ResponderOptions(
        state_dir=str(directory / "state"),
        port=0,
        tls_certificate=str(directory / "responder.pem"),
        tls_key=str(directory / "responder.pem"),
        username="kibana",
        password_file=str(directory / "responder"),
    )
    with Journal(options.journal_file) as journal:
        app = create_app(lambda alerts: journal.submit(alerts, 0.0, 1000), lambda: True, load_credentials(options))
        with WebhookServer(app, options) as server:
            yield server.url, journal


@pytest.mark.parametrize("count", [1, 2, 100])
def test_alerts_reach_the_responder_the_way_that_was_set_up(
    kibana: Kibana, run: Run, directory: Path, responder: tuple[str, Journal], count: int
) -> None:
    """Fired through the connector as Kibana does it, every alert of a run is in the responder's own journal."""
    url, journal = responder
    run(
        "--only",
        "connector",
        "--only",
        "rules",
        "--responder-url",
        url,
        "--responder-ca",
        f"{directory}/responder-ca.pem",
    )
    rule_id, _ = _first_rule()
    alerts = [
        {
            "kibana.alert.uuid": f"u{number}",
            "kibana.alert.rule.name": 'A rule with "quotes"',
            "host": {"id": "h", "name": 'a "quoted" \\ name\n'},
            "process": {"pid": 1000 + number, "start": "2026-01-02T03:04:05Z"},
        }
        for number in range(count)
    ]
    assert kibana.fire(rule_id, alerts) == [202]
    kept = {alert.uuid: alert for summary in journal.summaries() for alert in summary.incident.alerts}
    assert kept.keys() == {f"u{number}" for number in range(count)}
    assert {alert.rule_name for alert in kept.values()} == {'A rule with "quotes"'}
    assert {alert.pid for alert in kept.values()} == set(range(1000, 1000 + count))


def test_the_templates_body_is_json_and_taken_without_a_note(kibana: Kibana, run: Run) -> None:
    """One alert or many: the body is JSON as it stands, and the responder's parser has nothing to mend."""
    run("--only", "connector", "--only", "rules")
    rule = next(iter(kibana.spaces["default"].rules.values()))
    for count in (1, 2, 100):
        alerts = ",".join(json.dumps({"kibana.alert.uuid": f"u{number}"}) for number in range(count))
        body = rule["actions"][0]["params"]["body"].replace("{{{context.alerts}}}", alerts)
        json.loads(body)
        parsed = parse(body.replace("{{context.rule.severity}}", "high").encode())
        assert (parsed.notes, len(parsed.alerts)) == ((), count)
        assert {alert.severity for alert in parsed.alerts} == {"high"}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"success": False, "errors": [{"error": {"type": "conflict"}}]}, "an object of another space stands"),
        (
            {"success": False, "errors": [{"error": {"type": "missing_references", "references": [{"id": "logs-*"}]}}]},
            r"what it stands on is not there: logs-\*",
        ),
        ({"success": False, "errors": [{"error": {"type": "unknown", "message": "too\nnew"}}]}, "imported: too new"),
        ({"success": True, "successCount": 0}, "no reason given"),
        ([], "no reason given"),
    ],
)  # fmt: skip
def test_an_import_that_fails_inside_a_200_is_a_failure(kibana: Kibana, run: Run, answer: Any, problem: str) -> None:
    """Kibana answers 200 whatever became of an import; what failed stands inside, and is told in one line."""
    kibana.faults.append(("saved_objects/_import", lambda: (200, answer)))
    with pytest.raises(DoorwatchError, match=problem) as caught:
        run("--only", "dashboards")
    assert "\n" not in str(caught.value)


def test_what_elastic_itself_installed_is_left_alone(kibana: Kibana, run: Run) -> None:
    """A prebuilt rule or pack of the same id or name differs, and is never taken for ours."""
    run()
    rule_id, _ = _first_rule()
    kibana.edit_rule(rule_id, severity="low")
    kibana.spaces["default"].rules[rule_id]["immutable"] = True
    pack = next(iter(kibana.spaces["default"].packs.values()))
    pack["queries"].popitem()
    pack["read_only"] = True
    rows = _rows(run("--overwrite"), action="differs")
    assert {row["detail"] for row in rows} == {
        "a prebuilt rule of Elastic's has this id", "a prebuilt pack has this name",
    }  # fmt: skip


def test_a_server_that_does_not_answer_is_given_up(kibana: Kibana, directory: Path) -> None:
    """The time-out holds for the whole answer."""
    go = threading.Event()
    kibana.faults.append(("status", lambda: (200, {"waited": go.wait(30)})))
    options = KibanaOptions(
        url=kibana.url, ca_file=f"{directory}/ca.pem", api_key_file=f"{directory}/api-key", request_timeout=0.3
    )
    with asking.Kibana(options) as reached, pytest.raises(DoorwatchError, match=r"no answer within 0\.3 s"):
        asking.check_version_and_space(reached)
    go.set()


def test_nothing_listening_is_said(directory: Path) -> None:
    """No server: one line with the address and the reason."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{unused.getsockname()[1]}"
        arguments = ["--url", url, "--ca", f"{directory}/ca.pem", "--api-key-file", f"{directory}/api-key"]
        (directory / "api-key").write_text("x\n")
        trustme.CA().cert_pem.write_to_path(f"{directory}/ca.pem")
        result = CliRunner().invoke(command, arguments)
    assert re.search(r"https://127\.0\.0\.1:\d+: cannot be reached: .*refused", str(result.exception))


def test_the_environment_does_not_choose_the_credential(
    run: Run, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ~/.netrc and a CA bundle out of the environment change nothing."""
    (directory / "netrc").write_text("machine localhost login other password wrong\n")
    (directory / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(directory / "netrc"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(directory / "nowhere.pem"))
    assert run("--only", "connector", "--dry-run")


def test_without_requests_the_extra_is_named() -> None:
    """Where the library is not installed, one line says which extra brings it."""
    code = (
        "import sys; sys.modules['requests'] = None\n"
        "from beat_bridge.errors import MissingExtraError\n"
        "try:\n    import kibana_dashboards.setup.kibana\n"
        "except MissingExtraError as error:\n    print(error)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'doorwatch[kibana]'" in answer.stdout


def test_people_see_the_plan_and_what_became_of_it(kibana: Kibana, directory: Path) -> None:
    """The table names every object; the last line says what was done, or that there is nothing to do."""
    arguments = ["--url", kibana.url, "--ca", f"{directory}/ca.pem", "--api-key-file", f"{directory}/api-key"]
    arguments += ["--only", "dashboards"]
    assert "would change" in " ".join(CliRunner().invoke(command, [*arguments, "--dry-run"]).stdout.split())
    first = CliRunner().invoke(command, arguments).stdout
    assert "create dashboard [Doorwatch] Overview ..." in first
    assert first.endswith("5 changes made.\n")
    next(iter(kibana.spaces["default"].objects.values()))["attributes"]["title"] = "mine"
    assert (
        "Nothing to do.\n1 were changed in Kibana and stay as they are" in CliRunner().invoke(command, arguments).stdout
    )
