"""A Kibana for tests: a loopback HTTPS server that holds the contract of tests/lab/kibana_contract.py.

It keeps what it is given, answers in Kibana's words and forms (defaults filled in, dashboards migrated, rules marked as
edited by its editor), and refuses everything else.
"""

import base64
import copy
import email.parser
import email.policy
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext, create_default_context
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from urllib.request import Request, urlopen

import msgspec
import trustme

from tests.lab import kibana_contract as contract

Body = dict[str, Any]
Reply = tuple[int, Any]
USER, PASSWORD, API_KEY = "setup", "correct horse battery", "aWQ6a2V5LW9mLXRoZS1sYWI="


class RefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        names = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict"}
        self.reply: Reply = (
            status,
            {"statusCode": status, "error": names.get(status, "Error"), "message": message, **more},
        )


class Space:
    """What lies in one space."""

    def __init__(self) -> None:
        self.connectors: dict[str, Body] = {}
        self.rules: dict[str, Body] = {}
        self.objects: dict[tuple[str, str], Body] = {}
        self.packs: dict[str, Body] = {}


class Kibana:
    """The state, and what tests do to it behind Doorwatch's back."""

    def __init__(self) -> None:
        self.version = "9.1.0"
        self.licence = "platinum"
        self.privileges = set(contract.EVERY_PRIVILEGE)
        self.policies = {"policy-1"}
        self.has_osquery = True
        self.spaces = {"default": Space()}
        self.requests: list[str] = []
        self.faults: list[tuple[str, Callable[[], Reply]]] = []
        """Regular expressions over `METHOD PATH`; the first that fits answers, once."""
        self.url = ""
        self.fingerprint = ""

    @property
    def changes(self) -> list[str]:
        """The requests that changed something or meant to."""
        return [each for each in self.requests if not each.startswith("GET") and not each.endswith("_export")]

    def edit_rule(self, rule_id: str, **changes: Any) -> None:
        """As Kibana's rule editor saves: it writes `meta` anew and counts a revision."""
        rule = self.spaces["default"].rules[rule_id]
        rule.update(changes)
        rule["revision"] += 1
        rule["meta"] = {"from": "1m", "kibana_siem_app_url": f"{self.url}/app/security"}

    def fire(self, rule_id: str, alerts: list[Body]) -> list[int]:
        """As Kibana's alerting does after a run of a rule: send each webhook action; the answers' statuses.

        Templates are rendered as its mustache does: three braces put a list's elements one behind the other with commas
        between, two escape a text for JSON.
        """
        space = self.spaces["default"]
        rule = space.rules[rule_id]
        texts = {"rule.id": rule["id"], "rule.name": rule["name"], "context.rule.severity": rule["severity"]}
        statuses = []
        for action in rule["actions"]:
            body = action["params"]["body"].replace("{{{context.alerts}}}", ",".join(map(json.dumps, alerts)))
            for name, text in texts.items():
                body = body.replace("{{" + name + "}}", json.dumps(text)[1:-1])
            connector = space.connectors[action["id"]]
            secrets, config = connector["secrets"], connector["config"]
            basic = base64.b64encode(f"{secrets['user']}:{secrets['password']}".encode()).decode()
            trusted = create_default_context(cadata=base64.b64decode(config["ca"]).decode())
            request = Request(  # noqa: S310 - the address is the test's own
                config["url"],
                body.encode(),
                {**config["headers"], "Authorization": f"Basic {basic}"},
                method=config["method"].upper(),
            )
            with urlopen(request, context=trusted, timeout=20) as answer:  # noqa: S310 - the same
                statuses.append(answer.status)
        return statuses

    # -- answering ----------------------------------------------------------------------------------------------------

    def answer(self, method: str, target: str, headers: dict[str, str], content: bytes) -> Reply:
        """Answer one request."""
        parts = urlsplit(target)
        path, space = unquote(parts.path), "default"
        if found := re.match(r"/s/([^/]+)(/.*)", path):
            space, path = found[1], found[2]
        self.requests.append(f"{method} {path}")
        for index, (pattern, reply) in enumerate(self.faults):
            if re.search(pattern, f"{method} {path}"):
                del self.faults[index]
                return reply()
        try:
            self._check_headers(method, headers)
            return self._route(f"{method} {path}", space, dict(parse_qsl(parts.query)), _payload(headers, content))
        except RefusedError as refused:
            return refused.reply
        except msgspec.ValidationError as error:
            return RefusedError(400, f"[request body]: {error}").reply
        except msgspec.DecodeError as error:
            return RefusedError(400, f"Invalid request payload JSON format: {error}").reply

    def _check_headers(self, method: str, headers: dict[str, str]) -> None:
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if headers.get("authorization") not in (basic, f"ApiKey {API_KEY}"):
            raise RefusedError(401, "[security_exception]: unable to authenticate user")
        if method != "GET" and "kbn-xsrf" not in headers:
            raise RefusedError(400, "Request must contain a kbn-xsrf header.")
        if headers.get("elastic-api-version", "2023-10-31") != "2023-10-31":
            raise RefusedError(400, "No version available for this header")

    def _route(self, request: str, space: str, query: dict[str, str], body: bytes) -> Reply:
        method, _, path = request.partition(" ")
        for (wanted, pattern), (privilege, parameters) in contract.ROUTES.items():
            found = re.fullmatch(pattern.replace("{id}", "([^/_][^/]*)"), path)
            if wanted != method or found is None or space not in self.spaces:
                continue
            if path.startswith("/api/osquery") and not self.has_osquery:
                break
            if space != "default" and path.startswith(contract.NOT_OF_A_SPACE):
                break
            if privilege and privilege not in self.privileges:
                raise RefusedError(403, f"API [{request}] is unauthorized for user")
            if unknown := query.keys() - parameters:
                raise RefusedError(400, f"[request query]: Unrecognized key(s): {', '.join(sorted(unknown))}")
            name = f"_{method.lower()}_{re.sub(r'[^a-z]+', '_', pattern.removeprefix('/api/')).strip('_')}"
            handler: Callable[..., Reply] = getattr(self, name)
            return handler(self.spaces[space], found[1] if found.groups() else "", query, body)
        raise RefusedError(404, "Not Found")

    def _get_status(self, *_: Any) -> Reply:
        return 200, {"name": "lab", "version": {"number": self.version, "build_flavor": "traditional"}}

    def _get_spaces_space_id(self, _: Space, identifier: str, *__: Any) -> Reply:
        if identifier not in self.spaces:
            raise RefusedError(404, "Not Found")
        return 200, {"id": identifier, "name": identifier, "disabledFeatures": []}

    # -- connectors ---------------------------------------------------------------------------------------------------

    def _get_actions_connector_types(self, *_: Any) -> Reply:
        return 200, [
            {"id": ".index", "name": "Index", "minimum_license_required": "basic", "enabled_in_license": True},
            {
                "id": ".webhook",
                "name": "Webhook",
                "enabled": self.licence != "basic",
                "enabled_in_config": True,
                "enabled_in_license": self.licence != "basic",
                "minimum_license_required": "gold",
                "supported_feature_ids": ["alerting", "siem"],
            },
        ]

    def _get_actions_connector_id(self, space: Space, identifier: str, *_: Any) -> Reply:
        if identifier not in space.connectors:
            raise RefusedError(404, f"Saved object [action/{identifier}] not found")
        return 200, _without_secrets(space.connectors[identifier])

    def _post_actions_connector_id(self, space: Space, identifier: str, _: Any, body: bytes) -> Reply:
        wanted = msgspec.json.decode(body, type=contract.CreateConnector)
        if self.licence == "basic":
            raise RefusedError(
                403,
                "Action type .webhook is disabled because your basic license does not support it. "
                "Please upgrade your license.",
            )
        if uuid.UUID(identifier).version not in (1, 4):
            raise RefusedError(
                400,
                "Predefined IDs are not allowed for saved objects with encrypted attributes unless the ID is a UUID.",
            )
        if any(identifier in each.connectors for each in self.spaces.values()):
            raise RefusedError(409, f"Saved object [action/{identifier}] conflict")
        space.connectors[identifier] = {
            **msgspec.to_builtins(wanted),
            "id": identifier,
            "is_preconfigured": False,
            "is_deprecated": False,
            "is_system_action": False,
            "is_missing_secrets": False,
        }
        space.connectors[identifier]["config"] = _full(wanted.config)
        return 200, _without_secrets(space.connectors[identifier])

    def _put_actions_connector_id(self, space: Space, identifier: str, _: Any, body: bytes) -> Reply:
        wanted = msgspec.json.decode(body, type=contract.UpdateConnector)
        if identifier not in space.connectors:
            raise RefusedError(404, f"Saved object [action/{identifier}] not found")
        present = space.connectors[identifier]
        present.update(msgspec.to_builtins(wanted), is_missing_secrets=False)
        present["config"] = _full(wanted.config)
        return 200, _without_secrets(present)

    # -- rules --------------------------------------------------------------------------------------------------------

    def _get_detection_engine_rules(self, space: Space, _: str, query: dict[str, str], __: bytes) -> Reply:
        if len(query) != 1:
            raise RefusedError(400, 'either "id" or "rule_id" must be set')
        rule = space.rules.get(query.get("rule_id", ""))
        if rule is None:
            return 404, {"message": f'rule_id: "{query.get("rule_id")}" not found', "status_code": 404}
        return 200, rule

    def _patch_detection_engine_rules(self, space: Space, _: str, __: Any, body: bytes) -> Reply:
        wanted = msgspec.json.decode(body, type=contract.PatchedRule)
        if wanted.rule_id not in space.rules:
            return 404, {"message": f'rule_id: "{wanted.rule_id}" not found', "status_code": 404}
        if missing := [action.id for action in wanted.actions if action.id not in space.connectors]:
            return 400, {"message": f"Failed to load action {missing[0]} (404)", "status_code": 400}
        space.rules[wanted.rule_id]["actions"] = _actions(wanted.actions)
        space.rules[wanted.rule_id]["revision"] += 1
        return 200, space.rules[wanted.rule_id]

    def _post_detection_engine_rules_import(self, space: Space, _: str, query: dict[str, str], body: bytes) -> Reply:
        errors: list[Body] = []
        lines = [line for line in body.splitlines() if line.strip()]
        for line in lines:
            rule = msgspec.json.decode(line, type=contract.ImportedRule)
            present = space.rules.get(rule.rule_id)
            missing = [action.id for action in rule.actions if action.id not in space.connectors]
            for action in rule.actions:
                msgspec.convert(action.params, contract.WebhookParams)
            if missing:
                message = f"1 connector is missing. Connector id missing is: {missing[0]}"
                errors.append({"rule_id": rule.rule_id, "error": {"status_code": 404, "message": message}})
            elif present is not None and query.get("overwrite") != "true":
                message = f'rule_id: "{rule.rule_id}" already exists'
                errors.append({"rule_id": rule.rule_id, "error": {"status_code": 409, "message": message}})
            else:
                space.rules[rule.rule_id] = _stored(rule, present)
        return 200, {
            "success": not errors,
            "success_count": len(lines) - len(errors),
            "rules_count": len(lines),
            "errors": errors,
            "exceptions_errors": [],
            "exceptions_success": True,
            "exceptions_success_count": 0,
            "action_connectors_success": True,
            "action_connectors_success_count": 0,
            "action_connectors_errors": [],
            "action_connectors_warnings": [],
        }

    # -- saved objects ------------------------------------------------------------------------------------------------

    def _post_saved_objects_export(self, space: Space, _: str, __: Any, body: bytes) -> Reply:
        wanted = msgspec.json.decode(body, type=contract.Export)
        if "saved_objects.all" not in self.privileges:
            return _not_exported(wanted.objects, 403, "Forbidden", "Unable to bulk_get dashboard")
        missing = [each for each in wanted.objects if (each.type, each.id) not in space.objects]
        if missing:
            return _not_exported(missing, 404, "Not Found", "not found")
        lines = [json.dumps(space.objects[each.type, each.id]) for each in wanted.objects]
        return 200, "\n".join(lines).encode()

    def _post_saved_objects_import(self, space: Space, _: str, query: dict[str, str], body: bytes) -> Reply:
        errors: list[Body] = []
        lines = [line for line in body.splitlines() if line.strip()]
        for line in lines:
            wanted = msgspec.json.decode(line, type=contract.SavedObject)
            key = (wanted.type, wanted.id)
            error: Body = {"id": wanted.id, "type": wanted.type, "title": wanted.attributes.get("title")}
            missing = [each for each in wanted.references if (each.type, each.id) not in space.objects]
            elsewhere = [each for each in self.spaces.values() if each is not space and key in each.objects]
            if missing:
                gone = [{"type": each.type, "id": each.id} for each in missing]
                errors.append({**error, "error": {"type": "missing_references", "references": gone}})
            elif elsewhere or (key in space.objects and query.get("overwrite") != "true"):
                errors.append({**error, "error": {"type": "conflict"}})
            else:
                space.objects[key] = _migrated(wanted)
        answer: Body = {"success": not errors, "successCount": len(lines) - len(errors), "warnings": []}
        return 200, {**answer, "errors": errors} if errors else answer

    # -- osquery ------------------------------------------------------------------------------------------------------

    def _get_osquery_packs(self, space: Space, _: str, query: dict[str, str], __: bytes) -> Reply:
        page, size = int(query.get("page", 1)), int(query.get("pageSize", 20))
        packs = list(space.packs.values())
        shown = [{**pack, "queries": _as_list(pack["queries"])} for pack in packs[(page - 1) * size : page * size]]
        for pack in shown:
            del pack["shards"]
        return 200, {"page": page, "per_page": size, "total": len(packs), "data": shown}

    def _get_osquery_packs_id(self, space: Space, identifier: str, *_: Any) -> Reply:
        if identifier not in space.packs:
            raise RefusedError(404, f"Pack {identifier} not found")
        return 200, {"data": space.packs[identifier]}

    def _post_osquery_packs(self, space: Space, _: str, __: Any, body: bytes) -> Reply:
        wanted = msgspec.json.decode(body, type=contract.CreatePack)
        if any(pack["name"] == wanted.name for pack in space.packs.values()):
            raise RefusedError(409, f'Pack with name "{wanted.name}" already exists.')
        identifier = str(uuid.uuid4())
        space.packs[identifier] = {"saved_object_id": identifier, "read_only": False, **self._pack(wanted)}
        return 200, {"data": space.packs[identifier]}

    def _put_osquery_packs_id(self, space: Space, identifier: str, _: Any, body: bytes) -> Reply:
        wanted = msgspec.json.decode(body, type=contract.CreatePack)
        if identifier not in space.packs:
            raise RefusedError(404, f"Pack {identifier} not found")
        # as older Kibanas do: policies and shards that an update does not name are gone
        space.packs[identifier].update(self._pack(wanted))
        return 200, {"data": space.packs[identifier]}

    def _pack(self, wanted: contract.CreatePack) -> Body:
        for query in wanted.queries.values():
            for value in query.ecs_mapping.values():
                msgspec.convert(value, contract.EcsField if "field" in value else contract.EcsValue)
        if invalid := set(wanted.policy_ids) - self.policies:
            raise RefusedError(400, f"The following policy ids are invalid: {', '.join(sorted(invalid))}")
        return {
            "name": wanted.name,
            "description": wanted.description,
            "enabled": wanted.enabled,
            "policy_ids": wanted.policy_ids,
            "shards": wanted.shards,
            "queries": {name: _kept_query(query) for name, query in wanted.queries.items()},
        }


