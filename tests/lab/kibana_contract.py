"""What Kibana's public API takes, as far as Doorwatch uses it: bodies as strict types, routes as a table.

Derived from Kibana's OpenAPI documents and route schemas (2023-10-31 version of the API; connectors, detection engine,
saved objects, osquery; as of 2026-08). Where Kibana drops unknown keys in silence this refuses them: a key that does
nothing is a mistake of ours.
"""

from typing import Annotated, Any, Literal

import msgspec

Text = Annotated[str, msgspec.Meta(min_length=1)]
Interval = Annotated[str, msgspec.Meta(pattern=r"^\d+[smh]$")]
Score = Annotated[int, msgspec.Meta(ge=0, le=100)]
Severity = Literal["low", "medium", "high", "critical"]


class Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A body whose keys are all known."""


class WebhookConfig(Strict):
    """`config` of a `.webhook` connector."""

    url: Text
    method: Literal["post", "put", "patch", "get", "delete"] = "post"
    headers: dict[str, str] | None = None
    hasAuth: bool = True  # noqa: N815 - Kibana's name
    authType: str | None = None  # noqa: N815
    certType: Literal["ssl-crt-key", "ssl-pfx"] | None = None  # noqa: N815
    ca: str | None = None
    verificationMode: Literal["none", "certificate", "full"] | None = None  # noqa: N815


class WebhookSecrets(Strict):
    """`secrets` of a `.webhook` connector with basic authentication."""

    user: Text
    password: Text


class UpdateConnector(Strict):
    """PUT /api/actions/connector/{id}."""

    name: Text
    config: WebhookConfig
    secrets: WebhookSecrets


class CreateConnector(UpdateConnector):
    """POST /api/actions/connector/{id}."""

    connector_type_id: Literal[".webhook"]


class Frequency(Strict):
    """When an action runs."""

    summary: bool
    notifyWhen: Literal["onActionGroupChange", "onActiveAlert", "onThrottleInterval"]  # noqa: N815 - Kibana's name
    throttle: str | None


class WebhookParams(Strict):
    """`params` of a webhook action."""

    body: str


class RuleAction(Strict):
    """One of a rule's actions."""

    id: Text
    action_type_id: Text
    group: Literal["default"]
    params: dict[str, Any]
    frequency: Frequency | None = None
    uuid: str = ""
    alerts_filter: dict[str, Any] = {}


class Technique(Strict):
    """Of ATT&CK; also a tactic and a sub-technique."""

    id: Text
    name: Text
    reference: Text
    subtechnique: list["Technique"] = []


class Threat(Strict):
    """One tactic."""

    framework: Text
    tactic: Technique
    technique: list[Technique] = []


class RequiredField(Strict):
    """A field the rule reads."""

    name: Text
    type: Text


class RelatedIntegration(Strict):
    """A package whose data the rule reads."""

    package: Text
    version: Text
    integration: str = ""


class ExceptionList(Strict):
    """A list of exceptions that a rule has."""

    id: Text
    list_id: Text
    type: Text
    namespace_type: Literal["agnostic", "single"]


class InvestigationFields(Strict):
    """Fields shown first in an alert."""

    field_names: Annotated[list[str], msgspec.Meta(min_length=1)]


class ImportedRule(Strict, rename={"from_": "from"}):
    """One line of the file of POST /api/detection_engine/rules/_import."""

    rule_id: Text
    version: Annotated[int, msgspec.Meta(ge=1)]
    name: Text
    description: Text
    risk_score: Score
    severity: Severity
    type: Literal["query", "eql", "esql"]
    language: Literal["kuery", "lucene", "eql", "esql"]
    query: Text
    index: list[str] = []
    author: list[str] = []
    license: str = ""
    enabled: bool = False
    from_: str = "now-6m"
    to: str = "now"
    interval: Interval = "5m"
    max_signals: Annotated[int, msgspec.Meta(ge=1)] = 100
    tags: list[str] = []
    threat: list[Threat] = []
    references: list[str] = []
    false_positives: list[str] = []
    note: str = ""
    setup: str = ""
    actions: list[RuleAction] = []
    exceptions_list: list[ExceptionList] = []
    risk_score_mapping: list[dict[str, Any]] = []
    severity_mapping: list[dict[str, Any]] = []
    related_integrations: list[RelatedIntegration] = []
    required_fields: list[RequiredField] = []
    investigation_fields: InvestigationFields | None = None
    timestamp_override: str = ""
    timestamp_override_fallback_disabled: bool = False
    building_block_type: str = ""
    alert_suppression: dict[str, Any] = {}
    tiebreaker_field: str = ""
    timestamp_field: str = ""
    meta: dict[str, Any] = {}


