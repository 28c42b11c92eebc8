"""The webhook connector to the responder, and the action by which a rule uses it.

A connector comes before the rules that name it: Kibana refuses to import a rule whose connector is not there. Its id is
made from the space's, because Kibana's ids are one namespace over all spaces and connectors take only random UUIDs.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import read_secret
from kibana_dashboards.setup.certificates import read_certificates
from kibana_dashboards.setup.kibana import Kibana, is_loopback
from kibana_dashboards.setup.options import ResponderOptions
from kibana_dashboards.setup.plan import Action, Body, Change, Kind, Step, nothing

NAME: Final = "Doorwatch responder"
TYPE: Final = ".webhook"
NEEDS: Final = "the Kibana privilege Management > Actions and Connectors: All"
BODY: Final = json.dumps(
    {
        "rule": {"id": "{{rule.id}}", "name": "{{rule.name}}", "severity": "{{context.rule.severity}}"},
        "context": {"alerts": ["{{{context.alerts}}}"]},
    }
).replace('"{{{context.alerts}}}"', "{{{context.alerts}}}")
"""The action's template. Kibana writes a list without its brackets, one object's JSON behind the other with commas
between, so the brackets stand here: the body is then JSON whether there is one alert or a hundred. Two braces are
escaped as JSON strings, three are not."""


class Connector(msgspec.Struct, frozen=True, kw_only=True):
    """What Kibana is to know of the responder."""

    id: str
    config: Body
    secrets: Body

    def __repr__(self) -> str:
        """Without the secrets."""
        return f"Connector({self.id}, {self.config.get('url')})"

    @property
    def action(self) -> Body:
        """The action of a rule: all alerts of one run in one message, as soon as they are there."""
        return {
            "id": self.id,
            "action_type_id": TYPE,
            "group": "default",
            "params": {"body": BODY},
            "frequency": {"summary": True, "notifyWhen": "onActiveAlert", "throttle": None},
        }


def connector_of(options: ResponderOptions, space: str) -> Connector:
    """The connector to a responder.

    Raises:
        DoorwatchError: The address or a file cannot be used.
    """
    parts = urlsplit(options.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DoorwatchError(f"{options.url!r}: not an address of the responder: write https://HOST:8443/v1/alerts")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise DoorwatchError(f"{options.url}: alerts and their password would travel in the clear: use https")
    if parts.path.rstrip("/") != "/v1/alerts":
        raise DoorwatchError(f"{options.url}: the responder takes alerts at /v1/alerts")
    if not options.username or not options.password_file:
        raise DoorwatchError("the responder's webhook needs --responder-user and --responder-password-file")
    config: Body = {
        "url": options.url,
        "method": "post",
        "headers": {"Content-Type": "application/json"},
        "hasAuth": True,
    }
    if options.ca_file:
        config["ca"] = base64.b64encode(read_certificates(options.ca_file)).decode("ascii")
        config["verificationMode"] = "full"
    return Connector(
        id=str(UUID(bytes=sha256(f"doorwatch responder {space}".encode()).digest()[:16], version=4)),
        config=config,
        secrets={"user": options.username, "password": read_secret(Path(options.password_file))},
    )


def plan(kibana: Kibana, wanted: Connector | None, *, renew_password: bool) -> Iterator[Step]:
    """What is to be done about the connector.

    Args:
        kibana: Where.
        wanted: None where no responder was named.
        renew_password: Kibana never shows a password, so only the operator knows that it changed.

    Raises:
        DoorwatchError: Kibana cannot have such a connector, or does not let us look.
    """
    if wanted is None:
        detail = "no --responder-url: rules will raise alerts that nobody answers"
        yield Step(Change(action=Action.SKIP, kind=Kind.CONNECTOR, name=NAME, detail=detail), nothing)
        return
    _check_licence(kibana)
    path = f"/api/actions/connector/{wanted.id}"
    body = {"name": NAME, "config": wanted.config, "secrets": wanted.secrets}
    answer = kibana.ask("GET", path, needs=NEEDS, accept=(200, 404))
    if answer.status == 404:
        yield Step(
            Change(action=Action.CREATE, kind=Kind.CONNECTOR, name=NAME, detail=wanted.config["url"]),
            lambda: _send(kibana, "POST", path, {**body, "connector_type_id": TYPE}),
        )
        return
    present = answer.body if isinstance(answer.body, dict) else {}
    reasons = list(_reasons(present, wanted, renew_password=renew_password))
    yield Step(
        Change(
            action=Action.UPDATE if reasons else Action.KEEP, kind=Kind.CONNECTOR, name=NAME, detail=", ".join(reasons)
        ),
        lambda: _send(kibana, "PUT", path, body),
    )


def _reasons(present: Mapping[str, object], wanted: Connector, *, renew_password: bool) -> Iterator[str]:
    config = present.get("config")
    have = config if isinstance(config, dict) else {}
    changed = sorted(key for key, value in wanted.config.items() if have.get(key) != value)
    if changed:
        yield f"differs in {', '.join(changed)}"
    if present.get("name") != NAME:
        yield f"is called {present.get('name')!r}"
    if present.get("is_missing_secrets"):
        yield "has lost its password"
    elif renew_password:
        yield "the password is renewed"


def _check_licence(kibana: Kibana) -> None:
    """Say what is missing before anything is changed."""
    types = kibana.ask("GET", "/api/actions/connector_types", needs=NEEDS).body
    listed = types if isinstance(types, list) else []
    found = next((each for each in listed if isinstance(each, dict) and each.get("id") == TYPE), None)
    if found is None:
        raise DoorwatchError(f"{kibana.name}: has no webhook connectors: is this Kibana?")
    if not found.get("enabled_in_license"):
        needed = found.get("minimum_license_required", "gold")
        raise DoorwatchError(
            f"{kibana.name}: the licence does not include webhook connectors, they need {needed} or more: leave out "
            "--responder-url to set up the rest; Doorwatch's local engine reaches the responder without Kibana"
        )
    if not found.get("enabled_in_config", True):
        raise DoorwatchError(
            f"{kibana.name}: webhook connectors are switched off: add {TYPE!r} to xpack.actions.enabledActionTypes"
        )


def _send(kibana: Kibana, method: str, path: str, body: Body) -> None:
    kibana.ask(method, path, needs=NEEDS, body=body)