def _payload(headers: dict[str, str], content: bytes) -> bytes:
    """The body, or the file of a form."""
    kind = headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        return content
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        f"Content-Type: {kind}\r\n\r\n".encode() + content
    )
    parts = [part for part in message.iter_parts() if part.get_param("name", header="content-disposition") == "file"]
    if len(parts) != 1 or not str(parts[0].get_filename()).endswith(".ndjson"):
        raise RefusedError(400, "Invalid file extension")
    payload = parts[0].get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


def _full(config: contract.WebhookConfig) -> Body:
    return {key: value for key, value in msgspec.structs.asdict(config).items() if value is not None}


def _without_secrets(connector: Body) -> Body:
    return {key: value for key, value in connector.items() if key != "secrets"}


def _actions(actions: list[contract.RuleAction]) -> list[Body]:
    return [{**msgspec.to_builtins(action), "uuid": action.uuid or str(uuid.uuid4())} for action in actions]


def _stored(rule: contract.ImportedRule, present: Body | None) -> Body:
    """A rule as Kibana keeps and shows it: defaults filled in, and keys of its own."""
    shown = {"from" if key == "from_" else key: value for key, value in msgspec.structs.asdict(rule).items()}
    body: Body = msgspec.to_builtins(shown)
    dropped = (
        "investigation_fields",
        "building_block_type",
        "alert_suppression",
        "tiebreaker_field",
        "timestamp_field",
    )
    for key in (*dropped, "timestamp_override", "license", "note"):
        if not body[key]:
            del body[key]
    body["actions"] = _actions(rule.actions)
    body["required_fields"] = [
        {**each, "ecs": not each["name"].startswith("doorwatch.")} for each in body["required_fields"]
    ]
    return {
        **body,
        "id": present["id"] if present else str(uuid.uuid4()),
        "revision": present["revision"] + 1 if present else 0,
        "immutable": False,
        "rule_source": {"type": "internal"},
        "output_index": "",
        "created_by": USER,
        "updated_by": USER,
    }