class PatchedRule(Strict):
    """PATCH /api/detection_engine/rules, as far as we use it."""

    rule_id: Text
    actions: list[RuleAction]


class ObjectName(Strict):
    """Type and id of a saved object."""

    type: Text
    id: Text


class Export(Strict):
    """POST /api/saved_objects/_export."""

    objects: Annotated[list[ObjectName], msgspec.Meta(min_length=1)]
    includeReferencesDeep: bool = False  # noqa: N815 - Kibana's name
    excludeExportDetails: bool = False  # noqa: N815


class Reference(Strict):
    """From one saved object to another."""

    type: Text
    id: Text
    name: Text


class SavedObject(Strict):
    """One line of the file of POST /api/saved_objects/_import."""

    type: Literal["dashboard", "index-pattern"]
    id: Text
    attributes: dict[str, Any]
    references: list[Reference]
    managed: bool = False
    coreMigrationVersion: str = ""  # noqa: N815 - Kibana's name
    typeMigrationVersion: str = ""  # noqa: N815


class EcsField(Strict):
    """A field that gets a column."""

    field: Text


class EcsValue(Strict):
    """A field that gets a fixed value."""

    value: str | list[str]


class PackQuery(Strict):
    """A query of a pack."""

    query: Text
    interval: Annotated[int, msgspec.Meta(ge=1, le=604_800)]
    snapshot: bool = True
    removed: bool = False
    platform: str = ""
    version: str = ""
    ecs_mapping: dict[str, dict[str, Any]] = {}


class CreatePack(Strict):
    """POST /api/osquery/packs."""

    name: Text
    queries: dict[str, PackQuery]
    description: str = ""
    enabled: bool = False
    policy_ids: list[str] = []
    shards: dict[str, float] = {}


ROUTES: dict[tuple[str, str], tuple[str, frozenset[str]]] = {
    # method and path -> the privilege it takes, and the parameters it knows
    ("GET", "/api/status"): ("", frozenset()),
    ("GET", "/api/spaces/space/{id}"): ("", frozenset()),
    ("GET", "/api/actions/connector_types"): ("actions.read", frozenset({"feature_id"})),
    ("GET", "/api/actions/connector/{id}"): ("actions.read", frozenset()),
    ("POST", "/api/actions/connector/{id}"): ("actions.all", frozenset()),
    ("PUT", "/api/actions/connector/{id}"): ("actions.all", frozenset()),
    ("GET", "/api/detection_engine/rules"): ("siem.read", frozenset({"rule_id", "id"})),
    ("PATCH", "/api/detection_engine/rules"): ("siem.all", frozenset()),
    ("POST", "/api/detection_engine/rules/_import"): (
        "siem.all",
        frozenset({"overwrite", "overwrite_exceptions", "overwrite_action_connectors", "as_new_list"}),
    ),
    ("POST", "/api/saved_objects/_export"): ("", frozenset()),
    ("POST", "/api/saved_objects/_import"): (
        "saved_objects.all",
        frozenset({"overwrite", "createNewCopies", "compatibilityMode"}),
    ),
    ("GET", "/api/osquery/packs"): ("osquery.read", frozenset({"page", "pageSize", "sort", "sortOrder"})),
    ("POST", "/api/osquery/packs"): ("osquery.all", frozenset()),
    ("GET", "/api/osquery/packs/{id}"): ("osquery.read", frozenset()),
    ("PUT", "/api/osquery/packs/{id}"): ("osquery.all", frozenset()),
}
NOT_OF_A_SPACE = ("/api/status", "/api/spaces/")
"""Asked of Kibana itself."""
EVERY_PRIVILEGE = frozenset(privilege for privilege, _ in ROUTES.values() if privilege)