def _migrated(wanted: contract.SavedObject) -> Body:
    """A saved object in the form of a later Kibana: JSON written anew, keys added."""
    attributes = copy.deepcopy(wanted.attributes)
    if wanted.type == "dashboard":
        attributes["panelsJSON"] = json.dumps(json.loads(attributes["panelsJSON"]), indent=1)
        attributes["controlGroupInput"] = {"chainingSystem": "HIERARCHICAL"}
    return {
        "type": wanted.type,
        "id": wanted.id,
        "attributes": attributes,
        "references": msgspec.to_builtins(wanted.references),
        "managed": wanted.managed,
        "coreMigrationVersion": "8.8.0",
        "typeMigrationVersion": "10.9.0",
    }


def _not_exported(objects: list[contract.ObjectName], status: int, error: str, message: str) -> Reply:
    listed = [
        {"id": each.id, "type": each.type, "error": {"statusCode": status, "error": error, "message": message}}
        for each in objects
    ]
    return RefusedError(400, "Error fetching objects to export", attributes={"objects": listed}).reply


def _kept_query(query: contract.PackQuery) -> Body:
    return {**msgspec.structs.asdict(query), "schedule_id": str(uuid.uuid4())}


def _as_list(queries: Body) -> list[Body]:
    return [
        {
            **query,
            "id": name,
            "ecs_mapping": [{"key": key, "value": value} for key, value in query["ecs_mapping"].items()],
        }
        for name, query in queries.items()
    ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer goes out in one piece: in two, it waits for the other side's delayed ACK
    disable_nagle_algorithm = True
    kibana: Kibana

    def _serve(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {key.lower(): value for key, value in self.headers.items()}
        status, body = self.kibana.answer(self.command, self.path, headers, content)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/x-ndjson" if isinstance(body, bytes) else "application/json")
        self.send_header("content-length", str(len(data)))
        if 300 <= status < 400:
            self.send_header("location", body["location"])
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


@contextmanager
def running(directory: Path) -> Iterator[Kibana]:
    """Serve a Kibana while the block lasts.

    Args:
        directory: Gets `ca.pem`, `password` and `api-key`.
    """
    kibana = Kibana()
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    context = SSLContext(PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    for name, secret in (("password", PASSWORD), ("api-key", API_KEY)):
        (directory / name).write_text(secret + "\n")
        (directory / name).chmod(0o600)
    from cryptography import hazmat, x509  # noqa: PLC0415

    shown = x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes())
    kibana.fingerprint = shown.fingerprint(hazmat.primitives.hashes.SHA256()).hex()
    handler = type("Handler", (_Handler,), {"kibana": kibana})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    kibana.url = f"https://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield kibana
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
